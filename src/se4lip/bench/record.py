"""What a result says of where it came from, and how it is written: a page of Markdown, its plots
and the figures as JSON, under docs/results."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from se4lip.bench.pictures import Picture
from se4lip.io.files import write_bytes, write_json
from se4lip.io.pictures import save_picture
from se4lip.train.devices import machine

_PACKAGES = ("se4lip", "torch", "numpy", "mediapipe")


def circumstances(device: Any, **more: Any) -> dict[str, Any]:
    """Machine, versions, commit and day, and whatever else decides the figures."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(device),
        "python": platform.python_version(),
        "versions": found,
        "commit": commit(),
        **more,
    }


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
    """Of the source tree this runs from, and whether it was changed since; else "unknown"."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        return f"{head}, changed since" if git("status", "--porcelain", "-uno", "--", ".") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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
