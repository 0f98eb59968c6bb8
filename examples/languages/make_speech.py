"""Synthetic speech in several languages, to judge a head's lips on voices it never met.

    apt-get install espeak-ng; pip install py-nanotts onnx onnxruntime
    python examples/languages/make_speech.py -o speech   # Pico
    python examples/languages/make_speech.py -o speech --kokoro kokoro.onnx --voices voices.npz \\
        --vocabulary config.json                                           # Kokoro: es fr it pt hi

Writes ``speech/es-pico/00.wav`` and the sentence beside it, ``00.txt``. Kokoro says when it says
each phone, so ``00.phones`` is written too: lines of START_S END_S PHONE, the phones in IPA. For
the others `align.py` finds the times.
"""

import argparse
import json
import subprocess
import wave
from pathlib import Path

import numpy as np

SENTENCES = Path(__file__).with_name("sentences.txt")
KOKORO = {  # language: espeak-ng's name of it, a woman's voice, a man's
    "es": ("es", "ef_dora", "em_alex"),
    "fr": ("fr-fr", "ff_siwis", "ff_siwis"),
    "it": ("it", "if_sara", "im_nicola"),
    "pt": ("pt-br", "pf_dora", "pm_alex"),
    "hi": ("hi", "hf_alpha", "hm_omega"),
}
PICO = {"en": "en-GB", "de": "de-DE", "es": "es-ES", "fr": "fr-FR", "it": "it-IT"}
KOKORO_HZ = 24_000
KOKORO_HOP = 600  # samples a step of its durations
KOKORO_LATE_S = (
    0.06  # its phones sound before their steps, by where p is quiet (`align.py --check`)
)
DURATIONS = "/encoder/Clip_output_0"  # steps a phone, inside the published graph


def sentences(language: str) -> list[str]:
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    return [line.split(": ", 1)[1] for line in lines if line.startswith(f"{language}:")]


def ipa(text: str, voice: str) -> str:
    command = ["espeak-ng", "-q", "--ipa", "-v", voice, text]
    spoken = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return " ".join(spoken.split())


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def with_pico(out: Path) -> None:
    from py_nanotts import NanoTTS

    for language, voice in PICO.items():
        for index, text in enumerate(sentences(language)):
            pcm = np.frombuffer(NanoTTS().speak(text, voice=voice), "<i2") / 32768
            path = out / f"{language}-pico" / f"{index:02}.wav"
            write_wav(path, pcm, 16_000)
            path.with_suffix(".txt").write_text(text, encoding="utf-8")


def with_kokoro(out: Path, model: Path, voices: Path, vocabulary: dict[str, int]) -> None:
    import onnx
    import onnxruntime

    graph = onnx.load(str(model))
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    styles = np.load(voices)
    for language, (espeak, *names) in KOKORO.items():
        for index, text in enumerate(sentences(language)):
            path = out / f"{language}-kokoro" / f"{index:02}.wav"
            if path.with_suffix(".phones").exists():
                continue
            symbols = [s for s in ipa(text, espeak) if s in vocabulary]
            given = {
                "tokens": [[0, *(vocabulary[s] for s in symbols), 0]],
                "style": styles[names[index % 2]][len(symbols)],
                "speed": np.ones(1, np.float32),
            }
            samples, steps = session.run(None, given)
            write_wav(path, samples.ravel(), KOKORO_HZ)
            path.with_suffix(".txt").write_text(text, encoding="utf-8")
            times = np.cumsum(steps.ravel()) * KOKORO_HOP / KOKORO_HZ - KOKORO_LATE_S
            times = np.maximum(times, 0)
            lines = phones(["", *symbols, ""], times)
            path.with_suffix(".phones").write_text("".join(lines), encoding="utf-8")
            print(path, flush=True)


def phones(symbols: list[str], ends_s: np.ndarray) -> list[str]:
    """One line a phone: stress marks before it are pauses of no length, signs behind it are its."""
    found: list[list] = []
    for symbol, start, end in zip(symbols, [0.0, *ends_s[:-1]], ends_s, strict=True):
        if symbol in "ːˑʰʲʷ\u0303" and found and symbol:
            found[-1][1], found[-1][2] = end, found[-1][2] + symbol
        elif symbol in "ˈˌ" and symbol:
            found.append([start, end, "'"])  # given to the phone that follows
        else:
            if found and found[-1][2] == "'":
                start = found.pop()[0]
            found.append([start, end, symbol if symbol.strip(" .,;:!?-") else "sil"])
    return [f"{start:.3f} {end:.3f} {name}\n" for start, end, name in found if end > start]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--kokoro", type=Path, help="Kokoro's ONNX file")
    parser.add_argument("--voices", type=Path, help="its voices, one array [N, 1, 256] each, .npz")
    parser.add_argument("--vocabulary", type=Path, help="kokoro_onnx/config.json")
    given = parser.parse_args()
    if given.kokoro is None:
        with_pico(given.out)
    else:
        vocabulary = json.loads(given.vocabulary.read_text(encoding="utf-8"))["vocab"]
        with_kokoro(given.out, given.kokoro, given.voices, vocabulary)


if __name__ == "__main__":
    main()
