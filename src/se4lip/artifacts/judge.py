"""The second sync judge as a file, with the examination it has passed."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path

from se4lip.artifacts.networks import file_of, load_network, remembered, save_network
from se4lip.io.config import from_plain, to_plain
from se4lip.io.weights import Header, fitting, load_weights, read_header, save_weights
from se4lip.metrics.judge import Gate, Judge, JudgeConfig

JUDGE_KIND = "judge"


def shipped_judge() -> Path:
    """The weights that come with the package (docs/cards/judge.md)."""
    return Path(str(importlib.resources.files("se4lip") / "weights" / "judge.safetensors"))


@remembered(shipped_judge)
def load_judge(file: Path) -> Judge:
    """The judge of a weights file, the shipped one by default, ready for use.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    return load_network(file, JUDGE_KIND, Judge, JudgeConfig)


@remembered(shipped_judge)
def judge_gate(file: Path) -> Gate:
    """What the judge of a weights file has shown; a gate that nothing passes if it was not asked.

    Raises:
        InputError: as ``load_judge``.
    """
    found = judge_header(file).metadata.get("gate")
    with fitting(file, {}):
        return Gate() if found is None else from_plain(Gate, found)


def judge_header(path: Path | None = None) -> Header:
    """Raises: InputError as ``load_judge``."""
    return read_header(file_of(path, shipped_judge()), kind=JUDGE_KIND)


def store_gate(path: Path | None, gate: Gate, details: Mapping[str, object]) -> None:
    """Write the outcome of an examination into a weights file; its numbers stay as they are."""
    file = file_of(path, shipped_judge())
    tensors, header = load_weights(file, kind=JUDGE_KIND)
    metadata = header.metadata | {"gate": to_plain(gate), "exam": dict(details)}
    save_weights(file, tensors, kind=JUDGE_KIND, config=header.config, metadata=metadata)


def save_judge(path: Path, judge: Judge, metadata: Mapping[str, object]) -> None:
    save_network(path, judge, JUDGE_KIND, metadata)
