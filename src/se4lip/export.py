"""The verb ``export``: the networks as ONNX files, none of which is written before it is checked.

onnxruntime runs every graph on made-up sound, and its numbers must be torch's to 1e-5.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity, load_encoder
from se4lip.audio.timebase import frame_count
from se4lip.encoder.model import SE4Lip
from se4lip.encoder.speech import SpeechEncoder
from se4lip.encoder.streaming import encode_offline
from se4lip.export_encoder import encoder_graph, step_graph, warm_up_frames
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import writable_folder, write_bytes
from se4lip.metrics.sync import OffsetCounts
from se4lip.onnx_graph import OPSET
from se4lip.train.split import Split, clips_of
from se4lip.train.validation import Probe, count_offsets
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError

TOLERANCE = 1e-5  # of every number of a feature, whose length is 1; float32 itself leaves 2e-6
INT8_TOLERANCE = 1e-2  # one minus the cosine: more is no rounding


@dataclass(frozen=True)
class ExportedFile:
    """What onnxruntime makes of it, against what torch makes of the weights."""

    path: Path
    size_bytes: int
    largest_difference: float
    least_cosine: float  # between feature vectors of one frame
    mean_cosine: float


@dataclass(frozen=True)
class OffsetCost:
    """Share of true offsets found among 31 in a data set, by weights of 32 and of 8 bits."""

    context_frames: int
    questions: int
    float32: float
    int8: float


@dataclass(frozen=True)
class ExportReport:
    encoder: str
    sha256: str
    opset: int
    files: list[ExportedFile] = field(default_factory=list)
    offset_cost: list[OffsetCost] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def export_onnx(
    out: Path,
    encoder: Path | None = None,
    *,
    int8: bool = False,
    dataset: Path | None = None,
    split: Split = "all",
    on_progress: Callable[[float], None] = lambda share: None,
) -> ExportReport:
    """Write ``speech-encoder.onnx`` and ``speech-step.onnx`` to folder ``out`` (docs/export.md).

    ``int8`` adds both with weights of 8 bits, whose cost in sync ``dataset`` measures.

    Raises:
        InputError: weights or data that cannot be read, no onnx packages, an unwritable folder, or
            an onnxruntime whose numbers are not torch's.
    """
    _need("onnx", "onnxruntime")
    if dataset is not None and not int8:
        raise InputError("a data set measures what 8-bit weights cost: add --int8")
    model, identity = load_encoder(encoder), encoder_identity(encoder)
    data = open_dataset(dataset) if dataset is not None else None
    writable_folder(out)
    report = ExportReport(identity.name, identity.sha256, OPSET)
    contents: dict[str, bytes] = {}
    sounds = trial_sounds()
    reference = [encode_offline(model.speech, sound, SAMPLE_RATE_HZ) for sound in sounds]
    for suffix in ("", "-int8") if int8 else ("",):
        metadata = encoder_metadata(model.speech, identity) | {"weights": suffix[1:] or "float32"}
        whole = encoder_graph(model.speech, bool(suffix)).model(metadata)
        step = step_graph(model.speech, bool(suffix)).model(metadata)
        found = {
            f"speech-encoder{suffix}.onnx": (whole, encode_with(session(whole), sounds)),
            f"speech-step{suffix}.onnx": (step, stream_with(session(step), sounds)),
        }
        for name, (content, features) in found.items():
            report.files.append(_judged(out / name, content, features, reference))
            contents[name] = content
    if data is not None:
        quantised = OnnxSpeech(session(contents["speech-encoder-int8.onnx"]))
        report.offset_cost.extend(_offset_cost(model, quantised, data, split, on_progress))
    for name, content in contents.items():
        write_bytes(out / name, content)
    return report


def encoder_metadata(encoder: SpeechEncoder, identity: EncoderIdentity) -> dict[str, str]:
    """What the files say of themselves. ``warm_up_frames`` is for the live one alone."""
    return {
        "name": identity.name,
        "sha256": identity.sha256,
        "sample_rate_hz": str(SAMPLE_RATE_HZ),
        "frame_rate_hz": str(FRAME_RATE_HZ),
        "look_ahead_ms": f"{1000 * encoder.config.window.lookahead_s:.0f}",
        "warm_up_frames": str(warm_up_frames(encoder)),
        "opset": str(OPSET),
    }


def _need(*packages: str) -> None:
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"export needs {' and '.join(packages)}, and {name} is not installed: "
                "pip install 'se4lip[onnx]'"
            ) from error


# --- running what was made ------------------------------------------------------------------------


def session(content: bytes) -> Any:
    """An onnxruntime session on one core of the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def encode_with(
    encoder: Any, sounds: Sequence[Float32[np.ndarray, " S"]]
) -> list[Float32[np.ndarray, "T D"]]:
    """Features by a session of ``speech-encoder.onnx``, of all ``sounds`` in one batch."""
    (features,) = encoder.run(["features"], {"samples": _batch(sounds)})
    return _cut(features, sounds)


