"""What the documents tell a reader to type or to look at is there."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from se4lip import cli

ROOT = Path(__file__).parents[1]
# Results and the log tell what was typed on a day that is past; so does a card's recipe, but it is
# meant to be typed again.
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/cards").glob("*.md")]
DOCUMENTS = sorted(path for path in DOCUMENTS if path.name != "log.md")
FLAG = re.compile(r"--[a-z][\w.-]*")


def typed(text: str) -> list[str]:
    """The command lines of a document: in fences, where a line may go on, and between backticks."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for fence in fences for line in re.sub(r"\\\n", " ", fence).splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [line.partition(" #")[0].strip().removeprefix("$ ") for line in lines]


def verb_of(line: str) -> str | None:
    words = line.split()
    if words[:1] != ["se4lip"] or len(words) < 2:
        return None
    for count in (2, 1):
        if " ".join(words[1 : 1 + count]) in cli.VERBS:
            return " ".join(words[1 : 1 + count])
    return words[1]


@cache
def flags_of_verb(verb: str) -> frozenset[str]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert cli.main([*verb.split(), "--help"]) == 0
    return frozenset(FLAG.findall(said.getvalue()))


def flags_of_script(script: Path) -> frozenset[str]:
    """As they stand in its source: some scripts need packages that are not installed."""
    return frozenset(re.findall(r'"(--[a-z][\w-]*)"', script.read_text(encoding="utf-8")))


def unknown(line: str) -> set[str]:
    """Flags of a command line that its command does not have; the command itself if it is none."""
    flags = {flag.rstrip(".-") for flag in FLAG.findall(line)}
    verb = verb_of(line)
    if verb is not None:
        if verb not in cli.VERBS:
            # `se4lip evaluate FILE` is `evaluate video`; a verb alone stands for its family.
            family = [name for name in cli.VERBS if name.startswith(f"{verb} ")]
            second = next(iter(line.split()[2:]), "")
            if not family or (second and not second.startswith("-") and "." not in second):
                return {f"{verb} {second}".strip()}
            verb = "evaluate video" if verb == "evaluate" else family[0]
        return flags - flags_of_verb(verb) - {"--help", "--version"}
    script = re.match(r"(?:\S*python3? )?((?:examples|benchmarks)/[\w/]+\.py)", line)
    if script is None:
        return set()
    if not (ROOT / script[1]).is_file():
        return {script[1]}
    return flags - flags_of_script(ROOT / script[1]) - {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_what_a_document_types_is_understood(document):
    wrong = {line: unknown(line) for line in typed(document.read_text(encoding="utf-8"))}
    assert {line: flags for line, flags in wrong.items() if flags} == {}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_what_a_document_points_to_is_there(document):
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
    tests = re.findall(r"`?(?:tests/)?(test_\w+\.py)", text)
    assert [name for name in tests if not (ROOT / "tests" / name).is_file()] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("se4lip speak grid-s1 talk.wav -o out.mp4 --size 512", set()),
        ("se4lip evaluate out.mp4 --reference real.mp4", set()),
        ("se4lip speak grid-s1 talk.wav --sice 512", {"--sice"}),
        ("se4lip spaek grid-s1 talk.wav", {"spaek grid-s1"}),
        ("se4lip train avatra me", {"train avatra"}),
        ("se4lip train", set()),
        ("tts/bin/python examples/made_music.py --piece 240", {"--piece"}),
        ("examples/made_music.py --pieces 240", set()),
        ("python examples/made_music.py -o music --pieces 240", set()),
        ("python examples/made_music.py --piece 240", {"--piece"}),
        ("python examples/nothing.py", {"examples/nothing.py"}),
        ("pip install --anything", set()),
    ],
)
def test_what_is_not_there_is_seen(line, wrong):
    assert unknown(line) == wrong


def test_commands_are_found_wherever_they_stand():
    text = "Type `se4lip sync a.mp4`:\n```\nse4lip prepare a \\\n   -o b   # faces\n```\n"
    assert [line.split() for line in typed(text)] == [
        ["se4lip", "prepare", "a", "-o", "b"],
        ["se4lip", "sync", "a.mp4"],
    ]
    assert sum(verb_of(line) is not None for line in typed((ROOT / "README.md").read_text())) > 20


def test_the_readmes_python_runs_and_its_comments_hold():
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    encoding, _, files = code.partition("\n\nprint(se4lip.sync(")
    names: dict = {}
    exec(encoding, names)
    assert names["features"].shape == (25, 512)
    ready = names["ready"]
    assert ready.shape[1] == 512 and len(ready) > 0
    np.testing.assert_allclose(ready, names["features"][: len(ready)], atol=1e-4)
    for called in re.findall(r"se4lip\.(\w+)\(", "se4lip.sync(" + files):
        assert called in names["se4lip"].__all__
