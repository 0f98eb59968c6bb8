"""The command line: one table, one sentence for each error, exit codes that mean something."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from se4lip import cli
from se4lip.commands import flags
from se4lip.commands.shared import print_json, print_table
from se4lip.types import InputError
from strict import strict_json


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


def test_a_file_to_evaluate_is_a_video(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(cli, "_load", lambda verb: lambda given: seen.append((verb, given)))
    video = tmp_path / "a.mp4"
    video.touch()
    assert cli.main(["evaluate", str(video), "--json"]) == 0
    assert seen == [(cli.VERBS["evaluate video"], [str(video), "--json"])]
    assert cli.main(["evaluate", "encodr", "grid"]) == 2
    assert capsys.readouterr().err.startswith("se4lip: evaluate what? One of: se4lip evaluate ")


def test_a_folder_to_evaluate_is_no_video(tmp_path, capsys):
    for typed in ([str(tmp_path)], ["--json=a/b"]):
        assert cli.main(["evaluate", *typed]) == 2
        assert "evaluate what? One of: " in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["gone.mp4", "folder/gone"])
def test_a_mistyped_file_to_evaluate_is_told_as_a_file(gone, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", gone]) == 2
    said = capsys.readouterr().err
    assert gone in said and "evaluate what?" not in said


@pytest.mark.parametrize("typed", ["evaluate {}", "sync {}", "prepare {} -o set"])
def test_a_name_that_no_file_can_have_is_told(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(typed.format("x" * 300).split()) == 2
    said = f"se4lip: the file name '{'x' * 40}'... is too long: check the path\n"
    assert capsys.readouterr().err == said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_half_a_command_explains_all_that_it_may_be(capsys, asked):
    assert cli.main(["train", asked]) == 0
    out, err = capsys.readouterr()
    told = [line.split("  ")[1] for line in out.splitlines() if line.startswith("  train")]
    assert told == [name for name in cli.VERBS if name.startswith("train ")]
    assert "evaluate" not in out and err == ""


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("prepare x.mp4", "se4lip prepare needs -o/--out PATH (folder of the data set)"),
        (
            "speak head",
            "se4lip speak needs SOUND (any audio or video file with speech) and -o/--out PATH (the "
            "video to write)",
        ),
        ("encode a.wav --nonsense", "--nonsense is no option of se4lip encode"),
        ("encode a.wav --ecnoder b", "--ecnoder is no option of se4lip encode"),
        ("sync a.mp4 b.mp4", "b.mp4 is one argument too many for se4lip sync"),
        ("speak a b -o c --size abc", "--size is 'abc', but INT is needed"),
        ("speak a b -o c --size=abc", "--size is 'abc', but INT is needed"),
        ("train encoder x -o", "-o/--out needs a value"),
        ("train encoder x -o y --loop.steps 1.5", "--loop.steps is '1.5', but INT is needed"),
        (
            "evaluate encoder x --split foo",
            "--split is 'foo', but one of ('all', 'train', 'validation', 'test') is needed",
        ),
        (
            "evaluate judge x --speech-s a b",
            "--speech-s does not fit (Could not find valid parse for arguments: ['a', 'b'])",
        ),
        (
            "demo --credentials a",
            "--credentials does not fit (no type matching {None}|{PATH PATH} could be instantiated "
            "from ['a'])",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_flags_that_do_not_fit_are_one_sentence(typed, said, encoding, capsys, monkeypatch):
    # tyro draws its boxes by what standard output can show.
    monkeypatch.setattr(type(sys.stdout), "encoding", encoding, raising=False)
    before = os.environ.get("COLUMNS")
    assert cli.main(typed.split()) == 2
    verb = next(name for name in cli.VERBS if typed.startswith(name))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"se4lip: {said}: see se4lip {verb} --help\n")
    assert os.environ.get("COLUMNS") == before


@pytest.mark.parametrize("typed", ["--loop.clip-norm 0", "--loop.clip-norm=0"])
def test_a_number_that_does_not_fit_is_told_with_its_flag(typed, capsys):
    assert cli.main(["train", "encoder", "x", "-o", "y", *typed.split()]) == 2
    said = "--loop.clip-norm is 0.0, but at least 1e-12 is needed: give another number"
    assert capsys.readouterr().err == f"se4lip: {said}\n"


def test_a_number_that_several_flags_may_have_is_told_by_its_name(capsys):
    both = ["--speech.clip-norm=0", "--pictures.clip-norm=0"]
    assert cli.main(["train", "avatar", "x", "-o", "y", *both]) == 2
    assert capsys.readouterr().err.startswith("se4lip: clip_norm is 0.0, but ")


def test_a_box_of_another_shape_is_still_one_line():
    assert flags.sentence("oh no\n-----\n What\n  is this?\n", "se4lip x", []) == (
        "What is this?: see se4lip x --help"
    )
    assert flags.sentence("", "se4lip x", []) == "the options do not fit: see se4lip x --help"


def test_a_fault_is_one_sentence_and_no_answer_of_a_command(monkeypatch, capsys):
    def call(arguments):
        return 1 // len(arguments)

    monkeypatch.setattr(cli, "_load", lambda verb: call)
    monkeypatch.delenv("SE4LIP_DEBUG", raising=False)
    assert cli.main(["sync"]) == 70
    said = capsys.readouterr().err
    assert said.startswith("se4lip: a fault of se4lip, not of your input: ZeroDivisionError: ")
    assert "test_cli.py, line " in said and "SE4LIP_DEBUG=1" in said
    assert said.count("\n") == 1
    monkeypatch.setenv("SE4LIP_DEBUG", "1")
    assert cli.main(["sync"]) == 70
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


def test_json_has_null_where_there_is_no_number(capsys):
    print_json({"a": float("nan"), "b": [np.float32("inf"), (1.5, None)], "c": np.int64(3)})
    printed = capsys.readouterr().out
    assert strict_json(printed) == {"a": None, "b": [None, [1.5, None]], "c": 3}


def test_json_is_json_on_a_console_that_shows_ascii_alone(capsys, monkeypatch):
    monkeypatch.setattr(type(sys.stdout), "encoding", "ascii", raising=False)
    print_json({"audio": "ü😀"})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert strict_json(printed) == {"audio": "ü😀"}


def test_tables_take_no_name_for_markup_and_are_whole_on_a_narrow_console(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("data set", "right", "questions asked of all clips")
    table.add_row("x[red]", "92.7%", "3049")
    print_table(table)
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("x[red]", "92.7%", "3049"))


def _typed(*command, stdout, **how):
    variables = os.environ | {"PYTHONUNBUFFERED": ""}
    return subprocess.run(
        [sys.executable, "-m", "se4lip", *command],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=variables,
        text=True,
        check=False,
        **how,
    )


def test_whoever_has_read_enough_ends_no_command_in_an_error():
    reading, writing = os.pipe()
    os.close(reading)
    ended = _typed("--help", stdout=writing)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_takes_nothing_is_one_sentence():
    with Path("/dev/full").open("w") as full:
        ended = _typed("--version", stdout=full)
    assert ended.returncode == 2
    assert ended.stderr == (
        "se4lip: cannot write standard output: no space left on device: send it to another place\n"
    )


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


def test_what_is_killed_in_order_leaves_nothing_half_written(tmp_path):
    code = """
import os, signal, sys
from se4lip import cli
from se4lip.io.files import atomic

def half(arguments):
    with atomic(sys.argv[1]) as part:
        part.write_bytes(b"half")
        print(os.listdir(os.path.dirname(sys.argv[1])))
        os.kill(os.getpid(), signal.SIGTERM)

cli._load = lambda verb: half
sys.exit(cli.main(["prepare"]))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ".part.npy" in done.stdout
    assert (done.returncode, done.stderr) == (
        *(143, "se4lip: terminated, nothing is left half-written\n"),
    )
    assert list(tmp_path.iterdir()) == []


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
