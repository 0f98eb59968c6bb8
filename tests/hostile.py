"""How a command that is given something wrong is asked: what all tests of bad input share."""

from __future__ import annotations

from pathlib import Path

from se4lip import cli


def run(capsys, *arguments) -> tuple[int, str]:
    """The exit code, and what was said on standard error."""
    code = cli.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


def refused(capsys, out: Path, *arguments) -> str:
    """The one sentence a command says; it must leave nothing in ``out``.

    `prepare` names each recording that it leaves out before it says that none is left.
    """
    code, said = run(capsys, *arguments)
    assert code == 2, said
    if arguments[0] == "prepare":
        lines = said.splitlines(keepends=True)
        said = "".join(line for line in lines if not line.startswith("skipped "))
    assert said.startswith("se4lip: ") and said.count("\n") == 1, said
    assert list(out.rglob("*")) == []
    return said.removeprefix("se4lip: ").strip()
