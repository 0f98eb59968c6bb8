"""Numbers that cannot be are refused before any file is looked at: one sentence, exit code 2."""

import pytest

from hostile import refused

NUMBERS = [
    (
        "train encoder nowhere -o x --loop.log-every 0",
        "--loop.log-every is 0, but at least 1 is needed",
    ),
    (
        "train encoder nowhere -o x --window-stride 0",
        "window_stride is 0, but at least 1 is needed",
    ),
    ("train encoder nowhere -o x --windows-per-clip 0", "windows_per_clip is 0, but at least 1 is"),
    (
        "train encoder nowhere -o x --loop.learning-rate nan",
        "--loop.learning-rate is nan, but 1e-12 to 1000 is",
    ),
    (
        "train encoder nowhere -o x --model.lips.channels 7 7",
        "--model.lips.channels is 7, but 8 to 8192 is needed",
    ),
    (
        "train encoder nowhere -o x --model.lips.channels 12",
        "--model.lips.channels are (12,), but numbers that 8",
    ),
    (
        "train encoder nowhere -o x --model.lips.embedding 8",
        "speech has embeddings of 512 numbers and",
    ),
    (
        "train encoder nowhere -o x --clips-per-step 0",
        "clips_per_step is 0, but at least 1 is needed",
    ),
    ("train judge nowhere -o x --frames 5", "frames is 5, but at least 15 is needed"),
    (
        "train judge nowhere -o x --model.dilations 0",
        "--model.dilations is 0, but 1 to 50 is needed",
    ),
    ("train avatar nowhere -o x --curves -3", "curves is -3, but 0 to 1024 is needed"),
    (
        "train avatar nowhere -o x --material.mouth-codes 0",
        "--material.mouth-codes is 0, but 1 to 60 is needed",
    ),
    (
        "train avatar nowhere -o x --nerf.survey-every 0",
        "--nerf.survey-every is 0, but at least 1 is needed",
    ),
    (
        "train avatar nowhere -o x --pictures.steps 0",
        "0 steps were asked for: train for one at least",
    ),
    ("prepare nowhere.mp4 -o x --lips.size-px 0", "--lips.size-px is 0, but 8 to 1024 is needed"),
    ("prepare nowhere.mp4 -o x --longest-clip-s 0", "clips of 0.5 s to 0.0 s are impossible"),
    ("evaluate judge nowhere --questions 0", "questions is 0, but at least 1 is needed"),
    ("evaluate silence nowhere --seconds 0", "seconds is 0.0, but 0.1 to 3600 is needed"),
    ("serve --size-px 8", "pictures of 8 px were asked for: 64 to 1024 can be sent"),
    ("serve --port 70000", "port is 70000, but 0 to 65535 is needed"),
    ("serve --port -1", "port is -1, but 0 to 65535 is needed"),
    ("serve --viewers 0", "0 viewers were allowed, but at least one is needed"),
]


@pytest.mark.parametrize(("typed", "said"), NUMBERS)
def test_numbers(typed, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, tmp_path, *typed.split()).startswith(said)
