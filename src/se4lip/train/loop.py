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
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn

from se4lip.train.checkpoint import CHECKPOINT, Progress, checkpoint_file, numbers, resume, save
from se4lip.train.devices import is_chief
from se4lip.train.interruption import put_off
from se4lip.train.log import Log
from se4lip.types import InputError, within

__all__ = ["CHECKPOINT", "LoopConfig", "Task", "schedule", "step_seed", "train"]


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
    learner = _Learner(task, config, autocast, relative_rate)
    identity = json.loads(json.dumps(identity | {"loop": dataclasses.asdict(config)}))
    path, before = checkpoint_file(folder), Progress()
    if path.exists():
        before = resume(path, identity, learner.module, learner.optimizer, learner.average)
    done, found = before.steps_done, before.validation

    chief = is_chief()
    log = Log(folder if chief else None, config.steps, done, report)
    began = saved_at = time.monotonic()
    with contextlib.closing(log), put_off() as stopping:
        for step in range(done, config.steps):
            last = step == config.steps - 1
            loss, norm, figures = learner.step(step)
            if last or step % config.log_every == 0:
                shown = {"loss": _finite(loss, "loss", step), "gradient_norm": norm.item()}
                log.step(step, shown | {"rate": rate_of(step, config)} | figures)
            if chief and (last or (step + 1) % config.validate_every == 0):
                _check_sound(loss, norm, step)
                examined = task.validate(learner.averaged())
                log.validation(step, examined)
                found = numbers(examined)
            stops = stopping()
            if chief and (last or stops or time.monotonic() - saved_at > config.checkpoint_every_s):
                _check_sound(loss, norm, step)  # a spoilt state must not replace a good one
                saved_at = time.monotonic()
                come = Progress(step + 1, before.seconds + saved_at - began, found)
                save(path, identity, come, learner.module, learner.optimizer, learner.average)
                if stops and not last:
                    log.stopped(step)
            if stops:
                break
    if distributed.is_initialized():
        distributed.barrier()
    learner.module.load_state_dict(learner.average)
    return learner.module


class _Learner(Generic[M]):
    """What a step changes: a module, its optimizer, and the running mean of its weights."""

    def __init__(
        self,
        task: Task[M],
        config: LoopConfig,
        autocast: torch.dtype | None,
        relative_rate: Callable[[str], float],
    ) -> None:
        self.task, self.config, self.autocast = task, config, autocast
        self.module = module = task.module
        self.device = next(module.parameters()).device
        self.optimizer = torch.optim.AdamW(
            _groups(module, config.weight_decay, relative_rate),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.average = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def step(self, step: int) -> tuple[Tensor, Tensor, dict[str, float]]:
        """The loss before the step, the gradient's norm, and the task's figures for the log."""
        config, autocast = self.config, self.autocast
        torch.manual_seed(step_seed(config.seed, step))
        for group in self.optimizer.param_groups:
            group["lr"] = rate_of(step, config) * group["relative_rate"]
        low = autocast or torch.bfloat16
        with torch.autocast(self.device.type, low, enabled=autocast is not None):
            loss, figures = self.task.loss(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(self.module)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        self.optimizer.step()
        self._follow(step)
        return loss, norm, figures

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Bring the mean a little nearer to the weights."""
        decay = min(self.config.average_decay, (1 + step) / (10 + step))  # the young follow quickly
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self) -> M:
        """A copy of the module with averaged weights, ready for use."""
        twin = copy.deepcopy(self.module)
        twin.load_state_dict(self.average)
        return twin.eval()


def step_seed(seed: int, step: int) -> int:
    """Another seed for every step of every run."""
    return (seed * 1_000_003 + step) % (1 << 62)


def schedule(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then half a cosine down to ``final_rate``."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * progress)) / 2


def rate_of(step: int, config: LoopConfig) -> float:
    return config.learning_rate * schedule(step, config)


def _check_sound(loss: Tensor, norm: Tensor, step: int) -> None:
    """The loss is of the weights before ``step``, the gradient went into those after it."""
    _finite(loss, "loss", step)
    _finite(norm, "gradient", step)


def _finite(found: Tensor, what: str, step: int) -> float:
    value = found.item()
    if not math.isfinite(value):
        raise InputError(
            f"the {what} became {value} at step {step}, the training has diverged: lower the "
            "learning rate and begin anew"
        )
    return value


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
