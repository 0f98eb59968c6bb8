"""A drawn person who talks: landmarks with known poses, pictures, sound, and a data set of them.

The mouth opens as a sum of two slow sines, the sound is as loud as the mouth is open, and the
features are the opening itself, so that everything an avatar learns has a known answer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from recordings import record
from se4lip.head.splat.canonical import FACE_OVAL, CanonicalConfig
from se4lip.io import dataset as store
from se4lip.io.dataset import ClipEntry, Index, SourceEntry
from se4lip.mesh import INNER_LIPS, OUTER_LIPS, RIGID
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar_material import MaterialConfig
from se4lip.types import Camera, FaceTrack

WIDTH_PX, HEIGHT_PX = 160, 128
CAMERA = Camera(3.0 * WIDTH_PX, WIDTH_PX / 2, HEIGHT_PX / 2, WIDTH_PX, HEIGHT_PX)
DISTANCE_CM = 110.0
BLINK_LEFT, BLINK_RIGHT = 9, 10
_UPPER_LIDS = (159, 386)


def smallest_recipe(speech_steps: int, picture_steps: int, **changes: Any) -> AvatarRecipe:
    """A head that is there and no more, of 64x64 pixels."""
    size: dict[str, Any] = {"size_px": 64, "pictures": 10, "curves": 2, "hidden": 8}
    return recipe((4, 4, 8, 8, 8), speech_steps, picture_steps, **size, **changes)


def recipe(
    spacing_px: tuple[float, float, float, float, float],
    speech_steps: int,
    picture_steps: int,
    size_px: int = 112,
    pictures: int = 20,
    curves: int = 4,
    hidden: int = 16,
    **changes: Any,
) -> AvatarRecipe:
    """A head of the puppet in seconds; its Gaussians lie so far apart in interior, lips, face, hair
    and torso."""
    spots = ("interior_px", "lips_px", "face_px", "hair_px", "torso_px")
    spacing = dict(zip(spots, spacing_px, strict=True))
    made = AvatarRecipe(
        material=MaterialConfig(size_px=size_px, pictures=pictures, mouth_codes=3, replay_s=2.0),
        canonical=CanonicalConfig(**spacing, interior_depth_cm=0.5),
        curves=curves,
        hidden=hidden,
        **changes,
    )
    return replace(
        made,
        speech=replace(made.speech, steps=speech_steps, validate_every=speech_steps),
        pictures=replace(made.pictures, steps=picture_steps, validate_every=picture_steps),
    )


def face_cm() -> np.ndarray:
    """A face [478, 3] in head coordinates: 14 cm wide, 18 cm high, round, mouth closed."""
    random = np.random.default_rng(1)
    around = random.uniform(0, 2 * np.pi, 478)
    out = np.sqrt(random.uniform(0, 0.9, 478))
    xy = np.stack((6.5 * out * np.cos(around), 8.5 * out * np.sin(around)), -1)
    rigid = list(RIGID)
    xy[rigid, 1] = xy[rigid, 1] * 0.5 - 2.5  # above the mouth
    turn = np.linspace(-np.pi / 2, 1.5 * np.pi, len(FACE_OVAL), endpoint=False)
    xy[list(FACE_OVAL)] = np.stack((7 * np.cos(turn), 9 * np.sin(turn)), -1)
    for ring, width, height in ((OUTER_LIPS, 2.6, 1.0), (INNER_LIPS, 2.0, 0.02)):
        turn = np.pi - np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        xy[list(ring)] = np.stack((width * np.cos(turn), 4 + height * np.sin(turn)), -1)
    for index, place in {
        **{33: (-4.4, -2.0), 133: (-1.7, -2.0), 362: (1.7, -2.0), 263: (4.4, -2.0)},
        **{2: (0.0, 1.5), 4: (0.0, 0.5), 159: (-3.0, -2.6), 386: (3.0, -2.6)},
        **{454: (7.0, -0.5), 234: (-7.0, -0.5), 10: (0.0, -9.0), 152: (0.0, 9.0)},
    }.items():
        xy[index] = place
    z = 5 * ((xy[:, 0] / 7) ** 2 + 0.3 * (xy[:, 1] / 9) ** 2)
    return np.concatenate((xy, z[:, None]), axis=1)


def opening_cm(frames: int, seed: int = 0) -> np.ndarray:
    """How far the lips are apart."""
    t = np.arange(frames) / 25
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 2)
    wave = np.sin(2 * np.pi * 1.7 * t + phase[0]) + np.sin(2 * np.pi * 2.9 * t + phase[1])
    return np.maximum(0.8 * wave, 0)


def points_cm(opening: np.ndarray, blink: np.ndarray | float = 0.0) -> np.ndarray:
    """The face with open lips and closed lids, [T, 478, 3]."""
    face = np.repeat(face_cm()[None], len(opening), axis=0)
    low = np.clip((face_cm()[:, 1] - 4.0) / 1.0, 0, 1)
    lower_inner = list(INNER_LIPS[1:10])
    low[lower_inner] = np.sin(np.linspace(0, np.pi, 11))[1:-1]
    low[list(OUTER_LIPS[1:10])] = 1
    face[:, :, 1] += opening[:, None] * low
    face[:, list(_UPPER_LIDS), 1] += 0.8 * np.asarray(blink).reshape(-1, 1)
    return face


def poses(frames: int, seed: int = 0) -> np.ndarray:
    """A head that sways a little, [T, 3, 4]."""
    t = np.arange(frames) / 25
    random = np.random.default_rng(seed)
    swing = [
        size * np.sin(2 * np.pi * hz * t + random.uniform(0, 6))
        for size, hz in ((0.06, 0.4), (0.08, 0.3), (0.04, 0.5), (0.8, 0.35), (0.5, 0.45), (2, 0.1))
    ]
    pitch, yaw, roll, x, y, z = swing
    made = np.zeros((frames, 3, 4))
    for i in range(frames):
        made[i, :, :3] = rotation(pitch[i], yaw[i], roll[i])
    made[:, :, 3] = np.stack((x, y - 2, z + DISTANCE_CM), -1)
    return made


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    cx, sx, cy, sy, cz, sz = (f(a) for a in (pitch, yaw, roll) for f in (np.cos, np.sin))
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ turn_y @ turn_x


def seen_px(points: np.ndarray, camera_from_head: np.ndarray, noise_px: float = 0.0) -> np.ndarray:
    """Landmarks as a tracker gives them: pixels, and depth in pixels about some origin."""
    placed = np.einsum("tij,tkj->tki", camera_from_head[:, :, :3], points)
    placed = placed + camera_from_head[:, None, :, 3]
    z = placed[..., 2:]
    xy = CAMERA.focal_px * placed[..., :2] / z + [CAMERA.cx_px, CAMERA.cy_px]
    xy = xy + noise_px * np.random.default_rng(3).standard_normal(xy.shape)
    depth = (z - z.mean(1, keepdims=True)) * CAMERA.focal_px / z.mean(1, keepdims=True)
    return np.concatenate((xy, depth), axis=-1).astype(np.float32)


def track(frames: int, seed: int = 0, noise_px: float = 0.0) -> FaceTrack:
    blink = (np.arange(frames) % 40 < 4).astype(float)
    found = seen_px(points_cm(opening_cm(frames, seed), blink), poses(frames, seed), noise_px)
    shapes = np.zeros((frames, 52), np.float32)
    shapes[:, [BLINK_LEFT, BLINK_RIGHT]] = blink[:, None]
    pose = np.repeat(np.eye(4, dtype=np.float32)[None], frames, axis=0)
    return FaceTrack(found, shapes, pose, WIDTH_PX, HEIGHT_PX)


def picture(landmarks_px: np.ndarray, torso_x_px: float = 0.0) -> np.ndarray:
    """The puppet: brown hair, skin, dark mouth, red lips, a striped shirt, a grey wall."""
    big = 3  # drawn large and shrunk, for smooth edges
    image = Image.new("RGB", (WIDTH_PX * big, HEIGHT_PX * big), (120, 130, 140))
    pen = ImageDraw.Draw(image)

    def fill(points: np.ndarray, colour: tuple[int, int, int]) -> None:
        pen.polygon([tuple(p * big) for p in points[:, :2].tolist() and points[:, :2]], colour)

    oval = landmarks_px[list(FACE_OVAL)]
    middle = oval[:, :2].mean(0)
    chin_y = 0.5 * HEIGHT_PX + 40
    for stripe in range(-6, 7):
        x = WIDTH_PX / 2 + torso_x_px + 12 * stripe
        shade = 60 + 90 * (stripe % 2)
        fill(
            np.array([[x, chin_y], [x + 12, chin_y], [x + 16, 200], [x - 4, 200]]), (40, 60, shade)
        )
    fill(np.c_[middle + (oval[:, :2] - middle) * [1.2, 1.15]], (90, 60, 30))
    fill(oval, (220, 170, 140))
    fill(landmarks_px[list(OUTER_LIPS)], (190, 70, 70))
    fill(landmarks_px[list(INNER_LIPS)], (50, 15, 15))
    for corners, lid in (((33, 133), 159), ((362, 263), 386)):
        a, b = landmarks_px[list(corners), :2]
        top = landmarks_px[lid, :2]
        fill(np.array([a, top, b, (a + b) / 2 + [0, 1]]), (250, 250, 250))
    return np.asarray(image.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BOX))


def sound(opening: np.ndarray) -> np.ndarray:
    loud = np.repeat(opening, 640) / 2
    time_s = np.arange(len(loud)) / 16_000
    return (0.4 * loud * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32)


def make_dataset(folder: Path, recordings: int = 2, frames: int = 100) -> Path:
    """A data set as `se4lip prepare` would write it, with its recordings beside it, and
    ``features/NAME.npy``, [T, 3] of the opening of the mouth."""
    videos, out, features = folder / "videos", folder / "dataset", folder / "features"
    for made in (videos, out, features):
        made.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(recordings):
        name = f"take{number:02}"
        opening, seen = opening_cm(frames, number), track(frames, number, noise_px=0.1)
        pictures = [picture(points) for points in seen.landmarks_px]
        video = record(
            videos / f"{name}.mp4", pictures, np.arange(frames) / 25, sound(opening), 16_000
        )
        lips = np.zeros((frames, 8, 8, 3), np.uint8)
        store.write_clip(out, name, sound(opening), lips, seen, {})
        entries.append(
            SourceEntry(
                name=name,
                source=video.name,
                folder="../videos",
                size_bytes=video.stat().st_size,
                sha256="",
                clips=(ClipEntry(name, 0, frames),),
            )
        )
        rows = np.stack((opening, np.gradient(opening), np.ones(frames)), -1)
        np.save(features / f"{name}.npy", rows.astype(np.float32))
    store.write_index(out, Index({}, tuple(entries)))
    return out
