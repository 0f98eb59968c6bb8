"""The verb ``demo``: the shipped encoder and head say a sentence, and a sheet shows how."""

from __future__ import annotations

import importlib.resources
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8

from se4lip.artifacts.avatar import SHIPPED, Avatar, load_avatar
from se4lip.audio.spectrogram import SpectrogramConfig, log_power, power_spectrogram
from se4lip.face.pose import apply, project_px
from se4lip.features.catalogue import OURS, load_features
from se4lip.head.motion import there_and_back
from se4lip.io.files import writable_folder
from se4lip.io.pictures import contact_sheet, save_picture
from se4lip.io.video import iter_heard, read_frames
from se4lip.mesh import LIPS
from se4lip.synthesis.speak_audio import speak
from se4lip.types import FRAME_RATE_HZ

Picture = UInt8[np.ndarray, "H W 3"]

_WIDTH_PX, _FRAMES = 1280, 10
_SHORTEST_SAMPLES = 1600  # of which there is something to draw


@dataclass(frozen=True)
class Demo:
    video: Path
    sheet: Path
    seconds: float
    frames_per_s: float


def shipped_speech() -> Path:
    """The sentence that comes with the package (docs/cards/demo-speech.md)."""
    return Path(str(importlib.resources.files("se4lip") / "assets" / "demo-speech.flac"))


def demo(
    out: Path,
    audio: Path | None = None,
    avatar: Path | None = None,
    size_px: int | None = None,
    on_progress: Callable[[float], None] = lambda done_s: None,
    *,
    label: bool = False,
    credentials: tuple[Path, Path] | None = None,
) -> Demo:
    """Let the shipped head say ``audio`` (or the shipped sentence) into the folder ``out``.

    ``label`` and ``credentials`` are those of ``speak``.

    Raises:
        InputError: sound that cannot be read, or a folder that cannot be written.
    """
    writable_folder(out)
    said, head = audio or shipped_speech(), load_avatar(avatar or SHIPPED)
    video, sheet = out / "demo.mp4", out / "speech-becoming-lips.png"
    spoken = speak(
        head,
        said,
        video,
        size_px,
        on_progress=on_progress,
        label=label,
        credentials=credentials,
    )
    save_picture(sheet, speech_becoming_lips(said, video, head))
    return Demo(video, sheet, spoken.frames / FRAME_RATE_HZ, spoken.frames_per_s)


def speech_becoming_lips(
    audio: Path, video: Path, avatar: Avatar, longest_s: float = 6.0
) -> Picture:
    """One picture of the way: spectrogram, features, the frames of the head they moved, and its
    lips."""
    samples = next(iter_heard(audio, longest_s)).samples  # of hours, only what is drawn
    samples = np.pad(samples, (0, max(0, _SHORTEST_SAMPLES - len(samples))))
    features = load_features(avatar.encoder.features)(samples)[: int(longest_s * FRAME_RATE_HZ)]
    spectrogram = SpectrogramConfig()
    columns = log_power(power_spectrogram(torch.from_numpy(samples), spectrogram), spectrogram)
    chosen = np.linspace(0, len(features) - 1, 2 * _FRAMES + 1).round().astype(int)[1::2]
    shown = itertools.islice(read_frames(video), int(chosen[-1]) + 1)
    seen = {t: frame for t, frame in enumerate(shown) if t in chosen or t == 0}
    # Of a moment of sound there are fewer frames than places: the last stands in all the others.
    chosen = np.array([t if t in seen else max(seen) for t in chosen])
    frames = [seen[t] for t in chosen.tolist()]
    side = _WIDTH_PX // _FRAMES - 2
    return contact_sheet(
        [
            (
                f"speech: {len(samples) / 16_000:.1f} s, linear spectrogram, 0 to 8 kHz",
                [_heat_map(columns.numpy().T[::-1], 150)],
            ),
            (
                f"{'SE4Lip' if avatar.encoder.features == OURS else avatar.encoder.features} "
                f"features: {features.shape[1]} numbers 25 times a second (24 main axes)",
                [_heat_map(_main_axes(features, 24).T, 96)],
            ),
            ("the head they move (synthetic)", [_small(frame, side) for frame in frames]),
            ("its lips", [_small(mouth, side) for mouth in _mouths(avatar, frames, chosen)]),
        ]
    )


def _mouths(
    avatar: Avatar, frames: Sequence[Picture], times: Int[np.ndarray, " N"]
) -> Iterator[Picture]:
    """Cut out of frames of ``speak``, whose heads move as the replay does."""
    camera, lips_cm = avatar.head.camera, avatar.person.mouth.shape_cm[list(LIPS)]
    rows = np.concatenate([there_and_back(len(avatar.replay), int(t), 1) for t in times])
    points = project_px(camera, apply(avatar.replay[rows].camera_from_head, lips_cm))
    points *= frames[0].shape[0] / camera.height_px
    width, height = (round(share * np.ptp(points[..., 0], axis=1).max()) for share in (1.5, 1.05))
    for frame, (x, y) in zip(frames, points.mean(1), strict=True):
        left, top = (
            int(np.clip(middle - size / 2, 0, max(0, whole - size)))
            for middle, size, whole in ((x, width, frame.shape[1]), (y, height, frame.shape[0]))
        )
        yield np.ascontiguousarray(frame[top : top + height, left : left + width])


def _main_axes(features: Float32[np.ndarray, "T D"], count: int) -> Float[np.ndarray, "T count"]:
    """Principal components, each over its own spread."""
    centred = features - features.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    components = centred @ axes[:count].T
    return components / components.std(0).clip(1e-6)


# Dark blue, violet, orange, pale yellow: ordered by lightness, so that it also prints in grey.
_COLOURS = np.array([(10, 8, 40), (110, 30, 110), (235, 105, 60), (252, 250, 200)], np.float64)


def _heat_map(values: Float[np.ndarray, "H W"], height_px: int) -> Picture:
    low, high = np.percentile(values, (2, 99.5))
    level = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * (len(_COLOURS) - 1)
    rows = np.arange(height_px) * len(values) // height_px
    columns = np.arange(_WIDTH_PX) * values.shape[1] // _WIDTH_PX
    level = level[rows][:, columns]
    below = np.minimum(level.astype(int), len(_COLOURS) - 2)
    share = (level - below)[..., None]
    return (_COLOURS[below] * (1 - share) + _COLOURS[below + 1] * share).round().astype(np.uint8)


def _small(picture: Picture, side_px: int) -> Picture:
    """Shrunk to ``side_px`` wide by averaging."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    height = round(side_px * picture.shape[0] / picture.shape[1])
    small = torch.nn.functional.interpolate(
        pixels, (height, side_px), mode="bilinear", antialias=True
    )
    return small[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
