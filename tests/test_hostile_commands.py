"""Every other command with what it cannot use: `test_hostile` has those that listen or encode.

One sentence, exit code 2, and nothing left. Nothing here trains, draws or looks for faces: whatever
is wrong is found before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import puppet
from hostile import refused
from recordings import flash, record, tone, wav
from se4lip import cli
from se4lip.artifacts.avatar import SHIPPED
from se4lip.artifacts.encoder import save_encoder
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoderConfig

SECOND = [t / 25 for t in range(25)]
Given = tuple[object, ...]


class Blind:
    """A tracker that sees no face: what must be refused is refused without looking."""

    name = "blind"

    def track(self, rgb):
        return []


@pytest.fixture(autouse=True)
def _no_mediapipe(monkeypatch, tmp_path):
    for command in ("evaluate_avatar", "bench", "evaluate", "lips", "prepare", "sync"):
        monkeypatch.setattr(
            f"se4lip.commands.{command}.mediapipe_tracker", lambda model=None: Blind()
        )
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What is good, and beside it what is not."""
    folder = tmp_path_factory.mktemp("hostile")
    sound = tone(1.5, 16_000)
    wav(folder / "good.wav", (sound * 32767).astype("int16"), 16_000)
    record(folder / "good.mkv", flash(SECOND, 0.5), SECOND, sound, 16_000)
    record(folder / "good.mp4", flash(SECOND, 0.5), SECOND, sound, 16_000)
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:1500])
    for name in ("empty.mp4", "empty.wav", "empty.safetensors", "empty.phones"):
        (folder / name).touch()
    for name in ("text.mp4", "text.wav", "text.safetensors", "text.phones"):
        (folder / name).write_text("this is something else\n" * 100)
    (folder / "nothing").mkdir()
    config = SE4LipConfig(
        speech=SpeechEncoderConfig(projection=16, hidden=16),
        lips=LipEncoderConfig(channels=(8, 8, 8, 8)),
    )
    torch.manual_seed(0)
    save_encoder(folder / "small.safetensors", SE4Lip(config), {"name": "small"})
    content = (folder / "small.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    puppet.make_dataset(folder / "puppet", recordings=1, frames=50)
    shutil.copytree(folder / "puppet" / "dataset", folder / "half")
    index = folder / "half" / "dataset.json"
    index.write_text(index.read_text()[:100])
    return folder


# --- data sets -----------------------------------------------------------------------------------

DATASETS = {
    "missing": "there is no data set at {}: ",
    "nothing": "",
    "half": "data set {} is damaged",
    "good.wav": "",
}
TRAINERS: dict[str, Callable[[Path, Path, Path], Given]] = {
    "train encoder": lambda p, d, out: ("train", "encoder", d, "-o", out / "x"),
    "train encoder, validation": lambda p, d, out: (
        *("train", "encoder", p / "puppet" / "dataset", "--split", "all"),
        *("-o", out / "x", "--validation", d),
    ),
    "train judge": lambda p, d, out: ("train", "judge", d, "-o", out / "x"),
    "train judge, validation": lambda p, d, out: (
        *("train", "judge", p / "puppet" / "dataset", "--split", "all"),
        *("-o", out / "x", "--validation", d),
    ),
    "train avatar": lambda p, d, out: ("train", "avatar", d, "-o", out / "x"),
    "train avatar, nerf": lambda p, d, out: (
        *("train", "avatar", d, "-o", out / "x", "--renderer", "nerf"),
    ),
    "train avatar, seen": lambda p, d, out: (
        *("train", "avatar", d, "-o", out / "x", "--seen", SHIPPED),
    ),
    "evaluate encoder": lambda p, d, out: ("evaluate", "encoder", d, "--matrix", out / "x.png"),
    "evaluate judge": lambda p, d, out: ("evaluate", "judge", d),
    "evaluate avatar": lambda p, d, out: (
        *("evaluate", "avatar", SHIPPED, d, "--sheet", out / "x.png", "--video", out / "x.mp4"),
    ),
    "bench features": lambda p, d, out: (
        *("bench", "features", d, "--heads", SHIPPED, "--work", out / "w", "--results", out / "r"),
    ),
    "bench ambiguity": lambda p, d, out: (
        *("bench", "ambiguity", d, "--phones", p, "--work", out / "w", "--results", out / "r"),
    ),
    "bench ablation": lambda p, d, out: (
        *("bench", "ablation", d, "--work", out / "w", "--results", out / "r"),
    ),
    "export": lambda p, d, out: ("export", "-o", out / "x", "--int8", "--dataset", d),
}


@pytest.mark.parametrize("command", TRAINERS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_data_sets(dataset, command, place, tmp_path, capsys):
    given = place / dataset
    said = refused(capsys, tmp_path, *TRAINERS[command](place, given, tmp_path))
    assert str(given) in said


@pytest.mark.parametrize("what", ["encoder", "judge"])
def test_no_data_set_at_all(what, tmp_path, capsys):
    for command in (("train", what, "-o", tmp_path / "x"), ("evaluate", what)):
        said = refused(capsys, tmp_path, *command)
        assert said == "no data set was named: give folders that se4lip prepare wrote"


# --- videos and sounds ---------------------------------------------------------------------------

VIDEOS = ["missing.mp4", "empty.mp4", "text.mp4", "cut.mp4", "nothing", "good.wav"]
WATCHERS: dict[str, Callable[[Path, Path, Path], Given]] = {
    "prepare": lambda p, v, out: ("prepare", v, "-o", out / "x"),
    "sync": lambda p, v, out: ("sync", v, "-o", out / "x.png"),
    "evaluate video": lambda p, v, out: ("evaluate", "video", v, "--sheet", out / "x.png"),
    "evaluate video, reference": lambda p, v, out: (
        *("evaluate", "video", p / "good.mp4", "--reference", v, "--sheet", out / "x.png"),
    ),
    "inspect": lambda p, v, out: ("inspect", v),
}


@pytest.mark.parametrize("command", WATCHERS)
@pytest.mark.parametrize("video", VIDEOS)
def test_videos(video, command, place, tmp_path, capsys):
    if (command, video) == ("inspect", "good.wav"):
        pytest.skip("any media file may be asked what it says of its making")
    given = place / video
    said = refused(capsys, tmp_path, *WATCHERS[command](place, given, tmp_path))
    assert str(given) in said


@pytest.mark.parametrize("command", ["sync", "evaluate video"])
def test_a_wrong_video_is_told_before_a_missing_model(
    command, place, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        f"se4lip.commands.{command.split()[0]}.mediapipe_tracker",
        lambda model=None: pytest.fail("a model was looked for"),
    )
    given = place / "missing.mp4"
    assert str(given) in refused(capsys, tmp_path, *WATCHERS[command](place, given, tmp_path))


SOUNDS = ["missing.wav", "empty.wav", "text.wav", "nothing"]
LISTENERS: dict[str, Callable[[Path, Path, Path], Given]] = {
    "evaluate video, audio": lambda p, s, out: (
        *("evaluate", "video", p / "good.mp4", "--audio", s, "--sheet", out / "x.png"),
    ),
    "evaluate silence": lambda p, s, out: ("evaluate", "silence", SHIPPED, s),
}


@pytest.mark.parametrize("command", LISTENERS)
@pytest.mark.parametrize("sound", SOUNDS)
def test_sounds(sound, command, place, tmp_path, capsys):
    given = place / sound
    said = refused(capsys, tmp_path, *LISTENERS[command](place, given, tmp_path))
    assert str(given) in said


@pytest.mark.parametrize("phones", ["missing.phones", "empty.phones", "text.phones", "nothing"])
def test_phones(phones, place, tmp_path, capsys):
    given = place / phones
    video = ("evaluate", "video", place / "good.mp4", "--phones", given)
    assert str(given) in refused(capsys, tmp_path, *video)
    if phones in ("empty.phones", "text.phones"):
        voice = place / f"of {phones}" / "xx-voice"
        voice.mkdir(parents=True, exist_ok=True)
        shutil.copy(given, voice / "00.phones")
        shutil.copy(place / "good.wav", voice / "00.wav")
        languages = ("evaluate", "languages", SHIPPED, voice.parent, "--plot", tmp_path / "x.png")
        assert "00.phones" in refused(capsys, tmp_path, *languages)


@pytest.mark.parametrize("folder", ["missing", "nothing", "good.wav"])
def test_folders_of_languages(folder, place, tmp_path, capsys):
    languages = ("evaluate", "languages", SHIPPED, place / folder, "--plot", tmp_path / "x.png")
    assert str(place / folder) in refused(capsys, tmp_path, *languages)


# --- weights -------------------------------------------------------------------------------------

WEIGHTS = ["missing.safetensors", "empty.safetensors", "text.safetensors", "cut.safetensors"]
KINDS = [*WEIGHTS, "nothing", "small.safetensors"]  # the last is good, but of an encoder
LOADERS: dict[str, Callable[[Path, Path, Path], Given]] = {
    "train avatar --seen": lambda p, w, out: (
        *("train", "avatar", p / "puppet" / "dataset", "-o", out / "x", "--seen", w),
    ),
    "evaluate avatar": lambda p, w, out: (
        *("evaluate", "avatar", w, p / "puppet" / "dataset", "--sheet", out / "x.png"),
    ),
    "evaluate judge": lambda p, w, out: (
        *("evaluate", "judge", p / "puppet" / "dataset", "--judge", w),
    ),
    "evaluate silence": lambda p, w, out: ("evaluate", "silence", w),
    "evaluate languages": lambda p, w, out: ("evaluate", "languages", w, p),
    "speak": lambda p, w, out: ("speak", w, p / "good.wav", "-o", out / "x.mp4"),
    "demo": lambda p, w, out: ("demo", "--avatar", w, "-o", out / "x"),
    "export": lambda p, w, out: ("export", "-o", out / "x", "--avatar", w),
    "serve": lambda p, w, out: ("serve", w, "--port", 0),
    "bench features": lambda p, w, out: (
        *("bench", "features", p / "puppet" / "dataset", "--heads", w, "--work", out / "w"),
        *("--results", out / "r"),
    ),
}


@pytest.mark.parametrize("command", LOADERS)
@pytest.mark.parametrize("weights", KINDS)
def test_weights(weights, command, place, tmp_path, capsys):
    given = place / weights
    said = refused(capsys, tmp_path, *LOADERS[command](place, given, tmp_path))
    assert str(given) in said


@pytest.mark.parametrize("weights", [*WEIGHTS, "nothing"])
def test_encoders(weights, place, tmp_path, capsys):
    given, data = place / weights, place / "puppet" / "dataset"
    for command in (
        ("train", "encoder", data, "-o", tmp_path / "x", "--split", "all", "--start", given),
        ("train", "avatar", data, "-o", tmp_path / "x", "--split", "all", "--encoder", given),
        ("sync", data, "--encoder", given),
        ("evaluate", "avatar", SHIPPED, data, "--split", "all", "--encoder", given),
        ("evaluate", "silence", SHIPPED, "--encoder", given),
        ("serve", "--encoder", given, "--port", 0),
    ):
        assert str(given) in refused(capsys, tmp_path, *command), command


# --- outputs -------------------------------------------------------------------------------------


def writers(place: Path, where: Path) -> dict[str, Given]:
    """Every command that writes, told to write ``where``."""
    data, video = place / "puppet" / "dataset", place / "good.mp4"
    return {
        "prepare": ("prepare", video, "-o", where),
        "train encoder": ("train", "encoder", data, "-o", where, "--split", "all"),
        "train judge": ("train", "judge", data, "-o", where, "--split", "all"),
        "train avatar": ("train", "avatar", data, "-o", where, "--split", "all"),
        "relisten": ("train", "avatar", data, "-o", where, "--split", "all", "--seen", SHIPPED),
        "evaluate encoder": ("evaluate", "encoder", data, "--matrix", where),
        "evaluate avatar, sheet": ("evaluate", "avatar", SHIPPED, data, "--sheet", where),
        "evaluate avatar, video": (
            *("evaluate", "avatar", SHIPPED, data, "--video", where.with_suffix(".mp4")),
        ),
        "evaluate languages": ("evaluate", "languages", SHIPPED, place, "--plot", where),
        "evaluate video": ("evaluate", "video", video, "--sheet", where),
        "sync": ("sync", video, "-o", where),
        "export": ("export", "-o", where),
        "bench features": ("bench", "features", data, "--heads", SHIPPED, "--work", where),
    }


@pytest.mark.parametrize("command", writers(Path("x"), Path("x")))
def test_outputs_that_cannot_be_written(command, place, tmp_path, capsys):
    """A file where a folder is needed, found before any work is done."""
    before = sorted(place.rglob("*"))
    said = refused(capsys, tmp_path, *writers(place, place / "good.wav" / "x")[command])
    assert said.startswith("cannot write ") and "not a directory" in said, said
    assert sorted(place.rglob("*")) == before


def test_every_command_is_tried() -> None:
    """Here or in `test_hostile`, which has `encode`; a new command has to be added."""
    tables = (TRAINERS, WATCHERS, LISTENERS, LOADERS, writers(Path("x"), Path("x")))
    tried = {name.partition(",")[0].partition(" --")[0] for table in tables for name in table}
    assert set(cli.VERBS) - tried == {"encode"}
