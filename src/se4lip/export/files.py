"""The verb ``export``: the networks as ONNX files, none of which is written before it is checked.

onnxruntime runs every graph on made-up sound, and its numbers must be torch's to 1e-5.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity, load_encoder
from se4lip.encoder.model import SE4Lip
from se4lip.encoder.speech import SpeechEncoder
from se4lip.encoder.streaming import encode_offline
from se4lip.export.check import (
    OnnxSpeech,
    deform_both,
    encode_with,
    session,
    stream_with,
    trial_sounds,
)
from se4lip.export.encoder import encoder_graph, step_graph, warm_up_frames
from se4lip.export.head import deformation_graph
from se4lip.export.onnx_graph import OPSET
from se4lip.head.splat.head import SplatHead
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import writable_folder, write_bytes
from se4lip.metrics.sync import OffsetCounts
from se4lip.train.split import Split, check_split, clips_of
from se4lip.train.validation import Probe, count_offsets
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, InputError

TOLERANCE = 1e-5  # of every number of a feature, whose length is 1; float32 itself leaves 2e-6
INT8_TOLERANCE = 1e-2  # one minus the cosine: more is no rounding


@dataclass(frozen=True)
class ExportedFile:
    """What onnxruntime makes of it, against what torch makes of the weights."""

    path: Path
    size_bytes: int
    largest_difference: float
    least_cosine: float  # between the two vectors of a frame
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
    avatar: Path | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> ExportReport:
    """Write ``speech-encoder.onnx`` and ``speech-step.onnx`` to folder ``out`` (docs/export.md).

    ``int8`` adds both with weights of 8 bits, whose cost in sync ``dataset`` measures; ``avatar``
    adds its ``head-deformation.onnx``.

    Raises:
        InputError: weights or data that cannot be read, no onnx packages, an unwritable folder, or
            an onnxruntime whose numbers are not torch's.
    """
    _need("onnx", "onnxruntime")
    if dataset is not None and not int8:
        raise InputError("a data set measures what 8-bit weights cost: add --int8")
    if dataset is None and split != "all":
        raise InputError(f"--split {split} is of a data set: add --dataset, or leave it out")
    model, identity = load_encoder(encoder), encoder_identity(encoder)
    data = open_dataset(dataset) if dataset is not None else None
    if data is not None:
        check_split(data, split)
    person = load_avatar(avatar) if avatar is not None else None
    if person is not None and not isinstance(person.head, SplatHead):
        raise InputError(
            f"{avatar} is a radiance field, whose drawing is no ONNX graph: export an avatar of "
            "3D Gaussians (train avatar --renderer splat), or the encoder alone"
        )
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
    if person is not None:
        name = "head-deformation.onnx"
        contents[name] = deformation_graph(cast(SplatHead, person.head)).model(
            head_metadata(person)
        )
        found_and_expected = deform_both(session(contents[name]), person)
        report.files.append(_judged(out / name, contents[name], *found_and_expected))
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


def head_metadata(avatar: Avatar) -> dict[str, str]:
    """What the head's file says of itself: whose features it was trained on."""
    return {
        "name": str(avatar.details.get("name", "")),
        "encoder": avatar.encoder.name,
        "encoder_sha256": avatar.encoder.sha256,
        "frame_rate_hz": str(FRAME_RATE_HZ),
        "opset": str(OPSET),
    }


def _need(*packages: str) -> None:
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"export needs {' and '.join(packages)}, and {name} is not installed: "
                "pip install '.[onnx]' in se4lip's checkout"
            ) from error


def _judged(
    path: Path,
    content: bytes,
    found: Sequence[Float32[np.ndarray, "T D"]],
    expected: Sequence[Float32[np.ndarray, "T D"]],
) -> ExportedFile:
    pairs = list(zip(found, expected, strict=True))
    cosines = np.concatenate(
        [
            (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
            for a, b in pairs
        ]
    )
    difference = max(float(abs(a - b).max()) for a, b in pairs)
    file = ExportedFile(path, len(content), difference, float(cosines.min()), float(cosines.mean()))
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
    if not any(counts.total for counts in totals.values()):
        raise InputError(
            f"data set {data.path} holds too little speech to ask a question: add recordings"
        )
    return [
        OffsetCost(context, counts.total, counts.accuracy, totals[context, True].accuracy)
        for (context, is_int8), counts in totals.items()
        if not is_int8
    ]
