"""SyncNet as published: its layers' names and sizes, its MFCC, its scoring. No trained weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from se4lip.metrics.syncnet import (
    SyncNet,
    crop_face,
    mfcc,
    published_score,
    score_syncnet,
    syncnet_boxes_px,
)
from se4lip.types import InputError

_GOLDEN = Path(__file__).parent / "golden" / "mfcc.json"


@pytest.fixture(scope="module")
def network() -> SyncNet:
    torch.manual_seed(0)
    return SyncNet().eval()


def test_the_network_holds_the_tensors_of_the_published_file(network: SyncNet) -> None:
    state = network.state_dict()
    # syncnet_v2.model has 54,573,114 bytes: these numbers as float32, and 12 kB of names.
    assert sum(v.numel() for v in state.values() if v.is_floating_point()) * 4 == 54_561_024
    shapes = {
        "netcnnaud.0.weight": (64, 1, 3, 3),
        "netcnnaud.18.weight": (512, 256, 5, 4),
        "netcnnlip.0.weight": (96, 3, 5, 7, 7),
        "netcnnlip.4.weight": (256, 96, 1, 5, 5),
        "netcnnlip.18.weight": (512, 256, 1, 6, 6),
        "netfcaud.3.weight": (1024, 512),
        "netfclip.1.running_mean": (512,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_a_published_state_is_taken_with_and_without_counters(network: SyncNet) -> None:
    state = network.state_dict()
    old = {name: value for name, value in state.items() if "num_batches" not in name}
    for given in (state, old):
        made = SyncNet.from_published(given)
        assert all(torch.equal(made.state_dict()[name], state[name]) for name in state)


@pytest.mark.parametrize("spoil", ["missing", "other", "shape"])
def test_other_weights_are_refused_in_one_sentence(network: SyncNet, spoil: str) -> None:
    state = dict(network.state_dict())
    if spoil == "missing":
        del state["netfclip.0.bias"]
    elif spoil == "other":
        state["face_encoder.0.weight"] = torch.zeros(1)
    else:
        state["netfclip.0.bias"] = torch.zeros(3)
    with pytest.raises(InputError) as wrong:
        SyncNet.from_published(state)
    assert str(wrong.value) == (
        "the weights given are not those of SyncNet: give syncnet_v2.model or a safetensors file "
        "of the same tensors"
    )


def test_a_clip_run_through_at_once_is_every_window_by_itself(network: SyncNet) -> None:
    generator = torch.Generator().manual_seed(1)
    faces = torch.randint(0, 256, (7, 3, 224, 224), generator=generator).float()
    with torch.inference_mode():
        rows = network.embed_faces(faces)
        windows = [faces[start : start + 5].transpose(0, 1)[None] for start in range(3)]
        lone = [network.netfclip(network.netcnnlip(window).flatten(1)) for window in windows]
    assert rows.shape == (3, 1024)
    torch.testing.assert_close(rows, torch.cat(lone), rtol=1e-4, atol=1e-5)


def _rising_tone() -> np.ndarray:
    """The sound of golden/make_mfcc.py."""
    time = np.arange(3333) / 16_000
    tone = np.sin(2 * np.pi * (200 * time + 9000 * time**2)) * np.linspace(0.1, 0.9, len(time))
    tone[1500:2100] = 0
    return (np.round(tone * 32768) / 32768).astype(np.float32)


def test_mfcc_are_those_of_python_speech_features() -> None:
    golden = np.array(json.loads(_GOLDEN.read_text()))
    assert mfcc(_rising_tone()) == pytest.approx(golden.T, abs=1e-6)  # written with six digits


def test_mfcc_of_silence_and_of_a_single_sample_are_finite() -> None:
    assert np.isfinite(mfcc(np.zeros(3200, np.float32))).all()
    assert mfcc(np.ones(1, np.float32)).shape == (13, 1)
    with pytest.raises(InputError) as wrong:
        mfcc(np.zeros(0, np.float32))
    assert str(wrong.value) == "there is no sound to make MFCC of: give at least one sample"


def _published_by_loops(speech: torch.Tensor, lips: torch.Tensor) -> tuple[int, float, float]:
    """Every window against 31 stretches of sound, zeros outside; then mean, minimum and median."""
    outside = torch.zeros(speech.shape[1])
    distances = []
    for shift in range(-15, 16):
        heard = [
            speech[t + shift] if 0 <= t + shift < len(speech) else outside for t in range(len(lips))
        ]
        apart = [float((a - b + 1e-6).norm()) for a, b in zip(lips, heard, strict=True)]
        distances.append(sum(apart) / len(apart))
    best = int(np.argmin(distances))
    return best - 15, distances[best], float(np.median(distances)) - distances[best]


@pytest.mark.parametrize("late", [-7, 0, 4])
def test_the_score_is_the_published_one_and_its_sign_is_ours(late: int) -> None:
    generator = torch.Generator().manual_seed(2)
    lips = torch.randn(60, 32, generator=generator)
    speech = lips.roll(late, 0) + 0.3 * torch.randn(60, 32, generator=generator)
    score = published_score(speech, lips)
    offset, distance, confidence = _published_by_loops(speech, lips)
    assert score.offset_frames == offset == late  # the sound comes `late` frames after the lips
    assert score.lse_d == pytest.approx(distance, rel=1e-5)
    assert score.lse_c == pytest.approx(confidence, rel=1e-5)


@pytest.mark.slow
def test_the_score_of_a_clip_does_not_depend_on_the_batch(network: SyncNet) -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (12, 224, 224, 3), np.uint8)
    samples = rng.normal(0, 0.1, 16_000).astype(np.float32)
    whole = score_syncnet(network, faces, samples)
    parts = score_syncnet(network, iter(faces), samples, batch_frames=3)
    assert parts.lse_d == pytest.approx(whole.lse_d, rel=1e-5)
    assert parts.offset_frames == whole.offset_frames


def test_clips_that_cannot_be_scored_are_refused_in_one_sentence(network: SyncNet) -> None:
    faces = np.zeros((5, 224, 224, 3), np.uint8)
    with pytest.raises(InputError) as wrong:
        score_syncnet(network, faces, np.zeros(16_000, np.float32))
    assert str(wrong.value) == (
        "SyncNet needs more than 5 frames with sound, but there are 5 frames and 1.00 s of sound: "
        "give a longer clip"
    )
    with pytest.raises(InputError) as wrong:
        score_syncnet(network, faces[:, :96, :96], np.zeros(16_000, np.float32))
    assert str(wrong.value) == "SyncNet needs faces of shape (224, 224, 3), not (96, 96, 3)"


def test_the_face_crop_is_the_published_box_and_grey_outside_the_picture() -> None:
    landmarks = np.zeros((20, 478, 3), np.float32)
    landmarks[:, :, 0] = np.linspace(100, 180, 478)  # 80 px wide
    landmarks[:, :, 1] = np.linspace(50, 150, 478)  # 100 px high: half = 50
    landmarks[9] += 40  # one frame where the tracker jumped
    boxes = syncnet_boxes_px(landmarks)
    assert boxes == pytest.approx(np.tile([140 - 70, 100 - 50, 140 + 70, 100 + 90], (20, 1)))

    frame = np.full((200, 220, 3), 200, np.uint8)
    assert (crop_face(frame, boxes[0]) == 200).all()
    outside = crop_face(frame, boxes[0] + (70, 0, 70, 0))  # 80 of its 140 px are in the picture
    assert (outside[:, :126] == 200).all() and (outside[:, 130:] == 110).all()
