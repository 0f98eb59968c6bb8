"""What heads are asked about in ``se4lip bench features``: sets of clips, and what teaches."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.bench.lips import Asked
from se4lip.bench.memory import Memory, digest_of
from se4lip.io.clips import clip_file, read_clip
from se4lip.io.dataset import Dataset
from se4lip.io.phones import read_phones
from se4lip.metrics.closure import Phone, closed_below, phones_within
from se4lip.metrics.landmarks import lip_aperture
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar_material import Take, folds_of, sliced, takes_of
from se4lip.train.split import EVERY, evenly
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, InputError

OWN, VOICES = "same speaker", "same speaker, other voices"
_UNHEARD = 1_000_000  # seeds of voices beyond those of training
_PIECE_FRAMES, _LEAST_FRAMES = 100, 20  # of clips of other people


@dataclass(frozen=True)
class AskedSet:
    """Clips that are asked about together, fold by fold; ``takes`` are the same clips where they
    are takes of the person's own data set, so that they can be drawn."""

    name: str
    parts: list[list[Asked]]
    takes: list[list[Take]] | None = None

    @property
    def every(self) -> list[Asked]:
        return [one for part in self.parts for one in part]

    @functools.cached_property
    def digest(self) -> str:
        """Of all that is asked: sound, lips, phones, and what is one recording."""
        return digest_of(*(digest_of(one) for one in self.every))

    @functools.cached_property
    def tracked_closed_below(self) -> float:
        """The aperture of closed lips, as a tracker sees them."""
        return closed_below(
            np.concatenate([lip_aperture(one.track.landmarks_px) for one in self.every])
        )


def folds(data: Dataset, config: Any) -> list[tuple[list[Take], list[Take]]]:
    """What teaches and what is asked. Many recordings: the split that heads and encoders share. A
    few, of a portrait: everything is asked once, by windows that did not learn from it. Of either,
    and of each fold, no more takes than ``config`` has."""
    split = [(takes_of(data, "train"), takes_of(data, "test"))]
    if is_portrait(data):
        split = folds_of(data, config.folds)
    most = config.train_takes, config.test_takes
    return [(evenly(teach, most[0]), evenly(asked, most[1])) for teach, asked in split]


def is_portrait(data: Dataset) -> bool:
    """Too few recordings to hold any out."""
    return len(data.recordings) < EVERY


def asked_sets(
    data: Dataset,
    splits: Sequence[tuple[list[Take], list[Take]]],
    others: Sequence[Dataset],
    same_lips: Sequence[Dataset],
    phones: Path | None,
    memory: Memory,
    other_clips: int,
) -> list[AskedSet]:
    """The sets of clips. Other people and lent lips are asked about in the first fold alone.

    Raises:
        InputError: no test takes, phones of none of them, two sets of one name, or lips lent by
            clips that teach.
    """
    takes = [test for _, test in splits]
    own = [[_asked(data, take, phones) for take in fold] for fold in takes]
    if not all(own):
        raise InputError(f"{data.path} has no test takes: nothing can be compared")
    if phones is not None and not any(one.phones for fold in own for one in fold):
        raise InputError(
            f"{phones} holds no CLIP.txt of any test clip of {data.path}: give the folder that "
            "examples/align_grid.py wrote, or leave --phones out"
        )
    names = [OWN, VOICES, *(one.name for one in (*same_lips, *others))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"two of the sets are called {twice[0]!r}, and a page tells them apart by name: rename "
            "a folder"
        )
    taught = {take.clip for train, _ in splits for take in train}
    return [
        AskedSet(OWN, own, takes),
        AskedSet(VOICES, _in_other_voices(own, memory), takes),
        *(AskedSet(one.name, [_lent(one, taught, other_clips)]) for one in same_lips),
        *(AskedSet(one.name, [_pieces(one, other_clips)]) for one in others),
    ]


def taught_digest(data: Dataset, takes: Sequence[Take]) -> str:
    """Of sound and lips of takes that teach, so that a data set prepared anew teaches anew."""
    found = []
    for take in takes:
        clip = data.clip(take.clip)
        found.append(digest_of(take, clip.speech.samples, clip.track))
    return digest_of(*found)


def _in_other_voices(own: list[list[Asked]], memory: Memory) -> list[list[Asked]]:
    voice, number = AvatarRecipe().voice, _UNHEARD
    voiced: list[list[Asked]] = []
    for fold in own:
        voiced.append([])
        for one in fold:
            voiced[-1].append(replace(one, samples=memory.voice(one.samples, voice, number)))
            number += 1
    return voiced


def _lent(lent: Dataset, taught: set[str], most: int) -> list[Asked]:
    """Whole clips of the person's own lips with another voice (`examples/other_voices.py`). Clips
    that were lent by one are one recording, whatever the data set calls them."""
    found, from_taught = [], []
    for name in evenly(lent.names, most):
        frames = lent.frame_count(name)
        lender = read_clip(clip_file(lent.path, name), frames)[1].get("of")
        if lender in taught:
            from_taught.append(name)
        one = _asked(lent, Take(name, 0, frames), None)
        found.append(replace(one, recording=f"of {lender}" if lender else one.recording))
    if from_taught:
        raise InputError(
            f"{lent.path} lends the lips of {len(from_taught)} clips that teach, {from_taught[0]} "
            "among them: make it of test sentences"
        )
    return found


def _pieces(other: Dataset, most: int) -> list[Asked]:
    pieces = [
        Take(name, start, min(start + _PIECE_FRAMES, other.frame_count(name)))
        for name in evenly(other.names, most)
        for start in range(0, other.frame_count(name) - _LEAST_FRAMES, _PIECE_FRAMES)
    ]
    if not pieces:
        raise InputError(
            f"{other.path} has no clip of more than {_LEAST_FRAMES} frames: leave it out"
        )
    return [replace(_asked(other, take, None), of_this_person=False) for take in pieces]


def _asked(data: Dataset, take: Take, phones: Path | None) -> Asked:
    clip = data.clip(take.clip)
    span = slice(take.start * SAMPLES_PER_FRAME, take.stop * SAMPLES_PER_FRAME)
    return Asked(
        name=f"{take.clip} {take.start}-{take.stop}",
        samples=clip.speech.samples[span],
        track=sliced(clip.track, take),
        phones=[] if phones is None else _phones(phones / f"{take.clip}.txt", take),
        recording=data.source(take.clip).name,
    )


def _phones(file: Path, take: Take) -> list[Phone]:
    """The phones that sound within a take, timed from its start; none where none are known."""
    if not file.is_file():
        return []
    start_s, stop_s = take.start / FRAME_RATE_HZ, take.stop / FRAME_RATE_HZ
    return phones_within(read_phones(file), start_s, stop_s)
