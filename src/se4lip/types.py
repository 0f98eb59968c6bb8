"""The things se4lip passes around, checked once where they are made.

Axis letters, used in every signature of the package:

    S  samples of 16 kHz mono speech      L  STFT columns, 100 per second
    T  video frames, 25 per second        F  STFT bins, linear in frequency
    B  batch                              D  width of a feature (512 for SE4Lip)
    N  Gaussians, or rays                 H, W  picture height and width in pixels

Transforms read right to left: ``camera_from_head`` takes head coordinates to camera coordinates.
Cameras look along +z, x points right and y down in the picture, pixel (0, 0) has its centre at
(0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

FRAME_RATE_HZ = 25
SAMPLE_RATE_HZ = 16_000
LOWEST_HZ, HIGHEST_HZ = 25, 384_000  # of sound: a sample a frame; no sound card has more
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_HZ
LOUDEST = 16.0  # floating point sound overshoots 1 now and then; beyond this its scale is wrong
LANDMARKS = 478
BLENDSHAPES = 52


class InputError(ValueError):
    """What a user gave cannot be used. The text says what came, what was needed, what to do.

    The command line prints it as one sentence and exits with code 2.
    """


def within(config: object, **ranges: tuple[float, float]) -> None:
    """Refuse a configuration with a number outside its range, ends included. In a tuple each
    number counts; None is no number. For ``__post_init__``: ``within(self, steps=(1, math.inf))``.

    Raises:
        InputError: names the field, what it is and what it may be.
    """
    for name, (low, high) in ranges.items():
        given = getattr(config, name)
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and not low <= value <= high:  # NaN lies nowhere
                needed = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
                raise InputError(f"{name} is {value}, but {needed} is needed: give another number")


def at_least_one(count: int | None, flag: str) -> None:
    """Raises: InputError unless ``count``, of the option ``flag``, is one or more, or None."""
    if count is not None and count < 1:
        raise InputError(f"{flag} {count} was asked for: give 1 or more, or leave it out for all")


@dataclass(frozen=True)
class Speech:
    """Mono speech. ``samples`` lie in [-1, 1]; sample ``n`` sounds at ``n / sample_rate_hz`` s."""

    samples: Float32[np.ndarray, " S"]
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise InputError(
                f"speech has shape {self.samples.shape}, but one channel [S] is needed: "
                "average the channels first"
            )
        if self.samples.dtype != np.float32:
            raise InputError(
                f"speech has dtype {self.samples.dtype}, but float32 in [-1, 1] is needed: "
                "convert it"
            )
        if self.sample_rate_hz <= 0:
            raise InputError(
                f"sample rate {self.sample_rate_hz} Hz is not positive: pass the true rate"
            )
        if not np.isfinite(self.samples).all():
            raise InputError("speech holds NaN or infinite samples: repair the recording first")

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``x_px = focal_px * x / z + cx_px``, likewise y. Sizes in pixels."""

    focal_px: float
    cx_px: float
    cy_px: float
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if not (self.focal_px > 0 and self.width_px > 0 and self.height_px > 0):
            raise InputError(f"{self} has a size or focal length that is not positive")
        if not all(map(math.isfinite, (self.focal_px, self.cx_px, self.cy_px))):
            raise InputError(f"{self} has a focal length or middle that is not finite")


@dataclass(frozen=True)
class FaceTrack:
    """What the tracker saw, one row per 25-fps frame.

    ``landmarks_px[..., :2]`` are pixels of the source picture, ``[..., 2]`` is depth in the same
    unit (smaller is nearer). ``blendshapes`` lie in [0, 1], MediaPipe's order.
    ``camera_from_face`` is the tracker's own rigid pose in centimetres, OpenGL axes.
    """

    landmarks_px: Float32[np.ndarray, "T 478 3"]
    blendshapes: Float32[np.ndarray, "T 52"]
    camera_from_face: Float32[np.ndarray, "T 4 4"]
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        frames = len(self.landmarks_px)
        wanted = {
            "landmarks_px": (frames, LANDMARKS, 3),
            "blendshapes": (frames, BLENDSHAPES),
            "camera_from_face": (frames, 4, 4),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"{name} has shape {getattr(self, name).shape}, needed {shape}")

    def __len__(self) -> int:
        return len(self.landmarks_px)


@dataclass(frozen=True)
class Clip:
    """One prepared clip: everything training needs, on the common time base.

    ``lips`` are stabilised RGB mouth crops. Frame ``t`` is shown from ``t / 25`` s, sample ``n``
    sounds at ``n / 16000`` s. ``av_offset_frames`` is how many frames the sound lies *late*
    (positive) in the source; ``speech`` here is as stored, ``io.dataset`` applies it on loading.
    """

    name: str
    source: str
    speech: Speech
    lips: UInt8[np.ndarray, "T H W 3"]
    track: FaceTrack
    av_offset_frames: float = 0.0

    def __len__(self) -> int:
        return len(self.track)
