"""What ``se4lip bench features`` compares, and how much of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from se4lip.bench.kinds import COMPARED, OF_PACKAGES
from se4lip.types import InputError


@dataclass(frozen=True)
class FeaturesConfig:
    """What is compared, and how much of it.

    Attributes:
        features: Names, ours first.
        encoders: Further encoders of ours, NAME=FILE each: rows of their own, never rivals.
        seeds: Runs of each.
        steps: Of each run.
        train_takes: As many teach, evenly spread; all of the split by default.
        voices: Other voices in which each take is also heard, half of them in noise.
        sounds: Noises alone, in which the mouth is to rest.
        test_takes: As many are asked about; all of the split by default.
        other_clips: As many of each other data set.
        drawn_takes: As many are also drawn by each head, in their own and in another voice.
        drawn_seeds: With as many seeds; with all of them by default.
        folds: Of a data set with fewer than ten recordings, all of which is asked about.
    """

    features: tuple[str, ...] = COMPARED
    encoders: tuple[str, ...] = ()
    seeds: int = 3
    steps: int = 900
    train_takes: int | None = None
    voices: int = 2
    sounds: int = 240
    test_takes: int | None = None
    other_clips: int = 60
    drawn_takes: int = 14
    drawn_seeds: int | None = None
    folds: int = 5

    def __post_init__(self) -> None:
        least = {"seeds": 1, "steps": 1, "folds": 2, "drawn_takes": 0, "drawn_seeds": 0}
        least |= {"train_takes": 1, "test_takes": 1, "other_clips": 1, "voices": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise InputError(
                    f"--{name.replace('_', '-')} {value} was asked for: give {lowest} or more"
                )

    def quick(self, named: Collection[str] = ()) -> FeaturesConfig:
        """Minutes on two cores. What the user has ``named`` stays as it is."""
        smaller: dict[str, Any] = {
            "features": tuple(name for name in self.features if name not in OF_PACKAGES),
            **{"seeds": 1, "steps": 300, "train_takes": 60, "voices": 1, "sounds": 24},
            **{"test_takes": 24, "other_clips": 12, "drawn_takes": 2},
        }
        return replace(self, **{key: v for key, v in smaller.items() if key not in named})

    def left_out(self, whole: FeaturesConfig) -> str:
        """What this one has less of than ``whole``, in words; empty if nothing."""
        said = []
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(whole, field.name)
            if field.name == "features":
                missing = [name for name in theirs if name not in ours]
                said += [f"no {' and no '.join(missing)}"] if missing else []
            elif ours != theirs:
                words = field.name.replace("_", " ")
                said.append(f"{words} {ours} in place of {'all' if theirs is None else theirs}")
        return ", ".join(said)
