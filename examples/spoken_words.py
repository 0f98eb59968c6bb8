"""Nonsense in many languages and voices, and when each of its sounds is said.

    apt-get install wamerican wfrench wspanish witalian wngerman wportuguese wpolish wdutch
    pip install kokoro-onnx onnx onnxruntime soxr
    python examples/spoken_words.py -o spoken --model kokoro.onnx --voices VOICES [--wav words]

Kokoro-82M (Apache-2.0) reads random words of Debian's word lists as espeak-ng would pronounce
them, in voices between two of its English ones, so that its other voices stay unheard. Each
sentence is a file: 16-kHz sound, the symbols that were read, and when each ends.
`examples/spoken_lips.py` gives them lips. With `--wav` sound and phones are written as well,
``00000-fr-fr-....wav`` and ``.phones``, which is what `se4lip train avatar --also-spoken
words/*.wav` takes.
"""

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import soxr
from jaxtyping import Float
from kokoro_onnx.tokenizer import Tokenizer
from other_voices import RATE, styles_of
from rich.progress import track as with_progress

from se4lip.io.audio import write_wav
from se4lip.io.files import write_bytes
from se4lip.types import Speech

sys.path.append(str(Path(__file__).with_name("languages")))
from make_speech import DURATIONS, KOKORO_HOP, KOKORO_HZ, KOKORO_LATE_S, phones

STEP_S = KOKORO_HOP / KOKORO_HZ
LISTS = {  # what espeak-ng calls a language: how often it is drawn, Debian's list of its words
    "en-us": (8, "american-english"),
    "fr-fr": (2, "french"),
    "es": (2, "spanish"),
    "it": (2, "italian"),
    "de": (2, "ngerman"),
    "pt-br": (1, "portuguese"),
    "pl": (1, "polish"),
    "nl": (1, "dutch"),
}
SYMBOLS_AT_MOST = 400  # symbols; a style has a row for each length up to 510


@dataclass(frozen=True)
class Spoken:
    samples: Float[np.ndarray, " S"]  # 16 kHz
    symbols: str  # of Kokoro's vocabulary; a space, stress and punctuation are symbols too
    ends_s: Float[np.ndarray, " symbols"]

    def save(self, file: Path) -> None:
        part = file.with_suffix(".part.npz")
        pcm = np.rint(np.clip(self.samples, -1, 1) * 32767).astype(np.int16)
        np.savez(part, samples=pcm, symbols=np.array(self.symbols), ends_s=self.ends_s)
        part.rename(file)

    def phones(self) -> str:
        """Lines of `se4lip.io.phones`, at the times at which they sound."""
        ends_s = np.maximum(self.ends_s - KOKORO_LATE_S, 0)
        return "".join(phones(list(self.symbols), ends_s[: len(self.symbols)]))

    @staticmethod
    def load(file: Path) -> "Spoken":
        with np.load(file) as kept:
            samples = kept["samples"].astype(np.float32) / 32767
            return Spoken(samples, str(kept["symbols"]), kept["ends_s"])


class Speaker:
    """Kokoro's graph with the lengths of its symbols as a further output."""

    def __init__(self, model: Path, only_durations: bool = False) -> None:
        graph = onnx.load(str(model))
        if only_durations:  # a hundredth of the work
            graph = onnx.utils.Extractor(graph).extract_model(
                [one.name for one in graph.graph.input], [DURATIONS]
            )
        else:
            graph.graph.output.append(
                onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        self.tokenizer = Tokenizer()

    def known(self, ipa: str) -> str:
        return self.tokenizer.known(ipa)

    def ends_s(self, symbols: str, style: np.ndarray, speed: float) -> np.ndarray:
        return self._ends(self._run(symbols, style, speed)[-1])

    def say(self, symbols: str, style: np.ndarray, speed: float) -> Spoken:
        samples, steps = self._run(symbols, style, speed)
        sound = soxr.resample(np.asarray(samples, np.float32).ravel(), KOKORO_HZ, RATE)
        return Spoken(sound, symbols, self._ends(steps))

    def _run(self, symbols: str, style: np.ndarray, speed: float) -> list[np.ndarray]:
        tokens = self.tokenizer.tokenize(symbols, limit=None)
        given = {
            "tokens": [[0, *tokens, 0]],
            "style": style[len(tokens) - 1],
            "speed": np.full(1, speed, np.float32),
        }
        return self.session.run(None, given)

    @staticmethod
    def _ends(steps: np.ndarray) -> np.ndarray:
        """Without the marks at either end of what is read."""
        return np.cumsum(steps.ravel())[:-1][1:] * STEP_S


def blend(draw: random.Random, styles: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    first, second = draw.sample(sorted(styles), 2)
    share = draw.uniform(0.0, 0.5)
    return f"{first}-{second}", (1 - share) * styles[first] + share * styles[second]


def word_list(folder: Path, name: str) -> list[str]:
    lines = (folder / name).read_text(encoding="utf-8").split()
    return [word for word in lines if word.isalpha() and word.islower() and 2 <= len(word) <= 12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--words", type=Path, default=Path("/usr/share/dict"))
    parser.add_argument("--sentences", type=int, default=700)
    parser.add_argument("--first", type=int, default=0, help="several can work side by side")
    parser.add_argument("--seed", type=int, default=301)
    parser.add_argument("--wav", type=Path, help="a folder for sound and phones")
    given = parser.parse_args()
    styles, speaker = styles_of(given.voices), Speaker(given.model)
    lists = {
        language: word_list(given.words, name)
        for language, (_, name) in LISTS.items()
        if (given.words / name).exists()
    }
    if not lists:
        raise SystemExit(f"{given.words} holds none of {', '.join(n for _, n in LISTS.values())}")
    weights = [LISTS[language][0] for language in lists]
    given.out.mkdir(parents=True, exist_ok=True)
    if given.wav:
        given.wav.mkdir(parents=True, exist_ok=True)
    for number in with_progress(range(given.first, given.sentences), "speaking"):
        draw = random.Random(f"{given.seed} {number}")
        language = draw.choices(list(lists), weights)[0]
        text = " ".join(draw.choices(lists[language], k=draw.randint(4, 7)))
        voice, style = blend(draw, styles)
        speed = draw.uniform(0.85, 1.3)
        file = given.out / f"{number:05}-{language}-{voice}.npz"
        if not file.exists():
            symbols = speaker.known(speaker.tokenizer.phonemize(text + ".", language))
            speaker.say(symbols[:SYMBOLS_AT_MOST], style, speed).save(file)
        if given.wav:
            spoken, out = Spoken.load(file), given.wav / f"{file.stem}.wav"
            write_wav(out, Speech(spoken.samples))
            write_bytes(out.with_suffix(".phones"), spoken.phones().encode())


if __name__ == "__main__":
    main()
