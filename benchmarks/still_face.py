"""How much a tracker's lips move on a face that does not: what "the mouth moves" must exceed.

    python benchmarks/still_face.py VIDEO... [--dataset FOLDER] [--frames 75] [--json]

One picture of every video is moved about as a speaker's head is (a smoothed random walk in shift
and turn), given a camera's noise, coded as H.264 and tracked again. Printed per head speed: the
mean and the 99.9th percentile of what ``metrics.landmarks.moves_in_silence`` compares with its
threshold, in pixels of a face 256 px wide. With a prepared data set, also how fast its speakers'
heads move, and the share of frames of speech that lie over the threshold. MediaPipe's model as for
``se4lip evaluate``.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from se4lip.audio.voice_activity import speech_frames
from se4lip.evaluation.watch import watch
from se4lip.io.dataset import open_dataset
from se4lip.io.video import read_frames
from se4lip.io.video_writing import write_video
from se4lip.metrics import landmarks
from se4lip.prepare.dataset import mediapipe_tracker
from se4lip.train.split import clips_of

# Mean head speed along each axis, px of a 256-px face per frame.
SPEEDS_PX256 = (0.0, 0.3, 0.8)
CAMERA_NOISE = 2.0  # standard deviation, of 255


def still_face(
    picture: np.ndarray, frames: int, speed_px: float, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    height, width = picture.shape[:2]
    aside, down, turn = (_walk(frames, rng) * speed_px for _ in range(3))
    turn /= 0.3 * width  # radians, so that the face's edge moves as fast as its middle
    for t in range(frames):
        c, s, x, y = np.cos(turn[t]), np.sin(turn[t]), width / 2, height / 2
        where = (c, s, x - c * x - s * y + aside[t], -s, c, y + s * x - c * y + down[t])
        moved = Image.fromarray(picture).transform(
            (width, height), Image.Transform.AFFINE, where, Image.Resampling.BICUBIC
        )
        seen = np.asarray(moved) + rng.normal(0, CAMERA_NOISE, picture.shape)
        yield seen.round().clip(0, 255).astype(np.uint8)


def _walk(frames: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth random walk about 0 whose mean step is 1."""
    walk = np.convolve(np.cumsum(rng.normal(size=frames + 8)), np.ones(9) / 9, "valid")
    return (walk - walk.mean()) / np.abs(np.diff(walk)).mean()


def real_faces(folder: Path, clips: int = 60) -> dict[str, float]:
    """Head speed, and how much of speech is seen to move, on training clips of a data set."""
    data, speeds, moving = open_dataset(folder), [], []
    names = clips_of(data, "train")
    for name in names[:: -(-len(names) // clips)]:
        clip = data.clip(name)
        points = clip.track.landmarks_px
        middle = points[:, landmarks.STEADY, :2].mean(1)
        width = np.median(landmarks.face_width_px(points))
        speeds.append(np.linalg.norm(np.diff(middle, axis=0), axis=1).mean() * 256 / width)
        speaking = speech_frames(clip.speech.samples)[: len(clip)]
        apart = landmarks.lip_moves_px256(points)
        whole = np.lib.stride_tricks.sliding_window_view(speaking, 6).all(-1)
        moving.append(apart[: len(whole)][whole[: len(apart)]] > landmarks.STILL_PX256)
    median, fastest = np.percentile(speeds, (50, 99))
    return {
        "clips": len(speeds),
        "head_speed_median_px256": float(median),
        "head_speed_p99_px256": float(fastest),
        "speech_over_threshold": float(np.concatenate(moving).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--frames", type=int, default=75)
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    tracker, rng = mediapipe_tracker(), np.random.default_rng(0)
    found: dict[float, list[np.ndarray]] = {speed: [] for speed in SPEEDS_PX256}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "still.mp4"
        for video in flags.videos:
            picture = next(read_frames(video))
            faces = tracker.track(picture)
            if not faces:
                continue
            width = landmarks.face_width_px(faces[0].landmarks_px[None])[0]
            for speed in SPEEDS_PX256:
                pictures = still_face(picture, flags.frames, speed * width / 256, rng)
                write_video(made, pictures, None)
                found[speed].append(landmarks.lip_moves_px256(watch(made, tracker).points()))
    report = {}
    for speed, clips in found.items():
        if not clips:
            continue
        moves = np.concatenate(clips)
        report[speed] = {
            "frames": len(moves),
            "mean_px256": float(np.nanmean(moves)),
            "p99.9_px256": float(np.nanpercentile(moves, 99.9)),
            "over_threshold": float((moves > landmarks.STILL_PX256).mean()),
        }
    if flags.dataset is not None:
        print(json.dumps(real_faces(flags.dataset), indent=1))
    if flags.json:
        print(json.dumps(report, indent=1))
        return
    for speed, row in report.items():
        print(
            f"head {speed} px256/frame an axis: mean {row['mean_px256']:.2f} px256, 99.9 % under "
            f"{row['p99.9_px256']:.2f}; {row['over_threshold']:.2%} of {row['frames']} frames over "
            f"{landmarks.STILL_PX256}"
        )


if __name__ == "__main__":
    main()
