"""Real people saying numbers, months and days: Debian's recorded prompts, to judge a head's lips.

    apt-get download asterisk-core-sounds-ru-g722; dpkg -x asterisk-core-sounds-ru-*.deb prompts
    python examples/languages/recorded_prompts.py prompts -o speech     # en es fr it ru, if there

Writes ``speech/ru-prompts/mon-2.wav`` and what it says, ``mon-2.txt``, for `align.py`. The prompts
are CC BY-SA 3.0 (Allison Smith, June Wallack and others; see the packages).
"""

import argparse
from pathlib import Path

import numpy as np
from make_speech import write_wav

from se4lip.io.audio import read_speech

WORDS = Path(__file__).with_name("prompts.txt")
QUIET_S = 0.2  # before and after, as these were cut close


def words() -> list[tuple[str, str, str]]:
    """Language, file name without its end, and what it says."""
    found = []
    for line in WORDS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        head, _, said = line.partition(": ")
        language, folder, *names = head.split()
        forms = said.split(", ")
        if names[0] in {"mon", "day"}:
            names = [f"{names[0]}-{index}" for index in range(len(forms))]
        elif "-" in names[0]:
            first, last = map(int, names[0].split("-"))
            step = (last - first) // (len(forms) - 1)
            names = [str(number) for number in range(first, last + 1, step)]
        found += [
            (language, f"{folder}/{name}", form) for name, form in zip(names, forms, strict=True)
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path, help="folder that the packages were unpacked into")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    for language, name, said in words():
        for file in sorted(given.prompts.glob(f"**/sounds/{language}_*/{name}.g722")):
            speech = read_speech(file)
            quiet = np.zeros(round(QUIET_S * speech.sample_rate_hz), np.float32)
            path = given.out / f"{language}-prompts" / f"{file.stem}.wav"
            samples = np.concatenate((quiet, speech.samples, quiet))
            write_wav(path, samples, speech.sample_rate_hz)
            path.with_suffix(".txt").write_text(said, encoding="utf-8")


if __name__ == "__main__":
    main()
