"""What an avatar is made from: takes of one person, and the pictures, codes and motion in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from se4lip.face.expression import eye_codes, fit_eyes, fit_mouth
from se4lip.face.person import Framing, Person, fit_look, framed, look_thumbnail, mean_pose
from se4lip.face.pose import Poses, apply, faces_apart, fit_head, head_points, project_px
from se4lip.face.torso import fit_torso
from se4lip.head.base import Motion
from se4lip.head.motion import joined
from se4lip.io.dataset import Dataset
from se4lip.mesh import CHIN
from se4lip.metrics.landmarks import mouth_boxes_px
from se4lip.train.log import said_along
from se4lip.train.split import EVERY, Split, clips_of
from se4lip.types import FRAME_RATE_HZ, FaceTrack, InputError, within

Pictures = UInt8[np.ndarray, "M h w 3"]

_LOOKS_FROM_CLIPS = 20  # fewer clips are one look
# Of `faces_apart`: 0.29 and 0.27 on one man's 744 clips and a woman's two, 0.63 on three people's.
# A head that turns far comes near it, so it is told and not refused.
_SEVERAL_PEOPLE = 0.5


@dataclass(frozen=True)
class MaterialConfig:
    """What of the recordings a head is made from, and how much of it.

    Attributes:
        size_px: Pictures are squares of this size.
        pictures: As many as are kept to learn the appearance from.
        one_look_clips: Of many clips, as many as look most alike show what the person looks like.
            All of them teach how the person speaks.
        mouth_codes: Numbers that describe a mouth.
        look_codes: Numbers that describe what still differs between clips of one look.
        replay_s: How much head motion is kept to be replayed.
    """

    size_px: int = 256
    pictures: int = 1500
    one_look_clips: int = 120
    mouth_codes: int = 10
    look_codes: int = 4
    replay_s: float = 24.0

    def __post_init__(self) -> None:
        within(self, size_px=(32, 4096), pictures=(1, math.inf), one_look_clips=(1, math.inf))
        within(self, mouth_codes=(1, 60), look_codes=(0, 60), replay_s=(0.04, 86_400))


@dataclass(frozen=True)
class Take:
    """Frames ``[start, stop)`` of a clip."""

    clip: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def takes_of(data: Dataset, split: Split) -> list[Take]:
    """The takes of a split, by the rule of `split.clips_of` where there are ten recordings.

    Fewer recordings are each cut in time: the last tenth tests, the tenth before it validates.
    """
    if len(data.recordings) >= EVERY:
        return [Take(name, 0, data.frame_count(name)) for name in clips_of(data, split)]
    bounds = {"all": (0, 1), "train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1)}[split]
    takes = []
    for recording in data.recordings:
        clips = [name for name in data.names if data.source(name).name == recording]
        total = sum(data.frame_count(name) for name in clips)
        first, last = (round(bound * total) for bound in bounds)
        before = 0
        for name in clips:
            frames = data.frame_count(name)
            start, stop = max(0, first - before), min(frames, last - before)
            if start < stop:
                takes.append(Take(name, start, stop))
            before += frames
    return takes


def folds_of(
    data: Dataset, folds: int, block_s: float = 2.0
) -> list[tuple[list[Take], list[Take]]]:
    """Training and test takes of a few recordings, all of which are tested once.

    Recordings are cut into blocks; of ``folds`` blocks one after the other each fold tests one.
    Neighbouring training blocks are one take.
    """
    blocks: list[Take] = []
    for name in data.names:
        frames = data.frame_count(name)
        count = max(1, int(frames / (block_s * FRAME_RATE_HZ)))  # none is shorter
        ends = np.linspace(0, frames, count + 1).round().astype(int).tolist()
        blocks += [Take(name, *span) for span in itertools.pairwise(ends)]
    found = []
    for fold in range(folds):
        train: list[Take] = []
        for i, block in enumerate(blocks):
            if i % folds == fold:
                continue
            last = train[-1] if train else None
            if last is not None and (last.clip, last.stop) == (block.clip, block.start):
                train[-1] = Take(block.clip, last.start, block.stop)
            else:
                train.append(block)
        found.append((train, blocks[fold::folds]))
    return found


@dataclass(frozen=True)
class Spoken:
    """One take, and how mouth and head move in it."""

    take: Take
    track: FaceTrack
    poses: Poses
    mouth: Float32[np.ndarray, "T K"]


@dataclass(frozen=True)
class Shown:
    """Pictures to learn from, in no order, with everything that drives them."""

    pictures: Pictures
    mouth: Float32[np.ndarray, "M K"]
    motion: Motion
    mouth_boxes_px: Int[np.ndarray, "M 4"]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Material:
    person: Person
    eye_basis_cm: Float[np.ndarray, "E 478 3"]
    spoken: list[Spoken]
    shown: Shown
    replay: Motion
    look_takes: list[str]
    reprojection_px: float


def learned_from(data: Dataset, spoken: Sequence[Spoken]) -> dict[str, Any]:
    """What an avatar's file says of the takes it learned from, so that none of them tests it."""
    takes = [[one.take.clip, one.take.start, one.take.stop] for one in spoken]
    return {"dataset": data.name, "takes": takes}


