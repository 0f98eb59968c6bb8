"""The verb ``sync``: how far sound and lips of a video are apart, or why that cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.artifacts.encoder import load_encoder
from se4lip.encoder.model import SE4Lip
from se4lip.encoder.streaming import encode_offline
from se4lip.evaluation.watch import Watched, watch
from se4lip.face.contour import lip_contour
from se4lip.face.lips import crop_lips, image_from_lips_transforms
from se4lip.face.tracker import Tracker
from se4lip.metrics.sync import SyncConfig, SyncReading, measure_offset, sync_timeline
from se4lip.prepare.dataset import mediapipe_tracker
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, FaceTrack
from se4lip.wording import counted

Verdict = Literal["in-sync", "out-of-sync", "cannot-tell"]

_PIECE_FRAMES = 500  # lip crops held in memory at once
_WATCHING = 0.8  # share of the time that looking for the face takes, about


@dataclass(frozen=True)
class SyncVerdictConfig:
    """When a reading is believed, and what is still in sync."""

    in_sync_frames: int = 1  # lips are drawn on a grid of 40 ms: one frame is rounding
    least_lead: float = 2.0  # standard errors by which the best offset must beat its rivals
    least_face: float = 0.5  # share of the frames in which the face must be seen


@dataclass(frozen=True, eq=False)
class SyncReport:
    """Positive offsets: the sound comes later than the picture."""

    verdict: Verdict
    reason: str  # why it cannot be told; empty otherwise
    reading: SyncReading | None
    timeline: list[SyncReading | None]  # one for every second
    speech_seconds: float

    def to_json(self) -> dict[str, object]:
        reading = self.reading
        known = reading if self.verdict != "cannot-tell" else None
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "offset_frames": known.offset_frames if known else None,
            "offset_ms": _tenths(known.offset_ms) if known else None,
            "confidence": round(reading.confidence, 4) if reading else None,
            "lead": round(reading.lead, 2) if reading else None,
            "speech_seconds": round(self.speech_seconds, 2),
            "timeline": [
                None
                if second is None
                else {
                    "offset_frames": second.offset_frames,
                    "offset_ms": _tenths(second.offset_ms),
                    "confidence": round(second.confidence, 4),
                    "lead": round(second.lead, 2),
                }
                for second in self.timeline
            ],
        }


def _tenths(ms: float) -> float:
    return round(ms, 1) + 0.0  # no -0.0


def sync(
    video: Path | str,
    tracker: Tracker | None = None,
    encoder: Path | str | None = None,
    config: SyncVerdictConfig | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> SyncReport:
    """Measure the offset between sound and lips of ``video``, one shot of one face.

    Of a video with a second face or a cut it cannot be told whose lips the sound is of: the report
    says so and where. ``on_progress`` is told the share done, as far as the video says its length.

    Raises:
        InputError: the file cannot be read, or the landmark model is not to be had.
    """
    model = load_encoder(encoder)  # before an hour of watching
    watched = watch(
        Path(video),
        tracker or mediapipe_tracker(),
        lambda share: on_progress(_WATCHING * share),
    )
    return judge_sync(
        model,
        watched,
        config or SyncVerdictConfig(),
        lambda share: on_progress(_WATCHING + (1 - _WATCHING) * share),
    )


def judge_sync(
    model: SE4Lip,
    video: Watched,
    config: SyncVerdictConfig,
    on_progress: Callable[[float], None] = lambda share: None,
) -> SyncReport:
    """The verdict on a video whose face has been followed."""

    def cannot_tell(reason: str, speech_seconds: float = 0.0) -> SyncReport:
        return SyncReport("cannot-tell", reason, None, [], speech_seconds)

    if video.track is None or video.seen.mean() < config.least_face:
        seen = f"{video.seen.mean():.0%} of the frames" if len(video) else "no frame"
        return cannot_tell(f"no face: one is seen in {seen}")
    if video.trouble:
        return cannot_tell(
            f"{video.trouble}: give a part that shows one upright face without a cut"
        )
    if video.samples is None:
        return cannot_tell(f"no sound{video.heard}: there is no audio stream, or nothing in it")
    offsets = SyncConfig()
    # As many as let an offset have rivals on both sides (`read_similarity`).
    least = offsets.least_windows + offsets.window_frames - 1 + offsets.rival_frames
    if len(video) < least:
        return cannot_tell(f"too short: {counted(len(video), 'frame')} of at least {least}")
    speaking = torch.from_numpy(video.speaking() & video.seen)
    seconds = int(speaking.sum()) / FRAME_RATE_HZ
    speech, lips = embed_video(model, video, video.track, on_progress)
    reading = measure_offset(speech, lips, speaking, offsets)
    if reading is None:
        said = f"no speech{video.heard}: {seconds:.1f} s of it in sight of a face"
        return cannot_tell(said, seconds)
    timeline = sync_timeline(speech, lips, speaking, offsets)
    verdict: Verdict = "out-of-sync"
    reason = ""
    if reading.lead < config.least_lead:
        verdict = "cannot-tell"
        reason = (
            f"no offset stands out among those searched, up to {offsets.max_shift} frames either "
            f"way: the best leads by {reading.lead:.1f} standard errors"
        )
    elif reading.at_edge:
        verdict = "cannot-tell"
        reason = beyond(reading)
    elif abs(reading.offset_frames) <= config.in_sync_frames:
        verdict = "in-sync"
    return SyncReport(verdict, reason, reading, timeline, seconds)


def beyond(reading: SyncReading) -> str:
    """Why the best offset is none when it is the last that could be tried."""
    return f"the offset is {abs(reading.offset_frames)} frames or more, beyond what is searched"


def embed_video(
    model: SE4Lip,
    video: Watched,
    track: FaceTrack,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[Float[Tensor, "T D"], Float[Tensor, "T D"]]:
    """Speech and lip embeddings of every frame, centred as ``SE4Lip.embed_clip`` does.

    Lip crops are made and embedded in pieces, so that an hour of video fits in memory.
    """
    frames, window = len(video), model.config.lip_window.frames
    heard = encode_offline(model.speech, video.sound(), SAMPLE_RATE_HZ)[model.centre_frames :]
    speech = torch.zeros(frames, model.config.speech.embedding)
    speech[: len(heard)] = torch.from_numpy(heard[:frames])
    del heard
    transforms, contour = image_from_lips_transforms(track), torch.from_numpy(lip_contour(track))
    pictures, lips, embedded = video.pictures(), torch.zeros_like(speech), window // 2
    crops = np.zeros((0, 0, 0, 3), np.uint8)
    for start in range(0, frames, _PIECE_FRAMES):
        piece = transforms[start : start + _PIECE_FRAMES]
        fresh = crop_lips((next(pictures) for _ in piece), piece)
        # The last pictures of one piece begin the windows of the next.
        crops = np.concatenate((crops[1 - window :], fresh)) if start else fresh
        until = start + len(piece)
        rows = model.embed_lips(torch.from_numpy(crops), contour[until - len(crops) : until])
        lips[embedded : embedded + len(rows)] = rows  # none of fewer frames than a window
        embedded += len(rows)
        on_progress(until / frames)
    return speech, lips
