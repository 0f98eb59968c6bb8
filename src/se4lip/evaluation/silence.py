"""The verb ``evaluate silence``: does the mouth rest while nobody speaks?

Rooms, machines, breath and music are made by code (`audio.ambience`), from other seeds than those
in training and of some kinds that no training heard; recordings without speech can be given too.
The mouth is judged where the head says it is: its codes become landmarks through the person's own
mouth model, and go through the same rule as tracked landmarks do (`metrics.landmarks`). With a
tracker a part is drawn and tracked as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.audio.ambience import KEPT_OUT, KINDS, ambience, at_level
from se4lip.evaluation.lips_of_head import codes_heard, lip_landmarks
from se4lip.face.tracker import Tracker
from se4lip.io.audio import read_speech
from se4lip.metrics.landmarks import STILL_PX256, lip_moves_px256
from se4lip.train.listener import listener_of_avatar
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Speech, within

Samples = Float32[np.ndarray, " S"]


@dataclass(frozen=True)
class SilenceConfig:
    """What is made for each kind: ``seeds`` sounds, no two alike and each at a level of its own."""

    seconds: float = 10.0
    seeds: int = 30
    first_seed: int = 1_000_000  # training draws below this
    levels_db: tuple[float, float] = (-60.0, -15.0)  # RMS of the quietest and the loudest
    drawn_s: float = 6.0  # of each kind, where a tracker looks

    def __post_init__(self) -> None:
        within(self, seconds=(0.1, 3600), drawn_s=(0.1, 3600), levels_db=(-200, 0))
        within(self, seeds=(1, 10_000), first_seed=(0, 1 << 40))


@dataclass
class SilentKind:
    """One kind of sound. A share or a motion is NaN where there is nothing to judge."""

    name: str
    heard_in_training: bool | None  # None: given, and nobody knows
    sounds: int = 0
    moving_sounds: int = 0  # in which the mouth moves at all
    frames: int = 0
    moving: int = 0
    drawn_frames: int = 0
    drawn_moving: int = 0
    moves_px256: list[float] = field(default_factory=list, repr=False)

    @property
    def moving_share(self) -> float:
        return self.moving / self.frames if self.frames else float("nan")

    @property
    def drawn_moving_share(self) -> float:
        return self.drawn_moving / self.drawn_frames if self.drawn_frames else float("nan")

    @property
    def worst_px256(self) -> float:
        """What 99 of 100 moves stay under, of a face 256 px wide."""
        return float(np.percentile(self.moves_px256, 99)) if self.moves_px256 else float("nan")

    def plain(self) -> dict[str, Any]:
        """What is told of it, by name."""
        names = ["name", "heard_in_training", "sounds", "moving_sounds"]
        names += ["frames", "moving", "moving_share", "worst_px256"]
        found = {name: getattr(self, name) for name in names}
        if self.drawn_frames:
            found |= {"drawn_frames": self.drawn_frames, "drawn_moving": self.drawn_moving}
        return found

    def add(self, moves: np.ndarray, drawn: bool) -> None:
        known = moves[np.isfinite(moves)]
        moving = int((known > STILL_PX256).sum())
        if drawn:
            self.drawn_frames, self.drawn_moving = len(known), moving
        else:
            self.sounds, self.moving_sounds = self.sounds + 1, self.moving_sounds + (moving > 0)
            self.frames, self.moving = self.frames + len(known), self.moving + moving
            self.moves_px256 += known.tolist()


def evaluate_silence(
    avatar: Path | str | Avatar,
    recordings: Sequence[Path] = (),
    tracker: Tracker | None = None,
    encoder: Path | None = None,
    config: SilenceConfig | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[SilentKind]:
    """One row for each kind of made sound, and one for each recording, in which nobody may speak.

    Raises:
        InputError: files that cannot be read, or another encoder than the avatar's.
    """
    config = config or SilenceConfig()
    loaded = avatar if isinstance(avatar, Avatar) else load_avatar(avatar)
    listener = listener_of_avatar(loaded, encoder)
    found: list[SilentKind] = []
    asked: list[tuple[str, bool | None, Callable[[], Iterator[Samples]]]] = [
        *((kind, kind not in KEPT_OUT, partial(_made, kind, config)) for kind in KINDS),
        *((file.name, None, partial(_read, file)) for file in recordings),
    ]
    for index, (name, known, sounds) in enumerate(asked):
        row = SilentKind(name, known)
        for number, samples in enumerate(sounds()):
            codes = codes_heard(loaded, listener, Speech(samples))
            row.add(lip_moves_px256(lip_landmarks(loaded, codes)), drawn=False)
            if tracker is not None and number == 0:
                shown = codes[: round(config.drawn_s * FRAME_RATE_HZ)]
                row.add(lip_moves_px256(lip_landmarks(loaded, shown, tracker)), drawn=True)
        found.append(row)
        on_progress((index + 1) / len(asked))
    return found


def _made(kind: str, config: SilenceConfig) -> Iterator[Samples]:
    """The loudest first: it is the one that is drawn."""
    quietest, loudest = sorted(config.levels_db)
    levels_db = np.linspace(loudest, quietest, config.seeds)
    if kind == "silence":
        levels_db = levels_db[:1]  # all alike
    for number, level_db in enumerate(levels_db):
        seed = config.first_seed + number
        yield at_level(ambience(kind, round(config.seconds * SAMPLE_RATE_HZ), seed), level_db)


def _read(file: Path) -> Iterator[Samples]:
    yield read_speech(file).samples
