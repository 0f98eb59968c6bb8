"""When each phone of a GRID sentence is said: forced alignment of a prepared data set.

    pip install pocketsphinx
    python examples/align_grid.py grid_s1 --split test -o phones
    se4lip evaluate avatar grid-s1 grid_s1 --split test --phones phones

GRID's file names are their transcripts ("bbaf2n" = "bin blue at f two now"). One text file a clip,
lines of START_S END_S PHONE, is what `--phones` reads.
"""

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from se4lip.io.dataset import open_dataset
from se4lip.io.files import write_bytes
from se4lip.train.split import clips_of

if TYPE_CHECKING:
    from pocketsphinx import Decoder

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},  # the letter says itself
    {"z": "zero"} | {str(digit): word for digit, word in enumerate(DIGITS)},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def transcript(name: str) -> str:
    return " ".join(words.get(letter, letter) for words, letter in zip(WORDS, name, strict=True))


def align_words(pcm: bytes, text: str) -> list[list[tuple[float, float, str]]]:
    """The phones of each word, silences between words included. Two passes: words, then phones."""
    decoder = _decoder()
    decoder.set_align_text(text)
    for last in (False, True):
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        if not last:
            decoder.set_alignment()
    return [
        [(p.start / 100, (p.start + p.duration) / 100, p.name) for p in word]
        for word in decoder.get_alignment()
    ]


@functools.cache  # reading the model takes longer than aligning a sentence
def _decoder() -> "Decoder":
    from pocketsphinx import Decoder  # here, because others want only the transcripts

    return Decoder(samprate=16_000, bestpath=False, loglevel="FATAL")


def align(pcm: bytes, text: str) -> list[tuple[float, float, str]]:
    return [phone for word in align_words(pcm, text) for phone in word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--split", default="all", choices=("all", "train", "validation", "test"))
    given = parser.parse_args()
    data = open_dataset(given.dataset)
    for name in clips_of(data, given.split):
        samples = data.clip(name).speech.samples
        pcm = (samples * 32767).astype("<i2").tobytes()
        try:
            phones = align(pcm, transcript(name))
        except (RuntimeError, ValueError) as error:
            print(f"{name} could not be aligned: {error}")
            continue
        lines = "".join(f"{start:.2f} {end:.2f} {phone}\n" for start, end, phone in phones)
        write_bytes(given.out / f"{name}.txt", lines.encode())


if __name__ == "__main__":
    main()
