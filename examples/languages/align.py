"""When each phone of a recording is said, in any language that espeak-ng can read.

    apt-get install espeak-ng; pip install hama
    python examples/languages/align.py speech          # writes speech/es-pico/00.phones, ...

For each recording ``LANGUAGE-VOICE/NAME.wav`` with its text in ``NAME.txt``, espeak-ng says which
phones the text has, and a phoneme recogniser (hama, Apache-2.0, English and Korean) when each of
them is heard: the best path of the given phones through its frames (CTC, Graves et al. 2006), a
foreign phone standing for the nearest ones that the recogniser knows. A recogniser of this kind
marks a moment in each phone, not its ends, so a phone is taken to reach half-way to its
neighbours, `LONGEST_S` at most. How far off it is: ``align.py --check speech`` compares it with the
times in ``NAME.phones`` of voices that tell theirs (Kokoro), or with pocketsphinx for English.
"""

# ruff: noqa: RUF001

import argparse
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

ESPEAK = {"en": "en-gb", "fr": "fr-fr", "pt": "pt-br"}  # others are called as they are
LONGEST_S = 0.12  # from the moment of a phone to either of its ends
FRAME_S = 0.02
LATE_S = 0.045  # by how much the recogniser marks phones later than they are (`--check`)
LEAST_SCORE = -7.0  # log probability a phone; below it something else is said
UNLIKE = -3.0  # log probability of a phone that only stands for another
# Each line: phones that may stand for one another, all known to the recogniser.
ALIKE = """
p b p͈ pʰ β
b p β v
m b n
f v ɸ θ
v f b β w
w u v ʊ oʊ
t d t͈ tʰ ɾ t͡ʃ
d t ð ɾ d͡ʒ
ɾ ɹ t d l r
ɹ r ɾ ɝ l w
l ɹ w n ɫ
n m ŋ ɲ l
ɲ n j ŋ
ŋ n g m
k g k͈ kʰ x
g k ɣ ɡ
x h k ɹ
ɣ g h w
ʁ ɹ h x g
h x f
s z ʃ θ s͈
z s ʒ ð
ʃ s t͡ʃ ʒ
ʒ ʃ d͡ʒ z j
t͡ʃ ʃ t d͡ʒ
d͡ʒ ʒ d t͡ʃ
θ s t f
ð d θ v
j i ɪ
ʎ l j
i ɪ j e eɪ
ɪ i ə e ɛ
e eɪ ɛ i ɪ
ɛ e æ eɪ
æ a ɛ
a ɑ æ ʌ ə aɪ aʊ
ɑ a ɔ ʌ ɑ
ʌ ə a ɑ
ə ʌ ɪ ɝ ɛ
ɜ ɝ ə ɚ
ɔ o ɑ oʊ
o oʊ ɔ u
u ʊ oʊ w ju
ʊ u ə oʊ
y u i ʊ
ø ɝ ə ʊ u
œ ɝ ə ʌ
aɪ a i ɑ
aʊ a ʊ ɑ
oʊ o ɔ ə
eɪ e ɛ i
ɔɪ ɔ i o
"""
SAME = {  # espeak-ng's letter: the one above that it is nearest to
    **dict(zip("βɸʋɱɐɒɵʉɨɯɤɘɞʏɶ", ["b", "f", "v", "m", *"aɔʊuɪuoəəyœ"], strict=True)),
    **dict(zip("ʈɖʂʐɳɭɽɻʀrɫɬɡqχħɦçʝɟcʔ", "tdʃʒnlɾɹʁɹllgkxhhʃjgkh", strict=True)),
    **{"ts": "t", "dz": "d", "tʃ": "t͡ʃ", "dʒ": "d͡ʒ", "tɕ": "t͡ʃ", "ɕ": "ʃ", "ʑ": "ʒ", "ɝ": "ɜ"},
    **{"əʊ": "oʊ", "ɔø": "ɔɪ", "ɔy": "ɔɪ", "ɚ": "ə", "ᵻ": "ɪ", "ɥ": "w", "ɧ": "ʃ"},
}
_REACH = 30  # times 5 ms, around a p
MARKS = "ˈˌːˑʰʲʷˤ̩̯̪̃͡ -'ʱ̊ʼ̞̝̥"


