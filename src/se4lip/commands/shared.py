"""What every command needs: to be run, a progress bar, JSON on standard output."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from se4lip.commands.flags import called_with

if TYPE_CHECKING:
    from rich.table import Table

_LEAST_WIDTH = 120


def run(command: Callable[..., int | None], name: str, arguments: list[str]) -> int | None:
    """Call ``command`` with what its flags in ``arguments`` say; returns its exit code."""
    return called_with(command, name, arguments)()


@contextlib.contextmanager
def progress(title: str) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """A bar on standard error while the block runs: say a line above it, set the share done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeLeftColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=1.0)
        yield (
            lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
            lambda share: bar.update(task, completed=share),
        )


def print_json(value: Any) -> None:
    """One JSON object on standard output. Paths become strings, what is no number becomes null."""
    # What a console cannot show would be escaped in Python's way, which is none of JSON's.
    narrow = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    print(json.dumps(_known(value), indent=1, ensure_ascii=narrow, allow_nan=False, default=str))


def print_table(table: "Table") -> None:
    """Whole, whatever the terminal's width: a figure broken over three lines is hard to read.
    Names of files are not taken for markup."""
    from rich.console import Console

    console = Console(markup=False)
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(table)


def _known(value: Any) -> Any:
    """``value`` with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
