"""What a result says of where it came from, and how it is written: a page of Markdown, its plots
and the figures as JSON, under docs/results."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from se4lip.bench.pictures import Picture
from se4lip.io.files import write_bytes, write_json
from se4lip.io.pictures import save_picture
from se4lip.train.devices import machine

_PACKAGES = ("se4lip", "torch", "numpy", "mediapipe")
_OPTIONAL = ("numba", "onnxruntime", "ctranslate2", "hama", "transformers")


def circumstances(device: Any, **more: Any) -> dict[str, Any]:
    """Machine, versions, commit and day, and whatever else decides the figures."""
    made = provenance()
    return {
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{made['processor']}, {machine(device)}",
        "python": made["python"],
        "versions": made["versions"],
        "commit": made["commit"],
        **more,
    }


@functools.cache
def provenance() -> dict[str, Any]:
    """What figures of this process come from: commit, processor, Python, versions.

    Read once: what is edited after the code was imported does not run in this process.
    """
    found = {}
    for package in (*_PACKAGES, *_OPTIONAL):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package in _PACKAGES:
                found[package] = "not installed"
    return {
        "commit": commit(),
        "processor": processor(),
        "python": platform.python_version(),
        "versions": found,
    }


def processor() -> str:
    """The processor's model: `platform.processor` knows only its architecture on Linux."""
    told = _said("grep", "-m1", "^model name", "/proc/cpuinfo") or ""
    return told.partition(":")[2].strip() or platform.processor() or platform.machine()


def options(config: Any) -> str:
    """The options that differ from the defaults, as they are typed."""
    plain = type(config)()
    changed = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(plain, field.name):
            words = value if isinstance(value, tuple) else (value,)
            name = field.name.replace("_", "-")
            changed.append(" ".join([f"--{name}", *map(str, words)]))
    return f"`{' '.join(changed)}`" if changed else "the defaults"


def commit() -> str:
    """Of the source tree this runs from, and whether any of its files was changed since or is not
    in it; else "unknown"."""
    package = Path(__file__).parents[1]
    head = _said("git", "-C", str(package), "rev-parse", "--short", "HEAD")
    changed = _said("git", "-C", str(package), "status", "--porcelain", "--", ".")
    if head is None or changed is None:
        return "unknown"
    return f"{head}, changed since" if changed else head


def _said(*command: str) -> str | None:
    """What a command prints; None where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of Markdown; floats with three digits, NaN and None as a dash."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def write_result(
    folder: Path,
    name: str,
    text: str,
    figures: dict[str, Any],
    pictures: dict[str, Picture],
) -> Path:
    """``NAME.md`` with its pictures ``NAME-*.png`` and ``NAME.json``; returns the page."""
    for part, picture in pictures.items():
        save_picture(folder / f"{name}-{part}.png", picture)
    write_json(folder / f"{name}.json", figures)
    page = folder / f"{name}.md"
    write_bytes(page, text.encode())
    return page


def known(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as JSON values: None for those that are not known."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: plain(value) for key, value in figures.items()}


def as_list(circumstances: dict[str, Any]) -> str:
    """One line of Markdown for each entry."""
    lines = []
    for key, value in circumstances.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {inner}" for name, inner in value.items())
        lines.append(f"- {key.replace('_', ' ')}: {value}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