def text_phones(text: str, language: str) -> list[str]:
    """The phones that espeak-ng would say, stress left out."""
    voice = ESPEAK.get(language, language)
    command = ["espeak-ng", "-q", "--ipa", "--sep=_", "-v", voice, text]
    spoken = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [phone.strip("ˈˌ-") for phone in spoken.replace("\n", " ").replace(" ", "_").split("_")]
    return [phone for phone in found if phone and not phone.startswith("(")]


def stand_ins(phone: str, tokens: dict[str, int]) -> tuple[list[int], list[int]]:
    """Tokens that are the phone, and tokens that may stand for it."""
    alike = {line.split()[0]: line.split()[1:] for line in ALIKE.split("\n") if line}
    plain = "".join(letter for letter in phone if letter not in MARKS)
    for name in (plain, plain[:2], plain[:1]):
        name = SAME.get(name, name)
        if name in alike:
            same = [tokens[t] for t in {phone, plain, name} if t in tokens]
            return same, [tokens[t] for t in alike[name] if t in tokens]
    raise SystemExit(f"nothing is known to stand for the phone {phone!r}: add it to ALIKE or SAME")


def best_path(
    log_probs: np.ndarray, phones: list[tuple[list[int], list[int]]], blanks: list[int]
) -> tuple[float, np.ndarray]:
    """The log probability of the best path, blank, phone, blank, phone, ..., and on it the frame in
    the middle of each phone."""
    blank = np.logaddexp.reduce(log_probs[:, blanks], axis=1)
    heard = [
        np.logaddexp.reduce(
            np.concatenate((log_probs[:, same], log_probs[:, near] + UNLIKE), axis=1), axis=1
        )
        for same, near in phones
    ]
    emit = np.full((len(log_probs), 2 * len(phones) + 1), 0.0)
    emit[:, ::2] = blank[:, None]
    emit[:, 1::2] = np.stack(heard, axis=1)
    frames, states = emit.shape
    score = np.full(states, -np.inf)
    score[:2] = emit[0, :2]
    back = np.zeros((frames, states), np.int8)
    different = np.zeros(states, bool)
    different[3::2] = [a != b for a, b in zip(phones[1:], phones[:-1], strict=True)]
    for t in range(1, frames):
        one = np.concatenate(([-np.inf], score[:-1]))
        two = np.where(different, np.concatenate(([-np.inf, -np.inf], score[:-2])), -np.inf)
        choice = np.argmax((score, one, two), axis=0)
        back[t] = choice
        score = np.choose(choice, (score, one, two)) + emit[t]
    state = states - 1 if score[-1] > score[-2] else states - 2
    path = np.empty(frames, int)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= back[t, state]
    middles = []
    for index in range(len(phones)):
        there = np.flatnonzero(path == 2 * index + 1)
        weights = np.exp(emit[there, 2 * index + 1])
        middles.append((there * weights).sum() / max(weights.sum(), 1e-30))
    return float(score.max()), np.array(middles)


def spans(middles_s: np.ndarray, duration_s: float) -> list[tuple[float, float]]:
    between = (middles_s[1:] + middles_s[:-1]) / 2
    starts = np.maximum([0, *between], middles_s - LONGEST_S)
    ends = np.minimum([*between, duration_s], middles_s + LONGEST_S)
    return list(zip(starts, np.maximum(ends, starts + 0.01), strict=True))


class Recogniser:
    def __init__(self) -> None:
        from hama.asr import ASRModel

        self.model = ASRModel()
        self.tokens = {token: i for i, token in enumerate(self.model.decoder_tokens)}
        self.blanks = [self.tokens["<blank>"], self.tokens["<wb>"]]

    def align(self, path: Path, language: str, text: str) -> list[tuple[float, float, str]]:
        """Times of the phones of ``text``; of forms divided by | the one that fits best."""
        samples = at_16_khz(path)
        given = {
            "waveform": samples[None],
            "waveform_lengths": np.array([len(samples)], np.int64),
        }
        found, lengths = self.model.session.run(["log_probs", "out_lengths"], given)
        log_probs = found[0][: int(np.ravel(lengths)[0])].astype(np.float64)
        best = (-np.inf, np.zeros(0), [""])
        for form in text.split("|"):
            names = text_phones(form, language)
            if 2 * len(names) > len(log_probs):
                continue
            phones = [stand_ins(name, self.tokens) for name in names]
            score, middles = best_path(log_probs, phones, self.blanks)
            best = max(best, (score, middles, names), key=lambda one: one[0])
        score, middles, names = best
        if score < LEAST_SCORE * len(names):
            raise ValueError(f"{text!r} does not fit {len(samples) / 16000:.1f} s of sound")
        times = spans((middles + 0.5) * FRAME_S - LATE_S, len(samples) / 16_000)
        return [(start, end, name) for (start, end), name in zip(times, names, strict=True)]