def stream_with(
    step: Any, sounds: Sequence[Float32[np.ndarray, " S"]]
) -> list[Float32[np.ndarray, "T D"]]:
    """Features by a session of ``speech-step.onnx``, of all ``sounds`` in one batch, a frame at a
    time."""
    warm_up = int(step.get_modelmeta().custom_metadata_map["warm_up_frames"])
    steps = max(frame_count(len(sound)) for sound in sounds) + warm_up
    frames = _batch(sounds, steps * SAMPLES_PER_FRAME).reshape(len(sounds), steps, -1)
    state = {
        value.name: np.zeros(
            (len(sounds), *value.shape[1:]), np.float64 if "double" in value.type else np.float32
        )
        for value in step.get_inputs()[1:]
    }
    parts = []
    for at in range(steps):
        features, *following = step.run(None, {"frames": frames[:, at : at + 1], **state})
        state = dict(zip(state, following, strict=True))
        parts.append(features)
    return _cut(np.concatenate(parts[warm_up:], axis=1), sounds)


def _cut(features: np.ndarray, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [rows[: frame_count(len(sound))] for rows, sound in zip(features, sounds, strict=True)]


def _batch(sounds: Sequence[np.ndarray], samples: int = 0) -> Float32[np.ndarray, "B S"]:
    """Silence behind the shorter ones, which changes none of their features."""
    longest = max(samples, *map(len, sounds))
    return np.stack([np.pad(sound, (0, longest - len(sound))) for sound in sounds])


class OnnxSpeech(nn.Module):
    """The exported encoder in the place of the one it was made from."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def features(self, samples: Float[Tensor, " S"], frames: int) -> Float[Tensor, "T D"]:
        sound = np.pad(samples.numpy(), (0, max(0, frames * SAMPLES_PER_FRAME - len(samples))))
        return torch.from_numpy(encode_with(self.encoder, [sound])[0][:frames])


# --- judging it -----------------------------------------------------------------------------------


def trial_sounds(seconds: float = 12.0) -> list[Float32[np.ndarray, " S"]]:
    """Noise, and what has the shape of speech: a gliding voice, moving formants, pauses."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = random.standard_normal(len(time))
    pitch_hz = 120 + 30 * np.sin(4.3 * time)
    formant_hz = 900 + 500 * np.sin(19.0 * time)
    phase = np.cumsum(2 * np.pi * pitch_hz / SAMPLE_RATE_HZ)
    harmonics = np.arange(1, 40)[:, None]
    strength = np.exp(-(((harmonics * pitch_hz - formant_hz) / 400) ** 2)) + 0.1 / harmonics
    voice = (strength * np.sin(harmonics * phase)).sum(0)
    syllables = np.clip(np.sin(25.0 * time) + 0.5 * np.sin(3.0 * time), 0, 1)
    speech = 0.1 * voice * syllables + 1e-3 * noise
    return [(0.1 * noise[: 2 * SAMPLE_RATE_HZ + 123]).astype(np.float32), speech.astype(np.float32)]


def _judged(
    path: Path,
    content: bytes,
    found: Sequence[Float32[np.ndarray, "T D"]],
    expected: Sequence[Float32[np.ndarray, "T D"]],
) -> ExportedFile:
    a, b = np.concatenate(found), np.concatenate(expected)
    cosines = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    file = ExportedFile(
        path, len(content), float(abs(a - b).max()), float(cosines.min()), float(cosines.mean())
    )
    if path.stem.endswith("-int8"):
        wrong, allowed = 1 - file.least_cosine, INT8_TOLERANCE
    else:
        wrong, allowed = file.largest_difference, TOLERANCE
    if not wrong <= allowed:
        raise InputError(
            f"{path.name} differs from torch by {wrong:.1e}, where at most {allowed:.0e} is "
            "allowed, so nothing was written: update onnxruntime"
        )
    return file


def _offset_cost(
    model: SE4Lip,
    speech: OnnxSpeech,
    data: Dataset,
    split: Split,
    on_progress: Callable[[float], None],
) -> list[OffsetCost]:
    quantised = copy.deepcopy(model)
    quantised.speech = speech  # type: ignore[assignment]
    names = clips_of(data, split)
    totals: dict[tuple[int, bool], OffsetCounts] = {}
    for done, name in enumerate(names):  # one clip in memory at a time
        probe = Probe.of(data.clip(name))
        for module in (model, quantised):
            for context, count in count_offsets(module, [probe]).items():
                key = context, module is quantised
                totals[key] = totals.get(key, OffsetCounts()) + count
        on_progress((done + 1) / len(names))
    return [
        OffsetCost(context, counts.total, counts.accuracy, totals[context, True].accuracy)
        for (context, is_int8), counts in totals.items()
        if not is_int8
    ]
