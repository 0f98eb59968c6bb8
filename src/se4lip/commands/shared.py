"""What every command needs: flags from a signature, a progress bar, JSON on standard output."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any


def run(command: Callable[..., int | None], name: str, arguments: list[str]) -> int | None:
    """Call ``command`` with what tyro makes of ``arguments``; returns its exit code."""
    import tyro

    return tyro.cli(command, prog=f"se4lip {name}", args=arguments)


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
    """One JSON object on standard output; paths become strings."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))
