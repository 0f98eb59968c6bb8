"""What a person sees of a training: lines on the terminal, curves in TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

T = TypeVar("T")

_SAY_EVERY_S = 10.0


def say(line: str) -> None:
    """A line on standard error, as it is: names hold brackets, and logs are read by machines."""
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def said_along(
    items: Iterable[T], count: int, what: str, report: Callable[[str], None]
) -> Iterator[T]:
    """``count`` items, with a line now and then on how many are done and how long the rest will
    take. What is quickly done says nothing."""
    began = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= _SAY_EVERY_S:
            said, left = now, (now - began) / done * (count - done)
            report(f"{what}: {done} of {count}, {duration(left)} left")
        yield item


class Log:
    """Lines on the terminal, scalars in TensorBoard if it is installed. ``folder=None`` is
    silent. No file is made before there is something to write into it."""

    def __init__(
        self, folder: Path | None, steps: int, done: int, report: Callable[[str], None] | None
    ) -> None:
        self.steps, self.done, self.began = steps, done, time.monotonic()
        self.silent = folder is None
        self.report = report or say
        self.folder = folder  # until the board there is opened
        self.board: Any = None
        if folder is not None and done:
            self.report(f"going on at step {done} of {steps}")

    def step(self, step: int, figures: dict[str, float]) -> None:
        self._scalars("train", step, figures)
        if not self.silent:
            ran = step + 1 - self.done
            left = (time.monotonic() - self.began) / ran * (self.steps - step - 1)
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.report(f"step {step + 1}/{self.steps}  {shown}  {duration(left)} left")

    def validation(self, step: int, figures: dict[str, float]) -> None:
        self._scalars("validation", step, figures)
        if not self.silent:
            known = {name: value for name, value in figures.items() if not math.isnan(value)}
            shown = "  ".join(f"{name} {value:.4g}" for name, value in known.items())
            self.report(f"validation at step {step + 1}  {shown or 'nothing was kept out for it'}")

    def stopped(self, step: int) -> None:
        come = f"stopped and saved at step {step + 1} of {self.steps}"
        self.report(f"{come}: give the same command again to go on")

    def _scalars(self, group: str, step: int, figures: dict[str, float]) -> None:
        if self.folder is not None:
            self.board, self.folder = self._opened(self.folder), None
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{group}/{name}", value, step)

    def _opened(self, folder: Path) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.report(
                "TensorBoard is not installed (pip install '.[train]' in se4lip's checkout): no "
                "curves"
            )
            return None
        return SummaryWriter(str(folder / "tensorboard"))

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
