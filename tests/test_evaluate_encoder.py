"""`evaluate encoder`, judged with an encoder that knows (`clairvoyant`)."""

from types import SimpleNamespace

import numpy as np
import pytest

from clairvoyant import Clairvoyant, data_set
from se4lip import cli
from se4lip.evaluation import encoder as evaluating
from se4lip.io.dataset import open_dataset
from se4lip.train.split import clips_of
from se4lip.types import InputError


@pytest.fixture(autouse=True)
def clairvoyant(monkeypatch):
    monkeypatch.setattr(evaluating, "load_encoder", lambda path: Clairvoyant())
    identity = SimpleNamespace(name="clairvoyant", sha256="0")
    monkeypatch.setattr(evaluating, "encoder_identity", lambda path: identity)


def test_an_encoder_that_knows_is_always_right_and_late_sound_is_always_wrong(tmp_path):
    right = evaluating.evaluate_encoder([data_set(tmp_path / "right", 3, 0)])
    assert [row.accuracy for row in right.rows] == [1.0, 1.0]
    assert [row.context_frames for row in right.rows] == [5, 15]
    assert all(row.questions > 100 and 0.05 < row.chance < 0.2 for row in right.rows)
    wrong = evaluating.evaluate_encoder([data_set(tmp_path / "wrong", 3, 2)])
    assert all(row.accuracy < 0.01 for row in wrong.rows)  # at a clip's end +2 is no candidate


def test_questions_into_which_a_pause_reaches_can_be_left_out(tmp_path):
    data, phones = data_set(tmp_path / "set", 1, 0), tmp_path / "phones"
    phones.mkdir()
    # 100 frames of one sound, two of a pause, 20 of another: five frames of lips fit into them
    # 96 + 16 times, fifteen 86 + 6 times.
    said = "0 4 a\n4 4.08 sil\n4.08 4.88 b\n4.88 16 sil\n"
    (phones / "clip00.txt").write_text(said)
    everything = evaluating.evaluate_encoder([data]).rows
    asked = evaluating.evaluate_encoder([data], phones=phones).rows
    assert [row.questions for row in asked] == [96 + 16, 86 + 6]
    assert all(few.questions < row.questions for few, row in zip(asked, everything, strict=True))
    (phones / "clip00.txt").unlink()
    with pytest.raises(InputError, match=r"clip00\.txt"):
        evaluating.evaluate_encoder([data], phones=phones)


def test_the_matrix_is_of_the_clip_with_most_speech(tmp_path):
    report = evaluating.evaluate_encoder([data_set(tmp_path / "set", 3, 0)])
    name, similarity = report.matrix
    assert name == "set/clip00"
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)


def test_splits_share_nothing_and_leave_nothing_out(tmp_path):
    data = open_dataset(data_set(tmp_path / "set", 21, 0))
    parts = [clips_of(data, split) for split in ("train", "validation", "test")]
    assert parts[2] == ["clip00", "clip10", "clip20"]
    assert parts[1] == ["clip05", "clip15"]
    assert sorted(name for part in parts for name in part) == clips_of(data, "all")


def test_of_a_few_recordings_all_train(tmp_path):
    data = open_dataset(data_set(tmp_path / "set", 3, 0))
    assert clips_of(data, "train") == ["clip00", "clip01", "clip02"]
    assert clips_of(data, "validation") == clips_of(data, "test") == []


def test_where_nothing_can_be_asked_a_dash_stands(tmp_path, capsys):
    data, phones = data_set(tmp_path / "set", 1, 0), tmp_path / "phones"
    phones.mkdir()
    (phones / "clip00.txt").write_text("0 16 sil\n")
    assert cli.main(["evaluate", "encoder", str(data), "--phones", str(phones)]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed and printed.count(" - ") >= 6