def at_16_khz(path: Path) -> np.ndarray:
    import soxr

    with wave.open(str(path), "rb") as file:
        rate = file.getframerate()
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    return soxr.resample(pcm, rate, 16_000).astype(np.float32)


def by_pocketsphinx(path: Path, text: str) -> list[tuple[float, float, str]]:
    """English times to compare with."""
    from pocketsphinx import Decoder

    pcm = (at_16_khz(path) * 32767).astype("<i2").tobytes()
    words = "".join(c if c.isalpha() or c in " '" else " " for c in text.lower())
    decoder = Decoder(samprate=16_000, bestpath=False, loglevel="FATAL")
    decoder.set_align_text(words)
    for last in (False, True):
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        if not last:
            decoder.set_alignment()
    phones = (phone for word in decoder.get_alignment() for phone in word)
    return [(p.start / 100, (p.start + p.duration) / 100, p.name.lower()) for p in phones]


def quietest_ms(path: Path, phones: list[tuple[float, float, str]]) -> list[np.ndarray]:
    """Log energy around the middle of each p, 5 ms apart: quietest while the lips are shut."""
    loudness = np.convolve(np.diff(at_16_khz(path)) ** 2, np.hanning(320), "same")[::80]
    loudness = np.log10(loudness + 1e-7)
    middles = [round((start + end) / 0.01) for start, end, name in phones if name[0] == "p"]
    return [
        loudness[at - _REACH : at + _REACH + 1]
        for at in middles
        if _REACH <= at < len(loudness) - _REACH
    ]


def check(folder: Path, recogniser: Recogniser) -> None:
    """How far the middles of b, m and p lie from where they are known to be."""
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        language, _, voice = group.name.partition("-")
        if voice != "kokoro" and language != "en":
            continue
        apart, missing, quiet = [], 0, {"known": [], "found": []}
        for text in sorted(group.glob("*.txt")):
            wav = text.with_suffix(".wav")
            said = text.read_text(encoding="utf-8")
            if voice == "kokoro":
                lines = wav.with_suffix(".phones").read_text(encoding="utf-8").splitlines()
                known = [(float(a), float(b), c) for a, b, c in map(str.split, lines)]
            else:
                known = by_pocketsphinx(wav, said)
            true = [((a + b) / 2, c[0]) for a, b, c in known if c[0] in "bmp"]
            found = recogniser.align(wav, language, said)
            ours = [((a + b) / 2, c[0]) for a, b, c in found if c[0] in "bmp"]
            quiet["known"] += quietest_ms(wav, known)
            quiet["found"] += quietest_ms(wav, found)
            if [name for _, name in true] != [name for _, name in ours]:
                missing += 1  # the two read the text differently
                continue
            apart += [1000 * (b - a) for (a, _), (b, _) in zip(true, ours, strict=True)]
        if not apart:
            continue
        late = np.median(apart)
        half = np.median(np.abs(apart - late))
        within = np.mean(np.abs(np.array(apart) - late) <= 40)
        dips = {
            name: 5 * (np.mean(curves, axis=0).argmin() - _REACH) for name, curves in quiet.items()
        }
        print(
            f"{group.name}: {len(apart)} of b, m, p; {late:+.0f} ms late, then half within "
            f"{half:.0f} ms, {within:.0%} within 40 ms; {missing} sentences read differently; "
            f"p is quiet {dips['known']:+d} ms from where it is known to be, "
            f"{dips['found']:+d} ms from where it is found"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with known times")
    parser.add_argument("--anew", action="store_true", help="also where there are times already")
    given = parser.parse_args()
    recogniser = Recogniser()
    if given.check:
        check(given.folder, recogniser)
        return
    for text in sorted(given.folder.glob("*-*/*.txt")):
        out = text.with_suffix(".phones")
        if out.exists() and not given.anew:
            continue
        try:
            found = recogniser.align(
                text.with_suffix(".wav"),
                text.parent.name.partition("-")[0],
                text.read_text("utf-8"),
            )
        except ValueError as error:
            print(f"{text}: {error}", file=sys.stderr)
            continue
        lines = [f"{start:.3f} {end:.3f} {name}\n" for start, end, name in found]
        out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
