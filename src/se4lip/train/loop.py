"""One training loop for everything that is trained here.

A task says what a step's loss is; the loop does the rest: schedule, averaging of weights,
checkpoints that are whole or absent, resuming to the bit, progress with the time left,
TensorBoard, processes.

A step depends on nothing but the state and its own number: all randomness of step ``n`` comes from
a seed made of the run's seed and ``n``. That is what makes resuming exact.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from rich.console import Console
from torch import Tensor, distributed, nn

from se4lip.train.checkpoint import CHECKPOINT, Progress, checkpoint_file, numbers, resume, save
from se4lip.train.devices import is_chief
from se4lip.train.interruption import put_off
from se4lip.types import InputError, within

__all__ = ["CHECKPOINT", "LoopConfig", "Task", "duration", "schedule", "step_seed", "train"]


@dataclass(frozen=True)
class LoopConfig:
    steps: int = 20_000
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    final_rate: float = 0.01  # of learning_rate, reached along a cosine
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    average_decay: float = 0.999  # of the running mean of the weights, which is what is kept
    checkpoint_every_s: float = 60.0
    log_every: int = 50
    validate_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"{self.steps} steps were asked for: train for one at least")
        within(self, learning_rate=(1e-12, 1e3), clip_norm=(1e-12, math.inf), final_rate=(0, 1))
        within(self, weight_decay=(0, 1e3), average_decay=(0, 1), seed=(-(1 << 62), 1 << 62))
        within(self, warmup_steps=(0, math.inf), checkpoint_every_s=(0, math.inf))
        within(self, log_every=(1, math.inf), validate_every=(1, math.inf))


M = TypeVar("M", bound=nn.Module)


class Task(Protocol[M]):
    """What is trained. ``loss`` is differentiable; ``figures`` are numbers for the log."""

    module: M

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]: ...

    def validate(self, module: M) -> dict[str, float]: ...


def train(
    task: Task[M],
    config: LoopConfig,
    folder: Path,
    identity: dict[str, Any],
    autocast: torch.dtype | None = None,
    report: Callable[[str], None] | None = None,
    relative_rate: Callable[[str], float] = lambda name: 1.0,
) -> M:
    """Run ``task`` to its last step and return the module with averaged weights.

    ``relative_rate`` is a parameter's share of the learning rate, by its name.

    ``folder`` holds the checkpoint and the logs; a run found there is taken up where it was left.
    ``identity`` is whatever must be equal for that (the resolved configuration).

    Raises:
        InputError: ``folder`` holds a run of another configuration, or the loss is no longer a
            number. If that is so from the first step on, nothing was written.
    """
    module = task.module
    device = next(module.parameters()).device
    optimizer = torch.optim.AdamW(
        _groups(module, config.weight_decay, relative_rate),
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    average = {name: value.detach().clone() for name, value in module.state_dict().items()}
    identity = json.loads(json.dumps(identity | {"loop": dataclasses.asdict(config)}))
    path, before = checkpoint_file(folder), Progress()
    if path.exists():
        before = resume(path, identity, module, optimizer, average)
    done, found = before.steps_done, before.validation

    chief = is_chief()
    log = Log(folder if chief else None, config.steps, done, report)
    began = saved_at = time.monotonic()
    with contextlib.closing(log), put_off() as stopping:
        for step in range(done, config.steps):
            torch.manual_seed(step_seed(config.seed, step))
            rate = config.learning_rate * schedule(step, config)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["relative_rate"]
            with torch.autocast(
                device.type, autocast or torch.bfloat16, enabled=autocast is not None
            ):
                loss, figures = task.loss(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            _average_gradients(module)
            norm = nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
            optimizer.step()
            _update_average(average, module, config.average_decay, step)
            if step % config.log_every == 0 or step == config.steps - 1:
                value = _finite(loss, step)
                log.step(
                    step, {"loss": value, "gradient_norm": norm.item(), "rate": rate, **figures}
                )
            last = step == config.steps - 1
            if chief and (last or (step + 1) % config.validate_every == 0):
                figures = task.validate(_averaged(module, average))
                log.validation(step, figures)
                found = numbers(figures)
            stops = stopping()
            if chief and (last or stops or time.monotonic() - saved_at > config.checkpoint_every_s):
                _finite(loss, step)  # a spoilt state must not replace a good one
                saved_at = time.monotonic()
                come = Progress(step + 1, before.seconds + saved_at - began, found)
                save(path, identity, come, module, optimizer, average)
                if stops and not last:
                    log.stopped(step)
            if stops:
                break
    if distributed.is_initialized():
        distributed.barrier()
    module.load_state_dict(average)
    return module


def step_seed(seed: int, step: int) -> int:
    """Another seed for every step of every run."""
    return (seed * 1_000_003 + step) % (1 << 62)


def _finite(loss: Tensor, step: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise InputError(
            f"the loss became {value} at step {step}, the training has diverged: lower the "
            "learning rate and begin anew"
        )
    return value


def schedule(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then half a cosine down to ``final_rate``."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * progress)) / 2


def _groups(
    module: nn.Module, weight_decay: float, relative_rate: Callable[[str], float]
) -> list[dict[str, Any]]:
    """Weights of two or more axes decay; biases, norms and temperatures do not."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    named = list(module.named_parameters())
    for name, parameter in sorted(named, key=lambda pair: pair[1].ndim <= 1):
        groups.setdefault((parameter.ndim > 1, relative_rate(name)), []).append(parameter)
    return [
        {"params": params, "weight_decay": weight_decay * decays, "relative_rate": rate}
        for (decays, rate), params in groups.items()
    ]


def _average_gradients(module: nn.Module) -> None:
    """Mean over processes. The loss is one over all of them, so every process sees a part of it."""
    if not distributed.is_initialized():
        return
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= distributed.get_world_size()


@torch.no_grad()
def _update_average(average: dict[str, Tensor], module: nn.Module, decay: float, step: int) -> None:
    decay = min(decay, (1 + step) / (10 + step))  # young averages follow quickly
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


def _averaged(module: M, average: dict[str, Tensor]) -> M:
    """A copy of ``module`` with averaged weights, ready for use."""
    twin = copy.deepcopy(module)
    twin.load_state_dict(average)
    return twin.eval()


# --- what a person sees ---------------------------------------------------------------------------


class Log:
    """Lines on the terminal, scalars in TensorBoard if it is installed. ``folder=None`` is
    silent. No file is made before there is something to write into it."""

    def __init__(
        self, folder: Path | None, steps: int, done: int, report: Callable[[str], None] | None
    ) -> None:
        self.steps, self.done, self.began = steps, done, time.monotonic()
        self.silent = folder is None
        self.report = report or Console(stderr=True, highlight=False).print
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
            self.report("TensorBoard is not installed (pip install 'se4lip[train]'): no curves")
            return None
        return SummaryWriter(str(folder / "tensorboard"))

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
