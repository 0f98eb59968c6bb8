"""Whatever draws or learns on CUDA does so on a device that refuses to meet the CPU's tensors, and
gives the CPU's numbers. The kernels of a real one are tested where there is one."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch

import puppet
from elsewhere import elsewhere
from recordings import wav
from se4lip.artifacts.avatar import load_avatar
from se4lip.artifacts.encoder import load_encoder
from se4lip.evaluation.avatar import drawn_on
from se4lip.io.video import probe_video
from se4lip.synthesis.speak_audio import speak
from se4lip.train.avatar import train_avatar
from se4lip.train.encoder import train_encoder
from test_train_avatar_nerf import RECIPE as NERF
from test_train_encoder import recipe as encoder_recipe


@pytest.fixture(scope="module")
def apart():
    """Runs functions in a process of their own: the device stays in the one that it came into."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *given: pool.submit(function, *given).result()


def test_the_device_refuses_what_cuda_refuses(apart):
    apart(meet)


def meet():
    with elsewhere() as device:
        there, here = torch.zeros(3, device=device), torch.zeros(3)
        assert there.device.type == "elsewhere"
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="two devices"):
            here.add_(there)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device=device, generator=torch.Generator())
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert (there.cpu() + here).device.type == "cpu"
        assert torch.rand(3).to(device)[torch.tensor([0, 2])].device == device


def test_an_encoder_learns_there(apart, tmp_path):
    data = puppet.make_dataset(tmp_path / "me", recordings=2, frames=60)
    recipe = encoder_recipe(steps=3)
    here = train_encoder([data], tmp_path / "here", recipe, [data], device="cpu")
    there = apart(encoder_elsewhere, data, tmp_path / "there", recipe)
    parameters = (load_encoder(file).parameters() for file in (here, there))
    for ours, theirs in zip(*parameters, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def encoder_elsewhere(data, out, recipe):
    with elsewhere():
        return train_encoder([data], out, recipe, [data], device="elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize("renderer", ["splat", "nerf"])
def test_a_head_learns_there_and_speaks_there(renderer, apart, tmp_path):
    data, recipe, said = puppet.make_dataset(tmp_path), few_steps(renderer), []
    how = {"features": tmp_path / "features", "renderer": renderer}
    train_avatar(data, tmp_path / "here", recipe, report=said.append, **how)
    there, reported, drawn = apart(head_elsewhere, tmp_path, data, recipe, how)
    assert figures(reported) == pytest.approx(figures(said), rel=2e-3)
    head = load_avatar(there)
    assert probe_video(tmp_path / "out.mp4").height_px == head.head.camera.height_px
    features = torch.from_numpy(np.load(tmp_path / "features" / "take00.npy"))
    expected = head.head.pictures(head.head.speech(features)[:3], head.replay[np.arange(3)])
    for a, b in zip(drawn, expected, strict=True):
        assert a.std() > 10
        assert np.abs(a.astype(int) - b).max() <= 2


def head_elsewhere(folder, data, recipe, how):
    """Trained there, loaded there, and three pictures and a video drawn there."""
    said, out = [], folder / "there"
    with elsewhere():
        file = train_avatar(data, out, recipe, report=said.append, device="elsewhere", **how)
        avatar = drawn_on(load_avatar(file), "elsewhere")
        assert {value.device.type for value in avatar.head.state_dict().values()} == {"elsewhere"}
        heard = np.load(how["features"] / "take00.npy")
        codes = avatar.head.speech(torch.from_numpy(heard))[:3]
        drawn = list(avatar.head.pictures(codes, avatar.replay[np.arange(3)]))
        np.save(folder / "said.npy", heard[:5])
        sound = wav(folder / "said.wav", np.zeros(3_200, np.int16), 16_000)
        spoken = speak(avatar, sound, folder / "out.mp4", features=folder / "said.npy")
        assert spoken.frames == 5
    return file, said, drawn


def few_steps(renderer):
    recipe = puppet.smallest_recipe(20, 4)
    if renderer == "splat":
        return recipe
    pictures = replace(NERF.nerf.pictures, steps=4, validate_every=4)
    nerf = replace(NERF.nerf, pictures=pictures, survey_every=2)
    return replace(recipe, nerf=nerf)


def figures(lines):
    """Every number of a run's report but how long it takes."""
    words = " ".join(line.rsplit("  ", 1)[0] for line in lines).split()
    return [float(word) for word in words if word.replace(".", "").replace("e-", "").isdigit()]
