"""The whole way through the command line, on a face and a voice that the package itself makes.

The shipped head says the shipped sentence; that video is then a recording like any other: its sync
is measured, it becomes a data set, the data set trains an encoder and a head, and that head speaks.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from recordings import wav
from se4lip import cli
from se4lip.artifacts.avatar import SHIPPED, avatar_file
from se4lip.artifacts.encoder import encoder_identity
from se4lip.io.models import cache_folder
from se4lip.io.video import probe_video, read_clip_speech, read_frames
from se4lip.io.video_writing import write_video
from se4lip.io.weights import read_header
from se4lip.synthesis.demo import shipped_speech
from se4lip.types import Speech

SHARED_MODEL = Path(__file__).parents[2] / "shared" / "models" / "face_landmarker.task"


def run(capsys, *arguments):
    """Exit code and the JSON that was printed, if any."""
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr().out
    return code, json.loads(printed) if "--json" in arguments else printed


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert cli.main(["demo", "-o", str(folder), "--json"]) == 0
    return folder


@pytest.fixture(scope="module")
def landmarks():
    """MediaPipe's model, if it is on this machine: a test downloads nothing."""
    pytest.importorskip("mediapipe")
    given = os.environ.get("SE4LIP_FACE_LANDMARKER", "")
    for file in (Path(given), SHARED_MODEL, cache_folder() / "face_landmarker.task"):
        if file.is_file():
            return file
    pytest.skip("MediaPipe's face_landmarker.task is missing: set SE4LIP_FACE_LANDMARKER to it")


@pytest.mark.slow
def test_the_demo_is_a_video_with_sound_and_a_picture_of_how_it_came_about(shown):
    info = probe_video(shown / "demo.mp4")
    assert info.has_sound
    frames = list(read_frames(shown / "demo.mp4"))
    assert len(frames) == 196  # 7.80 s and a little
    assert np.abs(np.diff(np.stack(frames).astype(float), axis=0)).max() > 50  # something moves
    assert (shown / "speech-becoming-lips.png").stat().st_size > 10_000
    assert sorted(path.name for path in shown.iterdir()) == ["demo.mp4", "speech-becoming-lips.png"]


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 2_000, 7_000])
def test_the_demo_of_a_moment_of_sound_is_whole(samples, tmp_path):
    sound = wav(tmp_path / "short.wav", np.full(samples, 900, np.int16), 16_000)
    out = tmp_path / "out"
    assert cli.main(["demo", "--audio", str(sound), "-o", str(out), "--json"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["demo.mp4", "speech-becoming-lips.png"]


@pytest.mark.slow
def test_the_demo_says_by_what_it_was_made(shown, capsys):
    code, found = run(capsys, "inspect", shown / "demo.mp4", "--json")
    avatar, encoder = read_header(avatar_file(SHIPPED)), encoder_identity()
    assert (code, found["synthetic"]) == (0, True)
    assert found["parts"] == {
        "avatar": {"name": SHIPPED, "sha256": avatar.sha256},
        "encoder": {"name": encoder.name, "sha256": encoder.sha256},
    }


@pytest.mark.slow
def test_a_clip_that_is_retimed_by_k_frames_reports_k(shown, landmarks, tmp_path, capsys):
    plain = ("--face-landmarker", landmarks, "--json")
    code, report = run(capsys, "sync", shown / "demo.mp4", *plain)
    assert (code, report["verdict"]) == (0, "in-sync")
    frames, speech = (
        list(read_frames(shown / "demo.mp4")),
        read_clip_speech(shown / "demo.mp4").samples,
    )
    late = np.concatenate((np.zeros(6 * 640, np.float32), speech[: -6 * 640]))
    write_video(tmp_path / "late.mp4", frames, Speech(late))
    code, found = run(capsys, "sync", tmp_path / "late.mp4", *plain)
    assert (code, found["verdict"]) == (1, "out-of-sync")
    assert found["offset_frames"] - report["offset_frames"] == 6


@pytest.mark.slow
def test_recordings_become_an_encoder_and_a_head_that_speaks(shown, landmarks, tmp_path, capsys):
    video, data = tmp_path / "me.mp4", tmp_path / "me"
    video.write_bytes((shown / "demo.mp4").read_bytes())
    code, prepared = run(
        capsys, "prepare", video, "-o", data, "--face-landmarker", landmarks, "--json"
    )
    assert (code, prepared["clips"]) == (0, 1)
    encoder = ("--loop.steps", 3, "--loop.warmup-steps", 1, "--clips-per-step", 2)
    assert (
        run(capsys, "train", "encoder", data, "-o", tmp_path / "e", "--split", "all", *encoder)[0]
        == 0
    )
    weights = tmp_path / "e" / "encoder.safetensors"
    code, figures = run(capsys, "evaluate", "encoder", data, "--encoder", weights, "--json")
    assert code == 0
    assert {row["context_frames"] for row in figures["figures"]} == {5, 15}
    steps = ("--speech.steps", 5, "--pictures.steps", 5, "--noise.sounds", 8)
    code, _ = run(
        capsys,
        "train",
        "avatar",
        data,
        "-o",
        tmp_path / "a",
        "--split",
        "all",
        *steps,
        "--encoder",
        weights,
    )
    assert code == 0
    head = tmp_path / "a" / "avatar.safetensors"
    speak = ("speak", head, shipped_speech(), "-o", tmp_path / "said.mp4")
    assert run(capsys, *speak)[0] == 2  # the shipped encoder is not the one it was trained with
    assert not (tmp_path / "said.mp4").exists()
    assert run(capsys, *speak, "--encoder", weights)[0] == 0
    assert probe_video(tmp_path / "said.mp4").has_sound
