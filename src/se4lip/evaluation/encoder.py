"""The verb ``evaluate encoder``: is the true offset found, on recordings it was not trained on?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from se4lip.artifacts.encoder import (
    encoder_header,
    encoder_identity,
    load_encoder,
)
from se4lip.encoder.model import Branch, SE4Lip
from se4lip.io.phones import read_phones
from se4lip.metrics import closure
from se4lip.metrics.sync import OffsetCounts
from se4lip.train.split import Split, check_split, clips_of, open_datasets
from se4lip.train.validation import Probe, count_offsets


@dataclass(frozen=True)
class EncoderFigure:
    """One data set, one context. ``chance`` is what a blind guess would reach."""

    dataset: str
    clips: int
    context_frames: int
    accuracy: float
    questions: int
    mean_candidates: float
    chance: float


@dataclass(frozen=True, eq=False)
class EncoderReport:
    encoder: str
    sha256: str  # of all numbers
    features_sha256: str  # by which heads, videos and files of features know it
    split: Split
    branch: Branch
    rows: list[EncoderFigure]
    matrix: tuple[str, Float[np.ndarray, "T T"]]

    def to_json(self) -> dict[str, object]:
        return {
            "encoder": self.encoder,
            "sha256": self.sha256,
            "features_sha256": self.features_sha256,
            "split": self.split,
            "branch": self.branch,
            "figures": [asdict(row) for row in self.rows],
        }


def evaluate_encoder(
    datasets: Sequence[Path],
    encoder: Path | None = None,
    split: Split = "all",
    branch: Branch = "both",
    phones: Path | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> EncoderReport:
    """Choose among 31 offsets inside speech, one frame of tolerance, with 5 and 15 frames of lips.

    What speech is, is told by its energy, which calls some pauses speech. ``phones`` is a folder
    of forced alignments ``CLIP.txt`` (`io.phones`): questions in whose lips a frame is all pause,
    by these, are not asked.

    Raises:
        InputError: no data, or data or weights that cannot be read.
    """
    model, identity = load_encoder(encoder), encoder_identity(encoder)
    # Of the whole file: two encoders that make the same features may differ in how they see lips.
    sha256 = encoder_header(encoder).sha256
    rows, best = [], (-1, "", np.zeros((0, 0), np.float32))
    for i, data in enumerate(open_datasets(datasets)):
        names = clips_of(data, split)
        check_split(data, split)
        totals: dict[int, OffsetCounts] = {}
        for k, clip in enumerate(names):  # one in memory at a time
            on_progress((i + k / len(names)) / len(datasets))
            probe = Probe.of(data.clip(clip))
            if phones is not None:
                probe = replace(probe, speaking=probe.speaking & _said(phones, clip, probe))
            for context, count in count_offsets(model, [probe], branch=branch).items():
                totals[context] = totals.get(context, OffsetCounts()) + count
            speech = int(probe.speaking.sum())
            if speech > best[0]:
                best = (speech, f"{data.name}/{clip}", _matrix(model, probe))
        rows += [
            EncoderFigure(
                data.name,
                len(names),
                context,
                count.accuracy,
                count.total,
                count.mean_candidates,
                count.chance,
            )
            for context, count in totals.items()
        ]
    return EncoderReport(identity.name, sha256, identity.sha256, split, branch, rows, best[1:])


def _said(folder: Path, clip: str, probe: Probe) -> Bool[Tensor, " T"]:
    phones = [closure.Phone(*one) for one in read_phones(folder / f"{clip}.txt")]
    return torch.from_numpy(closure.said_in_frames(phones, len(probe.speaking)))


def _matrix(model: SE4Lip, probe: Probe) -> Float[np.ndarray, "T T"]:
    speech, lips, whole = model.embed_clip(probe.samples, probe.lips, probe.contour)
    kept = whole & probe.speaking
    return (speech[kept] @ lips[kept].T).numpy() if torch.any(kept) else np.zeros((1, 1))
