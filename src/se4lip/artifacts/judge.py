"""The second sync judge as a file, with the examination it has passed."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from pathlib import Path

from se4lip.io.config import from_plain, to_plain
from se4lip.io.weights import Header, fitting, load_weights, read_header, save_weights
from se4lip.metrics.judge import Gate, Judge, JudgeConfig

JUDGE_KIND = "judge"


def shipped_judge() -> Path:
    """The weights that come with the package (docs/cards/judge.md)."""
    return Path(str(importlib.resources.files("se4lip") / "weights" / "judge.safetensors"))


@functools.lru_cache(maxsize=2)
def load_judge(path: Path | None = None) -> Judge:
    """The judge of a weights file, the shipped one by default, ready for use.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    file = path or shipped_judge()
    tensors, header = load_weights(file, kind=JUDGE_KIND)
    with fitting(file, tensors):
        judge = Judge(from_plain(JudgeConfig, header.config))
        judge.load_state_dict({name: value.float() for name, value in tensors.items()})
    return judge.eval().requires_grad_(False)


@functools.lru_cache(maxsize=2)
def judge_gate(path: Path | None = None) -> Gate:
    """What the judge of a weights file has shown; a gate that nothing passes if it was not asked.

    Raises:
        InputError: missing or damaged.
    """
    found = judge_header(path).metadata.get("gate")
    return Gate() if found is None else from_plain(Gate, found)


def judge_header(path: Path | None = None) -> Header:
    return read_header(path or shipped_judge())


def store_gate(path: Path | None, gate: Gate, details: Mapping[str, object]) -> None:
    """Write the outcome of an examination into a weights file; its numbers stay as they are."""
    file = path or shipped_judge()
    tensors, header = load_weights(file, kind=JUDGE_KIND)
    metadata = header.metadata | {"gate": to_plain(gate), "exam": dict(details)}
    save_weights(file, tensors, kind=JUDGE_KIND, config=header.config, metadata=metadata)
    judge_gate.cache_clear()


def save_judge(path: Path, judge: Judge, metadata: Mapping[str, object]) -> None:
    """Write ``judge`` in half precision: its rounding is far below what training leaves open."""
    tensors = {name: value.half() for name, value in judge.state_dict().items()}
    save_weights(path, tensors, kind=JUDGE_KIND, config=to_plain(judge.config), metadata=metadata)
