"""The command line: one table of verbs, each of which imports what it needs when it is called.

A verb is a function of the remaining arguments. Inside, it imports, defines a ``command`` whose
signature tyro turns into flags, and hands it to ``_run``. (No ``from __future__ import
annotations`` here: the annotations of such inner functions must be the types themselves.)
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from se4lip.types import InputError


@dataclass(frozen=True)
class Verb:
    summary: str
    call: Callable[[list[str]], None]


def prepare(arguments: list[str]) -> None:
    import tyro

    from se4lip.prepare import PrepareConfig

    def command(
        sources: Annotated[tuple[Path, ...], tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        workers: int = 0,
        face_landmarker: Path | None = None,
        json: bool = False,
        config: Annotated[PrepareConfig, tyro.conf.arg(name="")] = PrepareConfig(),  # noqa: B008
    ) -> None:
        """Turn recordings into a data set: tracked faces, stabilised lips, sound.

        Clips that cannot be used are named with the reason and skipped. A run that was
        interrupted goes on where it stopped.

        Args:
            sources: Videos, or folders of videos.
            out: Folder of the data set.
            workers: Processes that work in parallel; 0 is one for each processor core.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the summary as JSON on standard output.
        """
        import functools

        from se4lip.io.dataset import SourceEntry
        from se4lip.prepare import mediapipe_tracker
        from se4lip.prepare import prepare as run

        def tell(entry: SourceEntry) -> None:
            for skip in entry.skipped:
                say(f"skipped {skip.name}: {skip.reason}")

        with _progress("preparing") as (say, advance):
            done = run(
                sources,
                out,
                config,
                tracker=functools.partial(mediapipe_tracker, face_landmarker),
                workers=workers or os.cpu_count() or 1,
                on_source=tell,
                on_progress=advance,
            )
        if json:
            _print_json({"dataset": out, **asdict(done)})
            return
        print(
            f"{done.clips} clips, {done.frames / 25 / 60:.1f} minutes in {out} "
            f"({len(done.skipped)} skipped, {done.filled_frames} frames filled in)\n"
            f"look at {done.contact_sheet}"
        )

    _run(command, "prepare", arguments)


# What `se4lip` can do, in the order of its help. A name may be two words: "train encoder".
VERBS: dict[str, Verb] = {
    "prepare": Verb("recordings -> data set of lips and speech", prepare),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 wrong input, 130 interrupted."""
    # Spinning threads of torch and numba cost several times the work on a shared machine; the
    # libraries read this when they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except InputError as error:
        print(f"se4lip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("se4lip: interrupted, nothing is left half-written", file=sys.stderr)
        return 130


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in {"-h", "--help"}:
        print(_help(), file=sys.stdout if given else sys.stderr)
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"se4lip {version('se4lip')}")
        return 0
    for words in (2, 1):
        verb = VERBS.get(" ".join(given[:words]))
        if verb is not None:
            try:
                verb.call(given[words:])
            except SystemExit as ended:  # tyro, after --help or a wrong flag
                return ended.code if isinstance(ended.code, int) else 2
            return 0
    longer = [name for name in VERBS if name.startswith(f"{given[0]} ")]
    if longer:
        raise InputError(f"{given[0]} what? One of: {', '.join(f'se4lip {n}' for n in longer)}")
    raise InputError(f"{given[0]!r} is no command; one of {', '.join(VERBS)} is needed")


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: se4lip COMMAND [OPTIONS]        (se4lip COMMAND --help explains one)",
            "",
            *lines,
            "",
            "  --version, --help",
        ]
    )


def _run(command: Callable[..., None], name: str, arguments: list[str]) -> None:
    """Call ``command`` with what tyro makes of ``arguments``."""
    import tyro

    tyro.cli(command, prog=f"se4lip {name}", args=arguments)


@contextlib.contextmanager
def _progress(title: str) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
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


def _print_json(value: Any) -> None:
    """One JSON object on standard output; paths become strings."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))
