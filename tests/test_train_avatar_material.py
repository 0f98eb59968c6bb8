"""What an avatar learns from: takes of the puppet, clips that look alike, its resting mouth."""

import numpy as np
import pytest
import torch

import puppet
from se4lip.face.expression import fit_mouth
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.io.dataset import open_dataset
from se4lip.mesh import LIPS
from se4lip.train.avatar_material import MaterialConfig, Take, gather, most_alike, takes_of
from se4lip.train.avatar_speech import Heard, MouthTask, aperture_cm, resting_code
from se4lip.train.avatar_start import filled
from se4lip.types import InputError


def test_few_recordings_are_split_in_time(tmp_path):
    data = open_dataset(puppet.make_dataset(tmp_path, recordings=1, frames=50))
    assert takes_of(data, "train") == [Take("take00", 0, 40)]
    assert takes_of(data, "validation") == [Take("take00", 40, 45)]
    assert takes_of(data, "test") == [Take("take00", 45, 50)]
    assert takes_of(data, "all") == [Take("take00", 0, 50)]


def test_too_little_material_is_refused(tmp_path):
    data = open_dataset(puppet.make_dataset(tmp_path, recordings=1, frames=50))
    with pytest.raises(InputError, match="holds 40 frames, but an avatar needs at least 75"):
        gather(data, "train", MaterialConfig())


def test_faces_as_far_apart_as_several_people_s_are_told(tmp_path, monkeypatch):
    data = open_dataset(puppet.make_dataset(tmp_path, recordings=2, frames=60))
    config, said = MaterialConfig(size_px=64, pictures=4, mouth_codes=3), []
    gather(data, "train", config, report=said.append)
    assert not any("several people" in line for line in said)
    monkeypatch.setattr("se4lip.train.avatar_material.faces_apart", lambda *_: 0.634)
    gather(data, "train", config, report=said.append)
    assert (
        "the faces of these takes lie 0.63 % of a face's width apart, as those of several people "
        f"do: if {data.path} shows more than one, prepare each one's recordings by themselves"
    ) in said


def test_the_clips_that_look_most_alike_are_one_cluster():
    rng = np.random.default_rng(0)
    tight, loose = rng.normal(5, 0.1, (12, 6)), rng.normal(0, 2, (20, 6))
    rows = np.concatenate((loose[:10], tight, loose[10:])).astype(np.float32)
    assert most_alike(rows, 12).tolist() == list(range(10, 22))
    assert most_alike(rows, 40).tolist() == list(range(32))


def test_the_resting_mouth_is_the_closed_one_of_silence():
    opening = np.array([0.0] * 30 + [1.0] * 30 + [0.2] * 30)
    mouth = fit_mouth([puppet.points_cm(opening)], 1)
    codes = mouth.encode(puppet.points_cm(opening))
    speaking = (opening == 1.0) | (np.arange(90) >= 60)
    rest = resting_code(mouth, [codes], [speaking])
    assert aperture_cm(mouth, rest[None])[0] < 0.06
    everything = resting_code(mouth, [codes], [np.ones(90, bool)])
    assert aperture_cm(mouth, everything[None])[0] < 0.06


def test_an_error_of_the_mouth_is_told_in_millimetres():
    opening = puppet.opening_cm(70)
    mouth = fit_mouth([puppet.points_cm(opening)], 1)
    heard = Heard(np.zeros((70, 2), np.float32), mouth.encode(puppet.points_cm(opening)))
    window = SpeechWindow(SpeechWindowConfig(2, 1)).eval()
    task = MouthTask(window, mouth, [heard], [heard])
    with torch.no_grad():
        window.code.weight.zero_()  # always the mean mouth
        window.code.bias.zero_()
    lips = list(LIPS)
    apart = mouth.decode(heard.mouth)[:, lips] - mouth.shape_cm[lips]
    want = 10 * np.linalg.norm(apart[..., :2], axis=-1).mean()
    assert task.validate(window)["lips_mm"] == pytest.approx(want, rel=1e-4)


def test_holes_are_filled_from_around_and_the_rest_is_left():
    picture = np.full((32, 40, 3), 0.25, np.float32)
    picture[8:24, 10:30] = 1.0
    hole = np.zeros((32, 40), bool)
    hole[8:24, 10:30] = True
    np.testing.assert_allclose(filled(picture, hole), 0.25, atol=1e-6)
    ramp = np.linspace(0, 1, 40, dtype=np.float32)[None, :, None].repeat(32, 0).repeat(3, 2)
    smooth = filled(np.where(hole[..., None], 0, ramp), hole)
    np.testing.assert_array_equal(smooth[~hole], ramp[~hole])
    assert np.abs(smooth - ramp).max() < 0.3
