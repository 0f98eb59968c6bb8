"""Clips that went through renderer and tracker: each head draws the same takes for all features.

Head, torso, eyes and look are as they were filmed, the mouth is driven by sound alone: by the
take's own sound, and by the same take heard in another voice, for which the real lips exist too.
A take is drawn by a window that did not learn from it. Takes are the outer loop, so that each real
one is read and tracked once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from se4lip.bench.asked import AskedSet
from se4lip.bench.heads import NamedHead
from se4lip.bench.hearing import Hearing
from se4lip.bench.judges import Judges
from se4lip.bench.lips import Asked, agreement, closures
from se4lip.bench.memory import Memory, digest_of
from se4lip.bench.record import known
from se4lip.evaluation.avatar import has_look
from se4lip.evaluation.rendered_takes import Followed, Pictures, Rendered, beside
from se4lip.face.follow import follow_every_face
from se4lip.face.tracker import Tracker
from se4lip.head.base import Motion
from se4lip.io.dataset import Dataset
from se4lip.metrics import image, landmarks
from se4lip.train.avatar_material import Take, framed_pictures, motion_of, sliced
from se4lip.train.split import evenly
from se4lip.types import InputError

VERSION = 4  # of the figures: raise it when they are computed or drawn otherwise


@dataclass(frozen=True)
class Place:
    """Where a take stands in sets of the person's own clips: in which fold, as which clip."""

    fold: int
    index: int
    take: Take


@dataclass(frozen=True)
class Stage:
    """One head on which takes are drawn."""

    head: NamedHead
    data: Dataset
    tracker: Tracker
    judges: Judges
    memory: Memory
    videos: Path | None = None

    def places(self, own: AskedSet, most: int) -> list[Place]:
        """So many takes that show the head's look, evenly spread over all of them.

        Raises:
            InputError: no such take.
        """
        assert own.takes is not None
        found = [
            Place(fold, index, take)
            for fold, takes in enumerate(own.takes)
            for index, take in enumerate(takes)
            if self._shows_look(take)
        ]
        if not found:
            raise InputError(
                f"none of the test takes of {self.data.path} shows the look of the "
                f"{self.head.label}: give a head of this data set, or --drawn-takes 0"
            )
        return evenly(found, most)

    def _shows_look(self, take: Take) -> bool:
        avatar = self.head.avatar
        look = self.memory.figures(
            lambda: {"look": has_look(avatar, self.data, take, self.videos)},
            *("face and look", VERSION, avatar.sha256, self._source(take), [take.start, take.stop]),
        )
        return bool(look["look"])

    def _source(self, take: Take) -> list[Any]:
        source = self.data.source(take.clip)
        track = digest_of(self.data.clip(take.clip).track)
        return [self.data.name, take.clip, source.sha256, source.size_bytes, track]

    def draw(
        self,
        place: Place,
        sets: Sequence[AskedSet],
        hearings: Sequence[Sequence[Hearing]],
        on_drawn: Callable[[], None],
    ) -> Iterator[tuple[str, Hearing, str, dict[str, Any]]]:
        """Set, hearing, clip and figures of one take, heard by each of ``hearings`` (of all folds
        each); what is in memory is not drawn again."""
        real, source = RealTake(self, place.take), self._source(place.take)
        for asked in sets:
            one, below = asked.parts[place.fold][place.index], asked.tracked_closed_below
            question = [digest_of(one), below, self.tracker.name, self.judges.digest, source]
            for folds in hearings:
                hearing = folds[place.fold]
                key = ["drawn", VERSION, self.head.avatar.sha256, hearing.key, question]
                make = partial(self._figures, real, hearing, one, below)
                yield asked.name, hearing, one.name, self.memory.figures(make, *key)
                on_drawn()

    def _figures(
        self, real: RealTake, hearing: Hearing, asked: Asked, below: float
    ) -> dict[str, Any]:
        rows = self.memory.rows(hearing.named.kind, [asked.samples])[0]
        drawn = drawn_with(self.head, hearing, rows, real.motion)
        one = beside(real.take, drawn, real.pictures, asked.samples, real.followed, self.tracker)
        filmed = real.judged(asked, one)
        aperture = [landmarks.lip_aperture(s.points()) for s in (one.drawn_side, one.real_side)]
        found = judge_drawn(one) | closures(aperture[0], asked.phones, below)
        found |= self.judges.sync(one, one.drawn_side) | self.judges.apart(one)
        filmed = filmed | closures(aperture[1], asked.phones, below)
        return known(
            {"recording": asked.unit, "frames": len(one)}
            | found
            | {f"real_{name}": value for name, value in filmed.items()}
        )


class RealTake:
    """What a head needs of a real take; nothing is read before something is drawn."""

    def __init__(self, stage: Stage, take: Take) -> None:
        self.stage, self.take = stage, take
        self._judged: dict[str, dict[str, Any]] = {}

    @cached_property
    def pictures(self) -> Pictures:
        framing = self.stage.head.avatar.person.framing
        return framed_pictures(self.stage.data, self.take, framing, None, self.stage.videos)

    @cached_property
    def followed(self) -> Followed:
        return follow_every_face(self.pictures, self.stage.tracker)

    @cached_property
    def motion(self) -> Motion:
        person = self.stage.head.avatar.person
        track = sliced(self.stage.data.clip(self.take.clip).track, self.take)
        return motion_of(person, track, person.head_poses(track), self.pictures)

    def judged(self, asked: Asked, one: Rendered) -> dict[str, Any]:
        """What the sync judges say of the real video with the asked sound: the ceiling."""
        key = digest_of(asked.samples)
        if key not in self._judged:
            self._judged[key] = self.stage.judges.sync(one, one.real_side)
        return self._judged[key]


def drawn_with(head: NamedHead, hearing: Hearing, rows: np.ndarray, motion: Motion) -> Pictures:
    """The head, moved as the person moved, its mouth driven by features."""
    with torch.inference_mode():
        codes = hearing.window(torch.from_numpy(rows))
    at = np.arange(len(motion)).clip(max=len(codes) - 1)
    return np.stack(list(head.avatar.head.pictures(codes[torch.from_numpy(at)], motion)))


def judge_drawn(one: Rendered) -> dict[str, float]:
    """Figures of one drawn take beside the real one, both seen by the same tracker. Frames in which
    it lost the face are left out, and ``face_seen`` says how many are not."""
    shown, real = one.drawn_side.points(), one.real_side.points()
    boxes = torch.from_numpy(landmarks.mouth_boxes_px(real))
    drawn, filmed = image.pictures(one.drawn), image.pictures(one.real)
    mask = image.box_mask(boxes, *filmed.shape[-2:])
    return {
        "psnr_mouth_db": float(image.psnr(drawn, filmed, 1.0, mask).nanmean()),
        "lmd_px256": landmarks.lip_distance_px256(shown, real),
        "aperture_correlation": agreement(
            landmarks.lip_aperture(shown), landmarks.lip_aperture(real)
        ),
        "width_correlation": agreement(landmarks.lip_width(shown), landmarks.lip_width(real)),
        "face_seen": float(one.drawn_side.seen.mean()),
        "real_face_seen": float(one.real_side.seen.mean()),
    }
