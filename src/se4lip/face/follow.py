"""One face through time: the faces of single pictures become a track, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from se4lip.face.tracker import Face, Tracker
from se4lip.mesh import OUTER_EYE_CORNERS, STABLE
from se4lip.types import FRAME_RATE_HZ, FaceTrack, InputError, within

_THUMBNAIL = 16
_MOST_TILT_DEG = 60.0  # of the line through the eyes; beyond it the picture was turned


@dataclass(frozen=True)
class FollowConfig:
    """What is still one face. Brightness differences are means over a thumbnail, of 255."""

    longest_dropout_frames: int = 3
    longest_second_face_frames: int = 3
    cut_jump: float = 0.5  # eye distances from one frame to the next
    cut_brightness: float = 20.0
    cut_over_median: float = 6.0  # a shaking camera differs much from frame to frame, always

    def __post_init__(self) -> None:
        within(self, **dict.fromkeys(self.__dataclass_fields__, (0, math.inf)))


# Whatever moves or fails: a judge takes every face as it is, what jumps is for the figures to show.
EVERY_FACE = FollowConfig(
    longest_dropout_frames=1 << 30,
    longest_second_face_frames=1 << 30,
    cut_jump=math.inf,
    cut_brightness=math.inf,
)


@dataclass(frozen=True)
class Sighting:
    """The faces of one picture, and how it differs from the picture before, to find cuts by."""

    faces: tuple[Face, ...]
    change: float
    height_px: int
    width_px: int


def sight(frames: Iterable[UInt8[np.ndarray, "H W 3"]], tracker: Tracker) -> Iterator[Sighting]:
    """What ``tracker`` sees in each frame; frames are not kept."""
    seen: UInt8[np.ndarray, "H W 3"] | None = None
    sighting: Sighting | None = None
    before: Float32[np.ndarray, "16 16 3"] | None = None
    for frame in frames:
        if sighting is None or frame is not seen:  # a frame held on the grid is one array
            height, width = frame.shape[:2]
            now = thumbnail(frame)
            change = 0.0 if before is None else float(np.abs(now - before).mean())
            sighting = Sighting(tuple(tracker.track(frame)), change, height, width)
            seen, before = frame, now
        elif sighting.change:
            sighting = replace(sighting, change=0.0)
        yield sighting


def follow(
    sightings: Sequence[Sighting],
    config: FollowConfig = FollowConfig(),
    start_frame: int = 0,
) -> tuple[FaceTrack, int]:
    """The track of the one face that is there, and how many of its frames had to be filled in.

    Short dropouts are interpolated. ``start_frame`` is where the clip starts in its source: times
    in the reasons count from the source's start.

    Raises:
        InputError: no face, two faces, a face on its side, or a cut; the text is the reason, with
            its time.
    """

    def at(index: int) -> str:
        return f"at {(start_frame + index) / FRAME_RATE_HZ:.2f} s"

    chosen = _chosen(sightings)
    visible = np.array([face is not None for face in chosen])
    if not visible.any():
        raise InputError(f"no face {at(0)} or at any other time")
    for first, last in _runs([len(_distinct(s.faces)) > 1 for s in sightings]):
        if last - first + 1 > config.longest_second_face_frames:
            raise InputError(f"two faces {at(first)}")
    tilt_deg = _tilt_deg([face for face in chosen if face is not None])
    if abs(tilt_deg) > _MOST_TILT_DEG and math.isfinite(config.cut_jump):  # not of every face
        raise InputError(f"a picture turned by {abs(tilt_deg):.0f} degrees {at(0)}")
    cuts = _cuts(sightings, chosen, config)
    for first, last in _runs(~visible):
        if any(first <= cut <= last + 1 for cut in cuts):
            continue  # the cut is the better reason
        if last - first + 1 > config.longest_dropout_frames:
            raise InputError(f"no face {at(first)} for {last - first + 1} frames")
    if cuts:
        raise InputError(f"a cut {at(cuts[0])}")
    seen = [face for face in chosen if face is not None]
    times = np.flatnonzero(visible)
    track = FaceTrack(
        landmarks_px=_filled(np.stack([f.landmarks_px for f in seen]), times, len(chosen)),
        blendshapes=_filled(np.stack([f.blendshapes for f in seen]), times, len(chosen)),
        camera_from_face=_filled_poses(
            np.stack([f.camera_from_face for f in seen]), times, len(chosen)
        ),
        width_px=sightings[0].width_px,
        height_px=sightings[0].height_px,
    )
    return track, int((~visible).sum())


def follow_every_face(
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]], tracker: Tracker
) -> tuple[FaceTrack, Bool[np.ndarray, " T"]]:
    """The track of the one face in ``pictures``, filled in where none is seen, and where one is.

    Raises:
        InputError: there is no face in any of them.
    """
    sightings = list(sight(pictures, tracker))
    return follow(sightings, EVERY_FACE)[0], np.array([bool(s.faces) for s in sightings])


def where_seen(
    values: Float32[np.ndarray, "T ..."], seen: Bool[np.ndarray, " T"]
) -> Float32[np.ndarray, "T ..."]:
    """Rows of a track, NaN where no face was seen: what was filled in is not to be judged."""
    return np.where(seen.reshape(-1, *[1] * (values.ndim - 1)), values, np.float32(np.nan))


def _chosen(sightings: Sequence[Sighting]) -> list[Face | None]:
    """The face nearest to where it was last; the largest to begin with."""
    chosen: list[Face | None] = []
    last: Face | None = None
    for sighting in sightings:
        if not sighting.faces:
            chosen.append(None)
            continue
        if last is None:
            last = max(sighting.faces, key=_eye_distance)
        else:
            before = _middle(last)
            last = min(sighting.faces, key=lambda f: float(np.linalg.norm(_middle(f) - before)))
        chosen.append(last)
    return chosen


def _cuts(
    sightings: Sequence[Sighting], chosen: Sequence[Face | None], config: FollowConfig
) -> list[int]:
    """Frames that are the first of another shot."""
    change = np.array([s.change for s in sightings[1:]])
    usual = np.median(change) + 0.5 if len(change) else 0.5
    by_picture = (change > config.cut_brightness) & (change > config.cut_over_median * usual)
    cuts = []
    for t in range(1, len(sightings)):
        before, after = chosen[t - 1], chosen[t]
        jumped = False
        if before is not None and after is not None:
            moved = np.linalg.norm((after.landmarks_px - before.landmarks_px)[STABLE, :2], axis=-1)
            jumped = moved.mean() > config.cut_jump * _eye_distance(before)
        if jumped or by_picture[t - 1]:
            cuts.append(t)
    return cuts


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """Faces without the second sighting of one and the same head."""
    kept: list[Face] = []
    for face in faces:
        if all(
            np.linalg.norm(_middle(face) - _middle(other))
            > 0.5 * max(_eye_distance(face), _eye_distance(other))
            for other in kept
        ):
            kept.append(face)
    return kept


def _middle(face: Face) -> Float32[np.ndarray, " 2"]:
    return face.landmarks_px[STABLE, :2].mean(0)


def _eye_distance(face: Face) -> float:
    right, left = OUTER_EYE_CORNERS
    return float(np.linalg.norm(face.landmarks_px[left] - face.landmarks_px[right]))


def _tilt_deg(faces: Sequence[Face]) -> float:
    """How far a head is turned in the picture on average: 0 upright, 90 or -90 on its side."""
    right, left = OUTER_EYE_CORNERS
    lines = [(face.landmarks_px[left] - face.landmarks_px[right])[:2] for face in faces]
    across, down = np.mean([line / (np.linalg.norm(line) + 1e-9) for line in lines], axis=0)
    return math.degrees(math.atan2(down, across))


def _runs(flags: Iterable[bool]) -> list[tuple[int, int]]:
    """First and last index of every run of true."""
    edges = np.diff(np.concatenate([[0], np.asarray(list(flags), np.int8), [0]]))
    firsts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(first), int(end) - 1) for first, end in zip(firsts, ends, strict=True)]


def _filled(
    values: Float32[np.ndarray, "V ..."], times: np.ndarray, frames: int
) -> Float32[np.ndarray, "T ..."]:
    """Values at ``times`` laid out over all frames: linear between them, held at the ends."""
    if len(times) == frames:
        return values
    after = np.searchsorted(times, np.arange(frames)).clip(1, max(1, len(times) - 1))
    right = after.clip(max=len(times) - 1)
    left = after - 1
    gap = np.maximum(times[right] - times[left], 1)
    share = ((np.arange(frames) - times[left]) / gap).clip(0, 1).astype(np.float32)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return values[left] * (1 - share) + values[right] * share


def _filled_poses(
    poses: Float32[np.ndarray, "V 4 4"], times: np.ndarray, frames: int
) -> Float32[np.ndarray, "T 4 4"]:
    """``_filled`` with what lies between two rotations made a rotation again."""
    filled = _filled(poses, times, frames)
    if len(times) == frames:
        return filled
    blocks: Float64[np.ndarray, "T 3 3"] = filled[:, :3, :3].astype(np.float64)
    u, _, vt = np.linalg.svd(blocks)
    missing = np.setdiff1d(np.arange(frames), times)
    size = np.cbrt(np.abs(np.linalg.det(_filled(poses[:, :3, :3], times, frames)[times]))).mean()
    filled[missing, :3, :3] = (size * u @ vt)[missing]
    return filled


def thumbnail(frame: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "16 16 3"]:
    """Means over a grid laid over the picture."""
    # Every k-th pixel is enough, and much faster on large pictures.
    small = frame[:: max(1, frame.shape[0] // 128), :: max(1, frame.shape[1] // 128)]
    rows = np.linspace(0, small.shape[0], _THUMBNAIL + 1).astype(int)[:-1]
    columns = np.linspace(0, small.shape[1], _THUMBNAIL + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(small, rows, 0, np.float32), columns, 1)
    counts = np.outer(np.diff([*rows, small.shape[0]]), np.diff([*columns, small.shape[1]]))
    return (sums / np.maximum(counts, 1)[..., None]).astype(np.float32)