def gather(
    data: Dataset,
    split: Split,
    config: MaterialConfig,
    videos: Path | None = None,
    report: Callable[[str], None] = print,
) -> Material:
    """Tracks the head through the takes of ``split`` and chooses pictures to learn from.

    Raises: InputError when the split holds less than three seconds, pictures of different sizes,
    or the recordings are gone.
    """
    takes = takes_of(data, split)
    if sum(map(len, takes)) < 75:
        raise InputError(
            f"split {split!r} of {data.path} holds {sum(map(len, takes))} frames, but an avatar "
            "needs at least 75 (3 s): prepare a longer recording"
        )
    tracks = [sliced(data.clip(take.clip).track, take) for take in takes]
    sizes = {(track.width_px, track.height_px) for track in tracks}
    if len(sizes) > 1:
        raise InputError(
            f"the recordings of {data.path} have pictures of {sorted(sizes)}: one avatar is made "
            "from recordings of one size"
        )
    head = fit_head([track.landmarks_px for track in tracks], *sizes.pop())
    report(f"head found in {len(takes)} takes, {head.reprojection_px:.2f} px off its landmarks")
    apart = faces_apart(head, [track.landmarks_px for track in tracks])
    if apart > _SEVERAL_PEOPLE:
        report(
            f"the faces of these takes lie {apart:.2f} % of a face's width apart, as those of "
            f"several people do: if {data.path} shows more than one, prepare each one's recordings "
            "by themselves"
        )
    framing, canonical = framed(head, config.size_px), mean_pose(head.poses)
    camera = framing.camera(head.skull.camera)

    first = said_along(takes, len(takes), "first pictures of takes", report)
    opening = [framed_pictures(data, take, framing, [0], videos) for take in first]
    thumbnails = np.stack(
        [
            look_thumbnail(pictures, poses[:1], camera, canonical, head.skull)
            for pictures, poses in zip(opening, head.poses, strict=True)
        ]
    )
    alike = most_alike(thumbnails, config.one_look_clips)
    width = config.look_codes if len(alike) >= _LOOKS_FROM_CLIPS else 0
    points = [
        head_points(track.landmarks_px, poses, head.skull)
        for track, poses in zip(tracks, head.poses, strict=True)
    ]
    mouth = fit_mouth(points, config.mouth_codes)
    eyes = [eye_codes(track.blendshapes) for track in tracks]
    chin_y_px = project_px(camera, apply(canonical[None], mouth.shape_cm[[CHIN]]))[0, 0, 1]
    person = Person(
        skull=head.skull,
        framing=framing,
        mean_pose=canonical,
        mouth=mouth,
        eyes_mean=np.concatenate(eyes).mean(0),
        torso=fit_torso([opening[i] for i in alike], int(chin_y_px) + config.size_px // 32),
        look=fit_look(thumbnails[alike], width, is_only_look=len(alike) == len(takes)),
    )
    spoken = [
        Spoken(take, track, poses, person.mouth_codes(track, poses))
        for take, track, poses in zip(takes, tracks, head.poses, strict=True)
    ]
    look = [spoken[i] for i in alike]
    shown, motions = shown_of(person, data, look, config.pictures, videos, report)
    report(f"{len(shown)} pictures of {len(alike)} takes that look alike")
    return Material(
        person=person,
        eye_basis_cm=fit_eyes(points, eyes, mouth),
        spoken=spoken,
        shown=shown,
        replay=joined(motions, round(config.replay_s * FRAME_RATE_HZ)),
        look_takes=[takes[i].clip for i in alike],
        reprojection_px=head.reprojection_px,
    )


def sliced(track: FaceTrack, take: Take) -> FaceTrack:
    rows = slice(take.start, take.stop)
    return replace(
        track,
        landmarks_px=track.landmarks_px[rows],
        blendshapes=track.blendshapes[rows],
        camera_from_face=track.camera_from_face[rows],
    )


def motion_of(person: Person, track: FaceTrack, poses: Poses, pictures: Pictures) -> Motion:
    """All that moves a head besides speech, read off the framed pictures of a take."""
    few = np.linspace(0, len(pictures) - 1, 5).round().astype(int)
    look = person.look_code(pictures[few], poses[few])
    return Motion(
        camera_from_head=poses.astype(np.float32),
        camera_from_torso=person.torso_poses(pictures, poses).astype(np.float32),
        eyes=person.eyes(track),
        look=np.repeat(look[None], len(pictures), axis=0),
    )


def most_alike(thumbnails: Float32[np.ndarray, "N P"], count: int) -> Int[np.ndarray, " count"]:
    """The ``count`` rows that lie closest together: the neighbourhood of the row whose
    neighbours are nearest. In order; all rows if there are no more."""
    if len(thumbnails) <= count:
        return np.arange(len(thumbnails))
    squares = (thumbnails.astype(np.float64) ** 2).sum(1)
    distance = squares[:, None] + squares - 2 * thumbnails @ thumbnails.T
    nearest = np.sort(distance, axis=1)[:, :count]
    centre = int(np.argmin(nearest.mean(1)))
    return np.sort(np.argsort(distance[centre], kind="stable")[:count])


def framed_pictures(
    data: Dataset,
    take: Take,
    framing: Framing,
    frames: Sequence[int] | None = None,
    videos: Path | None = None,
) -> Pictures:
    """The pictures of a take, or those of some of its ``frames``, as a head is drawn."""
    wanted = range(len(take)) if frames is None else frames
    source = data.frames(take.clip, videos)
    source = itertools.islice(source, take.start, take.start + max(wanted) + 1)
    return np.stack([framing.picture(p) for i, p in enumerate(source) if i in wanted])


def shown_of(
    person: Person,
    data: Dataset,
    spoken: Sequence[Spoken],
    count: int,
    videos: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Shown, list[Motion]]:
    """About ``count`` frames, as many from each second, and the motion of the whole takes."""
    generator = np.random.default_rng(0)
    share = min(1.0, count / sum(len(one.take) for one in spoken))
    kept, codes, moved, boxes, motions = [], [], [], [], []
    framing = person.framing
    scale = framing.size_px / framing.side_px
    corner = np.array([framing.left_px, framing.top_px] * 2)
    for one in said_along(spoken, len(spoken), "pictures of takes", report):
        frames = framed_pictures(data, one.take, framing, None, videos)
        motion = motion_of(person, one.track, one.poses, frames)
        few = max(1, round(share * len(frames)))
        rows = np.sort(generator.choice(len(frames), few, replace=False))
        kept.append(frames[rows])
        codes.append(one.mouth[rows])
        moved.append(motion[rows])
        boxes.append((mouth_boxes_px(one.track.landmarks_px[rows], 0.15) - corner) * scale)
        motions.append(motion)
    box = np.concatenate(boxes).round().clip(0, framing.size_px).astype(int)
    shown = Shown(np.concatenate(kept), np.concatenate(codes), Motion.end_to_end(moved), box)
    return shown, motions
