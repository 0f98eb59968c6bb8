"""The command line: one table, one sentence for each error, exit codes that mean something."""

import subprocess
import sys

import pytest

from se4lip import cli
from se4lip.types import InputError


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, verb in cli.VERBS.items():
        assert f"  {name} " in printed
        assert verb.summary in printed


def test_without_a_command_it_explains_itself_on_standard_error(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: se4lip COMMAND")


def test_every_command_can_be_loaded_and_explains_itself(capsys):
    for name in cli.VERBS:
        assert cli.main([*name.split(), "--help"]) == 0
        assert f"usage: se4lip {name}" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys):
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"se4lip {version('se4lip')}\n"


def test_an_unknown_command_is_one_sentence(capsys):
    assert cli.main(["dance"]) == 2
    names = ", ".join(cli.VERBS)
    assert capsys.readouterr().err == (f"se4lip: 'dance' is no command; one of {names} is needed\n")


def test_half_a_command_is_told_its_other_half(capsys):
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err.startswith("se4lip: train what? One of: se4lip train ")


def test_a_missing_option_exits_with_two(capsys):
    assert cli.main(["prepare"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--out" in printed.err


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        (InputError("this came, that was needed: do so"), 2, "this came, that was needed: do so"),
        (KeyboardInterrupt(), 130, "interrupted, nothing is left half-written"),
    ],
)
def test_errors_become_a_sentence_and_an_exit_code(trouble, code, said, monkeypatch, capsys):
    def call(arguments):
        raise trouble

    monkeypatch.setattr(cli, "_load", lambda verb: call)
    assert cli.main(["prepare"]) == code
    assert capsys.readouterr().err == f"se4lip: {said}\n"


def test_a_command_may_choose_its_exit_code(monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda verb: lambda arguments: 3 if arguments else None)
    assert cli.main(["prepare", "x"]) == 3
    assert cli.main(["prepare"]) == 0


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "se4lip", "prepare", "nowhere.mp4", "-o", "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "se4lip: cannot read video nowhere.mp4: no such file or directory: check the path\n"
    )
