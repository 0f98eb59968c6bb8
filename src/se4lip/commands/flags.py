"""Flags from a function's signature, and one sentence where they do not fit it.

tyro reads the flags. What it says of wrong ones is a box of several lines; here it becomes a
sentence like every other (`types.InputError`). tyro promises nothing about its errors but that it
exits, so everything here also works on a box that looks otherwise: then the sentence is the box's
text on one line.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from se4lip.types import InputError

_RULE = re.compile(r"^[─━\-]{5,}$")
_EDGE = "│┃|"
_HELP = {"-h", "--help", "-H"}


def called_with(
    command: Callable[..., int | None], name: str, arguments: list[str]
) -> Callable[[], int | None]:
    """``command`` with what ``arguments`` say, ready to be called.

    Raises:
        InputError: an option is missing, unknown, or of a value that does not fit.
        SystemExit: help was asked for, and printed.
    """
    import tyro

    @functools.wraps(command)
    def keep(*positional: Any, **named: Any) -> Callable[[], int | None]:
        # So that nothing the command itself says or raises is taken for something about flags.
        return functools.partial(command, *positional, **named)

    program, said = f"se4lip {name}", io.StringIO()
    try:
        with contextlib.nullcontext() if _HELP & set(arguments) else _captured(said):
            return tyro.cli(keep, prog=program, args=arguments)  # type: ignore[return-value]
    except SystemExit as ended:
        if not ended.code:
            raise
        # A configuration's own objection to a value is a sentence already.
        own = next((one for one in _causes(ended) if isinstance(one, InputError)), None)
        if own is not None:
            raise InputError(_as_typed(str(own), arguments)) from None
        raise InputError(sentence(said.getvalue(), program, arguments)) from None


def _as_typed(objection: str, arguments: list[str]) -> str:
    """A configuration names its field; whoever typed ``--loop.learning-rate`` looks for that."""
    field, _, rest = objection.partition(" ")
    flags = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    flags = {one for one in flags if one.rpartition(".")[2].strip("-").replace("-", "_") == field}
    return f"{flags.pop()} {rest}" if len(flags) == 1 else objection


@contextlib.contextmanager
def _captured(said: io.StringIO) -> Iterator[None]:
    """Standard error goes to ``said``, in lines that are not broken anywhere."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        with contextlib.redirect_stderr(said):
            yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def sentence(box: str, program: str, arguments: list[str]) -> str:
    """What tyro's ``box`` says, in one sentence that names the option and the help."""
    parts = _parts(box)
    see = f"see {program} --help"
    if not parts:
        return f"the options do not fit: {see}"
    first = parts[0]
    plain = " ".join(line.strip() for line in first)
    if plain.startswith("Missing from"):
        return f"{program} needs {' and '.join(_missing(first[1:]))}: {see}"
    if unknown := re.match(r"Unrecognized options:\s*(.+)", plain):
        word = unknown[1].split()[0].rstrip(",")
        what = "is no option of" if word.startswith("-") else "is one argument too many for"
        return f"{word} {what} {program}: {see}"
    if lone := re.match(r"Missing value for argument '(.+?)'", plain):
        return f"{lone[1]} needs a value: {see}"
    if choice := re.match(r"invalid choice (.+) for argument '(.+?)'\. Expected (.+)", plain):
        return f"{choice[2]} is {choice[1]}, but {choice[3].rstrip('.')} is needed: {see}"
    if value := re.match(r"Error parsing (\S+): (.*)", plain):
        return _unfit(value[1], value[2], parts, arguments) + f": {see}"
    return f"{plain.rstrip('.')}: {see}"


def _parts(box: str) -> list[list[str]]:
    """The lines between a box's rules, with their indentation, without its frame and title."""
    parts: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:
        if line[:1] == "╰":
            continue
        inner = line.strip(_EDGE).rstrip()
        if _RULE.match(inner.strip()):
            parts.append([])
        elif inner:
            parts[-1].append(inner)
    return [textwrap.dedent("\n".join(part)).splitlines() for part in parts if part]


def _missing(lines: list[str]) -> list[str]:
    """``-o/--out PATH (folder of the run)`` for each; a name is indented less than its help."""
    found: list[str] = []
    least = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    for line in lines:
        text = line.strip()
        if len(line) - len(line.lstrip()) == least:
            flags = text.split(", ")
            alone = [flag.split()[0] for flag in flags[:-1]]  # -o PATH, --out PATH
            found.append("/".join([*alone, flags[-1]]))
        elif not found[-1].endswith(")"):
            told = text.removesuffix("(required)").strip().rstrip(".")
            found[-1] += f" ({told[:1].lower()}{told[1:]})" if told else ""
    return found


def _unfit(flag: str, why: str, parts: list[list[str]], arguments: list[str]) -> str:
    """``--size is 'abc', but INT is needed``, if both can be found, else tyro's own words."""
    names = flag.split("/")
    given = next((arguments[i + 1 : i + 2] for i, a in enumerate(arguments) if a in names), [])
    given = given or [a.partition("=")[2] for a in arguments if a.partition("=")[0] in names]
    invoked = next((part[1] for part in parts if part[0].startswith("Argument help")), "")
    kind = invoked.strip().rpartition(f"{names[-1]} ")[2].replace("{None}|", "")
    if given and kind.isalpha():  # lists and pairs are better told in tyro's own words
        return f"{names[-1]} is {given[0]!r}, but {kind} is needed"
    return f"{names[-1]} does not fit ({why.partition(' Got errors')[0].rstrip('.')})"
