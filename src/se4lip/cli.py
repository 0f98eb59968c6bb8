"""The command line: one table of verbs, each of which is imported when it is called."""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from se4lip.types import InputError

FAULT = 70  # EX_SOFTWARE of sysexits.h


@dataclass(frozen=True)
class Verb:
    summary: str
    where: str  # module of se4lip.commands and the function in it


# What `se4lip` can do, in the order of its help. A name may be two words: "train encoder".
VERBS: dict[str, Verb] = {
    "demo": Verb("a head says a sentence: see whether it works", "demo:demo"),
    "prepare": Verb("recordings -> data set of lips and speech", "prepare:prepare"),
    "train encoder": Verb("data set -> speech and lip encoder", "encoder:train_encoder"),
    "train avatar": Verb("data set of one person -> talking head", "avatar:train_avatar"),
    "train judge": Verb("data set -> second sync judge", "judge:train_judge"),
    "encode": Verb("speech -> lip features", "encode:encode"),
    "speak": Verb("an avatar says what a recording says", "speak:speak"),
    "serve": Verb("a page on which heads answer while you speak", "serve:serve"),
    "sync": Verb("video -> how far sound and lips are apart", "sync:sync"),
    "evaluate video": Verb("how good a talking head is", "evaluate:evaluate_video"),
    "evaluate encoder": Verb("how often the true offset is found", "encoder:evaluate_encoder"),
    "evaluate avatar": Verb("rendered beside real", "evaluate_avatar:evaluate_avatar"),
    "evaluate languages": Verb("closures and roundings by phones", "lips:evaluate_languages"),
    "evaluate silence": Verb("does the mouth rest while nobody speaks", "lips:evaluate_silence"),
    "evaluate judge": Verb("how much speech the judge needs", "judge:evaluate_judge"),
    "bench features": Verb("which features make the better head", "bench:features"),
    "bench ambiguity": Verb("do features tell what lips tell", "bench:ambiguity"),
    "bench ablation": Verb("which encoder hears lips best", "bench:ablation"),
    "export": Verb("networks -> ONNX files", "export:export"),
    "inspect": Verb("video -> what it says of its making", "inspect:inspect"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 done, 2 wrong input, 70 a fault of se4lip itself, 130 interrupted, 143 terminated (`serve`
    ends with 0 on both). 1 (`sync`, `inspect`) and 3 (these, `evaluate video`, `evaluate avatar`)
    are answers: what was found, or that nothing could be. Each failure is one sentence on standard
    error; with SE4LIP_DEBUG set, a fault comes with its traceback.
    """
    # Spinning threads of torch and numba cost several times the work on a shared machine; the
    # libraries read this when they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are no UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ended_in_order():
            code = _dispatch(given)
            _flush()
            return code
    except InputError as error:
        print(f"se4lip: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _Terminated:
        print("se4lip: terminated, nothing is left half-written", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("se4lip: interrupted, nothing is left half-written", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            # Whoever asks first whether a path is there meets this; there is nothing else to say.
            name = f"{str(error.filename)[:40]!r}..."
            print(f"se4lip: the file name {name} is too long: check the path", file=sys.stderr)
            return 2
        return _fault(error)


def _flush() -> None:
    """Or what is wrong with the output shows when nobody is left to tell it.

    Raises: InputError when it takes no more, BrokenPipeError when nobody reads it.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        why = os.strerror(error.errno or 0).lower()
        raise InputError(
            f"cannot write standard output: {why}: send it to another place"
        ) from error


class _Terminated(KeyboardInterrupt):
    """Somebody has sent SIGTERM: `kill`, a service manager, a queue whose time is over."""


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM unwinds the program as Control-C does, instead of ending it where it stands."""

    def terminate(*_: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread, whom alone signals reach
        yield
        return
    try:
        yield
    finally:
        if before is not None:  # set by nobody that Python knows of
            signal.signal(signal.SIGTERM, before)


def _fault(error: Exception) -> int:
    """What nobody foresaw: not 1, which a script would read as an answer of `sync`."""
    if os.environ.get("SE4LIP_DEBUG"):
        traceback.print_exception(error)
    *_, last = traceback.extract_tb(error.__traceback__)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    print(
        f"se4lip: a fault of se4lip, not of your input: {what} ({Path(last.filename).name}, line "
        f"{last.lineno}): set SE4LIP_DEBUG=1 to see where, and please report it",
        file=sys.stderr,
    )
    return FAULT


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in {"-h", "--help"}:
        print(_help(VERBS), file=sys.stdout if given else sys.stderr)
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"se4lip {version('se4lip')}")
        return 0
    for words in (2, 1):
        verb = VERBS.get(" ".join(given[:words]))
        if verb is not None:
            try:
                return _load(verb)(given[words:]) or 0
            except SystemExit as ended:  # tyro, after --help
                return ended.code if isinstance(ended.code, int) else 2
    if given[0] == "evaluate" and len(given) > 1 and _is_file_name(given[1]):
        return _dispatch(["evaluate", "video", *given[1:]])  # what else is there to ask of a file
    longer = [name for name in VERBS if name.startswith(f"{given[0]} ")]
    if longer and given[1:] in (["-h"], ["--help"]):
        print(_help(longer))
        return 0
    if longer:
        raise InputError(f"{given[0]} what? One of: {', '.join(f'se4lip {n}' for n in longer)}")
    raise InputError(f"{given[0]!r} is no command; one of {', '.join(VERBS)} is needed")


def _is_file_name(word: str) -> bool:
    """Of a file that is there, or that was meant to be."""
    if word.startswith("-") or Path(word).is_dir():
        return False
    return Path(word).is_file() or Path(word).suffix != "" or os.sep in word


def _load(verb: Verb) -> Callable[[list[str]], int | None]:
    module, _, function = verb.where.partition(":")
    return getattr(importlib.import_module(f"se4lip.commands.{module}"), function)


def _help(names: Collection[str]) -> str:
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {VERBS[name].summary}" for name in names]
    return "\n".join(
        [
            "usage: se4lip COMMAND [OPTIONS]        (se4lip COMMAND --help explains one)",
            "",
            *lines,
            "",
            "  --version, --help",
        ]
    )
