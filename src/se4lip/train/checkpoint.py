"""What a training run leaves to go on from: weights, their running mean, the optimizer, and how far
it has come."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from se4lip.io.weights import load_weights, read_header, save_weights
from se4lip.types import InputError

CHECKPOINT = "checkpoint"

_SAID = {"clips": "clips or stored offsets", "takes": "--split", "seen": "--seen"}
_NO_OPTION = "no option"  # of another version of se4lip


@dataclass(frozen=True)
class Progress:
    """``seconds`` are those of all its steps, over every interruption; ``validation`` is what was
    found last, None where that was no number."""

    steps_done: int = 0
    seconds: float = 0.0
    validation: dict[str, float | None] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """JSON values, as ``--json`` of the trainings shows them."""
        return {
            "steps": self.steps_done,
            "seconds": round(self.seconds, 1),
            "validation": self.validation,
        }


def checkpoint_file(folder: Path) -> Path:
    return folder / f"{CHECKPOINT}.safetensors"


def progress_of(folder: Path) -> Progress:
    """How far the run in ``folder`` has come.

    Raises:
        InputError: there is no checkpoint, or it cannot be read.
    """
    return Progress(**read_header(checkpoint_file(folder), CHECKPOINT).metadata)


def numbers(figures: dict[str, float]) -> dict[str, float | None]:
    """``figures`` with None for what is no number, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def save(
    path: Path,
    identity: dict[str, Any],
    progress: Progress,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> None:
    """Write it all to ``path``, whole or not at all."""
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(v) for name, v in state.items()}
    save_weights(path, tensors, kind=CHECKPOINT, config=identity, metadata=asdict(progress))


def resume(
    path: Path,
    identity: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> Progress:
    """Bring module, optimizer and mean to where the run that wrote ``path`` was.

    Raises:
        InputError: the file cannot be read, or the run was another than ``identity``.
    """
    tensors, header = load_weights(path, kind=CHECKPOINT)
    # What an older se4lip did not write down cannot be compared.
    _check_same(path, header.config, {name: identity.get(name) for name in header.config})
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    _check_fit(path, module, parts["module"])
    module.load_state_dict(parts["module"])
    for name, value in parts["average"].items():
        average[name].copy_(value)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, _, rest = name.partition(".")
        state.setdefault(int(index), {})[rest] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    return Progress(**header.metadata)


def check_begun(folder: Path, known: dict[str, Any]) -> None:
    """Whether a run in ``folder``, if there is one, is as far as is ``known`` the one that is asked
    for: its options are, before minutes of work for data.

    Raises:
        InputError: it is another, or cannot be read.
    """
    path = checkpoint_file(folder)
    if path.exists():
        found = read_header(path, CHECKPOINT).config
        known = json.loads(json.dumps(known))  # as it is written
        _check_same(path, found, {name: known[name] for name in known.keys() & found.keys()})


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = {name: found[name] for name in wanted if found[name] != wanted[name]}
    if different:
        raise InputError(
            f"{path} is of a run with other {_told(different, wanted)}: give the same options "
            "and data to go on with it, or another output folder to start anew"
        )


def _told(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs. Options of a recipe are told as they are typed, with what they were."""
    options = list(_options(before.get("recipe"), now.get("recipe")))
    parts = {"recipe", "loop"} if options else set()  # the recipe has the loop as well
    return ", ".join([*(_SAID.get(k, k) for k in sorted(before) if k not in parts), *options])


def _options(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            inner = f"{name}.{key}" if name else key
            yield from _options(before.get(key, _NO_OPTION), now.get(key, _NO_OPTION), inner)
    elif before != now and name:
        yield f"--{name.replace('_', '-')} ({_typed(before)}, now {_typed(now)})"


def _typed(value: Any) -> str:
    if isinstance(value, dict):
        return "others"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _check_fit(path: Path, module: nn.Module, found: dict[str, Tensor]) -> None:
    """The size of what is learned may follow from the data: a head has as many Gaussians as that
    takes, whatever the options are."""
    own = {name: value.shape for name, value in module.state_dict().items()}
    if own != {name: value.shape for name, value in found.items()}:
        raise InputError(
            f"{path} is of a run with other data, its weights are of another size: give the same "
            "data to go on with it, or another output folder to start anew"
        )
