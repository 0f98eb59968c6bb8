"""What the ablation is given: how many variants, steps, seeds and clips; its page's name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from se4lip.bench.ablation_task import Budget
from se4lip.bench.variants import first_stage, full_cross
from se4lip.features.variant import Variant
from se4lip.train.devices import Precision
from se4lip.types import InputError

_MANY = 10**9
_RANGES = {
    **dict.fromkeys(("steps", "seeds", "final_steps", "final_seeds", "heads"), (1, _MANY)),
    **dict.fromkeys(("train_clips", "validation_clips", "test_clips", "other_clips"), (1, _MANY)),
    "finalists": (0, _MANY),
    "clips": (2, _MANY),  # in a step: contrast is with other clips too
    "stride": (1, 10),  # the shortest clips still give two rows or three
}


@dataclass(frozen=True)
class AblationConfig:
    """What is tried, and how much of it.

    Attributes:
        steps: Of each variant in the first stage.
        seeds: Runs of each variant in the first stage.
        finalists: So many of the best go on, beside the shipped one; 0 for no second stage.
        final_steps: Of each variant in the second stage.
        final_seeds: Runs of each variant in the second stage.
        heads: So many of the best are chosen for a full head, beside the shipped one.
        clips: In a step.
        stride: Frames between the windows of a clip.
        train_clips: As many teach; all of the split by default.
        validation_clips: As many rank the variants.
        test_clips: As many are judged; all of the split by default.
        other_clips: As many of each other data set are judged.
        full: Cross all fronts with all nets, windows of 3, 5 and 7 frames, causal or not.
        device: auto, cpu or cuda.
        precision: Of matrix products; auto is bfloat16 where that is faster.
    """

    steps: int = 600
    seeds: int = 1
    finalists: int = 3
    final_steps: int = 2000
    final_seeds: int = 3
    heads: int = 2
    clips: int = 16
    stride: int = 4
    train_clips: int | None = None
    validation_clips: int = 60
    test_clips: int | None = None
    other_clips: int = 60
    full: bool = False
    device: str = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                needed = f"{low} to {high}" if high < _MANY else f"at least {low}"
                raise InputError(f"{name} is {value}, but {needed} is needed: give another number")

    def quick(self, named: Collection[str] = ()) -> AblationConfig:
        """Minutes on two cores. What the user has ``named`` stays as it is."""
        smaller: dict[str, Any] = {
            **{"steps": 40, "finalists": 2, "final_steps": 120, "final_seeds": 1, "clips": 8},
            **{"train_clips": 120, "validation_clips": 20, "test_clips": 30, "other_clips": 20},
        }
        return replace(self, **{key: v for key, v in smaller.items() if key not in named})

    @property
    def variants(self) -> list[Variant]:
        """Of the first stage."""
        return full_cross() if self.full else first_stage()

    def budget(self, stage: int) -> Budget:
        return Budget(self.final_steps if stage == 2 else self.steps, self.clips, self.stride)


def page_name(dataset: str, config: AblationConfig) -> str:
    """Of the page: another run is another page."""
    steps = [config.steps, *([config.final_steps] if config.finalists else [])]
    return "-".join(["ablation", dataset, *(["full"] if config.full else []), *map(str, steps)])
