"""The examination of the second judge, held to a judge that knows everything and one that does not.

Every frame carries a code in its samples and in its mouth blendshapes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from se4lip import cli
from se4lip.artifacts.judge import judge_gate, judge_header, save_judge
from se4lip.evaluation import judge as examining
from se4lip.evaluation.judge import ExamConfig, ExamRow, evaluate_judge, needed_speech_s
from se4lip.io.dataset import ClipEntry, Index, SourceEntry, write_clip, write_index
from se4lip.metrics.judge import Judge, JudgeConfig
from se4lip.metrics.judge_lips import DISTANCES, SHAPES
from se4lip.types import FaceTrack, InputError
from strict import strict_json

CODE = len(SHAPES)
EXAM = ExamConfig(speech_s=(1.5, 4.0), questions=31)


class Knowing:
    config = dataclasses.replace(JudgeConfig(), dilations=(1, 1))

    def embed_clip(self, samples, motion):
        # A row of silence is nobody's: its embedding is like no other.
        heard = samples.reshape(len(motion), 640)[:, :CODE].sign()
        return heard, motion[:, len(DISTANCES) :].sign()


class Ignorant(Knowing):
    def embed_clip(self, samples, motion):
        generator = torch.Generator().manual_seed(int(1e4 * samples.abs().sum()) % 2**31)
        return torch.randn(2, len(motion), CODE, generator=generator).unbind()


def data_set(folder, lengths, late: int = 0):
    sources = []
    for index, frames in enumerate(lengths):
        random = np.random.default_rng(index)
        codes = random.choice((-1.0, 1.0), (frames, CODE))
        loudness = random.choice((0.1, 0.4), frames)[:, None]
        samples = 0.02 * random.standard_normal((frames, 640)) * loudness
        samples[:, :CODE] = codes * loudness
        shapes = np.zeros((frames, 52), np.float32)
        for column, sides in enumerate(SHAPES):
            shapes[:, sides] = codes[:, [column]] > 0
        track = FaceTrack(
            landmarks_px=random.uniform(0, 90, (1, 478, 3)).repeat(frames, 0).astype(np.float32),
            blendshapes=shapes,
            camera_from_face=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
            width_px=100,
            height_px=100,
        )
        name = f"clip{index:02}"
        samples = np.roll(samples, late, axis=0).ravel().astype(np.float32)
        lips = np.zeros((frames, 96, 96, 3), np.uint8)
        write_clip(folder, name, samples, lips, track, {"source": f"{name}.mp4"})
        entry = (ClipEntry(name, 0, frames),)
        sources.append(SourceEntry(name, f"{name}.mp4", "../videos", 1, "0", entry))
    write_index(folder, Index({}, tuple(sources)))
    return folder


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "judge.safetensors"
    torch.manual_seed(0)
    save_judge(file, Judge(JudgeConfig(width=8, embedding=4)), {"name": "drawn"})
    return file


def examine(monkeypatch, judge, folders, weights, **how):
    monkeypatch.setattr(examining, "load_judge", lambda path: judge)
    return evaluate_judge(folders, weights, config=EXAM, **how)


def test_a_judge_that_knows_needs_the_least_that_was_asked(tmp_path, weights, monkeypatch) -> None:
    folder = data_set(tmp_path / "set", [75] * 4)
    exam = examine(monkeypatch, Knowing(), [folder], weights)
    assert exam.gate.least_speech_s == 1.5
    assert exam.gate.examined_on == ("set",)
    assert [(row.accuracy, row.questions) for row in exam.rows] == [(1.0, 31), (1.0, 31)]
    assert [row.mean_clips for row in exam.rows] == [1.0, pytest.approx(1.5, abs=0.6)]
    assert exam.own_offset_frames["set"] == pytest.approx(0, abs=0.05)


def test_a_judge_that_guesses_may_never_judge(tmp_path, weights, monkeypatch) -> None:
    folder = data_set(tmp_path / "set", [75] * 4)
    exam = examine(monkeypatch, Ignorant(), [folder], weights)
    assert exam.gate.least_speech_s is None
    assert all(row.accuracy < 0.4 for row in exam.rows)


@pytest.mark.parametrize("late", [3, -2])
def test_sound_recorded_late_is_told_and_taken_off(tmp_path, weights, monkeypatch, late) -> None:
    folder = data_set(tmp_path / "set", [75] * 3, late)
    exam = examine(monkeypatch, Knowing(), [folder], weights)
    assert exam.own_offset_frames["set"] == pytest.approx(late, abs=0.05)
    assert exam.rows[0].accuracy == 1.0


def test_a_judge_to_whom_all_is_in_sync_is_wrong(tmp_path, weights, monkeypatch) -> None:
    class Polite(Knowing):
        def embed_clip(self, samples, motion):
            seen = super().embed_clip(samples, motion)[1]
            return seen, seen

    folder = data_set(tmp_path / "set", [75] * 3)
    exam = examine(monkeypatch, Polite(), [folder], weights)
    assert exam.own_offset_frames["set"] == pytest.approx(0, abs=0.05)
    assert exam.rows[0].accuracy == pytest.approx(3 / 31)  # shifts of -1, 0 and 1


def test_long_recordings_are_cut_so_that_a_length_is_a_length(
    tmp_path, weights, monkeypatch
) -> None:
    folder = data_set(tmp_path / "set", [610])
    exam = examine(monkeypatch, Knowing(), [folder], weights)
    pieces_s = 610 / 9 / 25  # nine pieces, none longer than 75 frames
    assert exam.rows[0].mean_clips == 1.0
    assert exam.rows[1].mean_clips == pytest.approx(np.ceil(4.0 / pieces_s), abs=0.3)


@pytest.mark.parametrize(
    ("frames", "clips"), [(75, 1), (76, 1), (99, 1), (100, 2), (149, 2), (610, 9)]
)
def test_what_is_long_is_not_cut_short(tmp_path, weights, monkeypatch, frames, clips) -> None:
    folder = data_set(tmp_path / "set", [frames])
    exam = examine(monkeypatch, Knowing(), [folder], weights)
    assert exam.rows[0].clip_s == pytest.approx(frames / clips / 25, abs=0.04)
    assert exam.rows[0].clip_s >= 2


def test_short_clips_tell_nothing_of_long_ones(tmp_path, weights, monkeypatch) -> None:
    class Dull(Knowing):
        def embed_clip(self, samples, motion):
            answer = Knowing if len(motion) > 40 else Ignorant
            return answer.embed_clip(self, samples, motion)

    folders = [
        data_set(tmp_path / "long", [75] * 4),
        data_set(tmp_path / "short", [30] * 12),
    ]
    exam = examine(monkeypatch, Dull(), folders, weights)
    assert (exam.gate.least_speech_s, exam.gate.least_speech_long_s) == (None, 1.5)
    assert {row.dataset: row.largest_shift_frames for row in exam.rows} == {"long": 15, "short": 10}


def test_the_shipped_judge_is_not_written_into(tmp_path) -> None:
    with pytest.raises(InputError, match="the shipped judge stays as it is: to store what was fou"):
        evaluate_judge([tmp_path], store=True)


def test_what_was_found_is_stored_with_the_weights(tmp_path, weights, monkeypatch) -> None:
    folder = data_set(tmp_path / "set", [75] * 4)
    before = judge_header(weights).sha256
    assert judge_gate(weights).least_speech_s is None
    exam = examine(monkeypatch, Knowing(), [folder], weights, store=True)
    header = judge_header(weights)
    assert judge_gate(weights) == exam.gate
    assert header.sha256 == before == exam.sha256
    assert header.metadata["exam"]["rows"][0]["accuracy"] == 1.0
    assert header.metadata["name"] == "drawn"


@pytest.mark.parametrize(
    ("answers", "enough"),
    [
        ({1.0: (0.96,), 2.0: (1.0,)}, 1.0),
        ({1.0: (0.94,), 2.0: (0.95,)}, 2.0),
        ({1.0: (0.99,), 2.0: (0.9,), 3.0: (1.0,)}, 3.0),  # luck at 1 s does not count
        ({1.0: (1.0, 0.5), 2.0: (1.0, 0.97)}, 2.0),  # every data set counts
        ({1.0: (1.0,), 2.0: (0.5,)}, None),
        ({}, None),
    ],
)
def test_the_length_needed_is_that_from_which_no_longer_one_fails(answers, enough) -> None:
    rows = [
        ExamRow(f"set{i}", length, accuracy, 100, 1.0)
        for length, accuracies in answers.items()
        for i, accuracy in enumerate(accuracies)
    ]
    assert needed_speech_s(rows, 0.95) == enough


def test_the_command_says_when_the_judge_may_judge(tmp_path, weights, monkeypatch, capsys) -> None:
    folder = data_set(tmp_path / "set", [75] * 4)
    monkeypatch.setattr(examining, "load_judge", lambda path: Knowing())
    command = ["evaluate", "judge", str(folder), "--judge", str(weights), "--questions", "31"]
    assert cli.main([*command, "--speech-s", "1.5", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "the judge may judge 1.5 s of speech and more",
        "the judge may judge 1.5 s of speech and more, in clips of 2 s and more",
    ]
    assert cli.main([*command, "--speech-s", "1.5", "--json"]) == 0
    told = strict_json(capsys.readouterr().out)
    assert told["gate"]["least_speech_s"] == 1.5
    assert told["rows"][0]["questions"] == 31


def test_data_without_clips_is_refused(tmp_path, weights) -> None:
    folder = data_set(tmp_path / "set", [8])
    with pytest.raises(InputError) as wrong:
        evaluate_judge([folder], weights)
    assert str(wrong.value) == (
        f"data set {folder} holds no clip with speech to examine a judge on"
    )
