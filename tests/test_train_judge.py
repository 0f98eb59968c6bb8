"""Training the second judge: its loss in closed form, and a mouth that opens with its sound."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from se4lip import cli
from se4lip.artifacts.judge import judge_gate, judge_header, load_judge
from se4lip.audio.augment import SpeechAugmentConfig
from se4lip.io.dataset import ClipEntry, Index, SourceEntry, write_clip, write_index
from se4lip.metrics.judge import Judge, JudgeConfig
from se4lip.metrics.judge_lips import MOTION_WIDTH
from se4lip.train.corpus import Corpus, draw_stretches
from se4lip.train.judge import (
    JudgeRecipe,
    JudgeTask,
    MotionAugmentConfig,
    augment_motion,
    moments_loss,
    train_judge,
)
from se4lip.train.loop import LoopConfig, train
from se4lip.types import FaceTrack, InputError
from strict import strict_json

SMALL = JudgeConfig(width=24, embedding=16, mel_bands=16)
RECIPE = JudgeRecipe(
    SMALL,
    SpeechAugmentConfig(noise=0.0, babble=0.0, reverberation=0.0),
    loop=LoopConfig(steps=40, warmup_steps=5, log_every=10, learning_rate=5e-3),
    clips_per_step=4,
    frames=41,
)


def units(clips: int, frames: int, width: int = 64, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(clips, frames, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def network() -> Judge:
    torch.manual_seed(0)
    return Judge(SMALL)


@pytest.mark.parametrize("late", [-2, -1, 0, 1, 2])
def test_the_hidden_offset_of_a_clip_is_found_and_costs_nothing(late: int) -> None:
    lips = units(3, 40)
    speech = lips.roll(late, 1)  # the sound comes `late` frames after the lips
    spoken = torch.ones(3, 40, dtype=torch.bool)
    loss, found = moments_loss(network(), speech, lips, spoken, RECIPE)
    assert found.tolist() == pytest.approx([late] * 3, abs=0.01)
    honest, _ = moments_loss(network(), lips, lips, spoken, RECIPE)
    assert loss.item() == pytest.approx(honest.item(), abs=0.05)
    mismatched, _ = moments_loss(network(), units(3, 40, seed=9), lips, spoken, RECIPE)
    assert mismatched.item() > loss.item() + 1


def test_embeddings_that_say_nothing_cost_the_logarithm_of_the_choices() -> None:
    same = torch.ones(2, 30, 8) / 8**0.5
    loss, late = moments_loss(network(), same, same, torch.ones(2, 30, dtype=torch.bool), RECIPE)
    assert loss.item() == pytest.approx(math.log(30), rel=1e-5)
    assert late.abs().max() < 1e-3


def test_silence_is_asked_nothing() -> None:
    lips = units(1, 40)
    spoken = torch.ones(1, 40, dtype=torch.bool)
    spoken[:, 20:] = False
    speech = lips.clone()
    plain, _ = moments_loss(network(), speech, lips, spoken, RECIPE)
    # Rows of silence may say anything to one another.
    swapped = speech.clone()
    swapped[:, 20:] = speech[:, 20:].flip(1)
    again, _ = moments_loss(network(), swapped, lips, spoken, RECIPE)
    assert again.item() == pytest.approx(plain.item(), rel=1e-3)


def test_gradient_of_the_loss() -> None:
    fixed = dataclasses.replace(RECIPE, late_frames=0)
    module = network().double()
    spoken = torch.ones(2, 7, dtype=torch.bool)
    speech = units(2, 7, 4).double().requires_grad_()
    lips = units(2, 7, 4, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: moments_loss(module, a, b, spoken, fixed)[0], (speech, lips)
    )


def test_another_face_says_the_same_when_nothing_is_changed_and_nothing_when_all_is_dropped():
    motion = torch.randn(2, 9, MOTION_WIDTH, generator=torch.Generator().manual_seed(0))
    none = MotionAugmentConfig((1.0, 1.0), 0, 0, 0, 0, 0)
    generator = torch.Generator().manual_seed(1)
    torch.testing.assert_close(augment_motion(motion, none, generator), motion)
    gone = dataclasses.replace(none, drop=1.0)
    assert (augment_motion(motion, gone, generator) == 0).all()
    one, two = (
        augment_motion(motion, MotionAugmentConfig(), torch.Generator().manual_seed(2))
        for _ in range(2)
    )
    torch.testing.assert_close(one, two)
    assert (one - motion).abs().max() > 0.1


def opening_and_sound(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A mouth that opens with the loudness of a noise: sync that can be learned."""
    random = np.random.default_rng(seed)
    opening = random.random((frames, 1)).astype(np.float32)
    noise = random.standard_normal((frames, 640)).astype(np.float32)
    return opening, (noise * (0.03 + 0.2 * opening)).clip(-1, 1)


def talking_corpus(clips: int = 6, frames: int = 50) -> Corpus:
    opening, samples = opening_and_sound(clips * frames, 0)
    return Corpus(
        lips=torch.zeros(clips * frames, 0, 0, 3, dtype=torch.uint8),
        shown=torch.arange(clips * frames),
        contour=torch.from_numpy(np.repeat(3 * (opening - 0.5), MOTION_WIDTH, 1)),
        samples=torch.from_numpy((samples.ravel() * 32767).astype(np.int16)),
        silent=torch.zeros(clips * frames, dtype=torch.bool),
        first=torch.arange(clips) * frames,
        frames=torch.full((clips,), frames),
    )


def test_sync_that_is_there_is_learned(tmp_path) -> None:
    lines: list[str] = []
    task = JudgeTask(network(), RECIPE, talking_corpus(), [])
    train(task, RECIPE.loop, tmp_path, {}, report=lines.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]
    assert losses[-1] < 0.75 * losses[0]


def data_set(folder, clips: int = 12, frames: int = 50):
    sources = []
    for index in range(clips):
        name = f"clip{index:02}"
        opening, samples = opening_and_sound(frames, index)
        points = np.random.default_rng(0).uniform(0, 90, (1, 478, 3)).repeat(frames, 0)
        points[:, 14, 1] += 20 * opening[:, 0]
        track = FaceTrack(
            landmarks_px=points.astype(np.float32),
            blendshapes=np.repeat(opening, 52, 1),
            camera_from_face=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
            width_px=100,
            height_px=100,
        )
        lips = np.zeros((frames, 96, 96, 3), np.uint8)
        write_clip(folder, name, samples.ravel(), lips, track, {"source": f"{name}.mp4"})
        entry = (ClipEntry(name, 0, frames),)
        sources.append(SourceEntry(name, f"{name}.mp4", "../videos", 1, "0", entry))
    write_index(folder, Index({}, tuple(sources)))
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_the_command_trains_a_judge_that_may_not_judge_yet(tmp_path, capsys) -> None:
    data, out = data_set(tmp_path / "set"), tmp_path / "run"
    sizes = ["--model.width", "16", "--clips-per-step", "2", "--frames", "41"]
    command = ["train", "judge", str(data), "-o", str(out), "--loop.steps", "2", *sizes]
    assert cli.main(command) == 0
    made = out / "judge.safetensors"
    assert capsys.readouterr().out.strip() == str(made)
    assert load_judge(made).config.width == 16
    assert judge_gate(made).least_speech_s is None
    before = made.read_bytes()
    assert cli.main([*command, "--json"]) == 0  # goes on from its last step, and is the same
    assert made.read_bytes() == before
    told = strict_json(capsys.readouterr().out)
    assert told["path"] == str(made)
    assert (told["training"]["steps"], told["training"]["validation"]) == (2, {})


def test_speeds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(InputError, match=r"speeds are 1.18 to 0.85: give the slower one first"):
        dataclasses.replace(RECIPE, speeds=(1.18, 0.85))


def test_sound_reaches_to_the_end_of_every_stretch() -> None:
    """Of stretches that are not re-timed too, as those of the voices beneath are not."""
    recipe = dataclasses.replace(RECIPE, speeds=(0.6, 0.8))
    task = JudgeTask(Judge(recipe.model), recipe, talking_corpus(), [])
    generator = torch.Generator().manual_seed(0)
    whole = (1.0, 1.0)
    stretches = draw_stretches(task.corpus.frames, 8, recipe.frames, whole, generator)
    powers = task._powers(stretches)
    assert (powers.diff(dim=1).abs().amax(2) > 0).all()


def test_clips_that_validate_are_as_long_as_what_is_seen_at_once(tmp_path) -> None:
    sets = [data_set(tmp_path / "long", clips=2), data_set(tmp_path / "brief", 2, frames=25)]
    model = JudgeConfig(width=16, dilations=(1, 2, 4, 8))
    loop = dataclasses.replace(RECIPE.loop, steps=1, validate_every=1)
    recipe = dataclasses.replace(RECIPE, model=model, loop=loop, frames=41)
    train_judge(sets[:1], tmp_path / "run", recipe, validation=sets[1:], split="all")


def test_two_data_sets_train_together(tmp_path) -> None:
    sets = [data_set(tmp_path / name, clips=2) for name in ("a", "b")]
    loop = dataclasses.replace(RECIPE.loop, steps=1)
    made = train_judge(sets, tmp_path / "run", dataclasses.replace(RECIPE, loop=loop), split="all")
    assert judge_header(made).metadata["data"] == [["a", 2], ["b", 2]]


def test_a_split_of_nothing_is_told_as_such(tmp_path) -> None:
    data = data_set(tmp_path / "set", clips=3)
    with pytest.raises(InputError) as wrong:
        train_judge([data], tmp_path / "run", RECIPE, split="validation")
    assert str(wrong.value) == (
        f"data set {data} has no clip in split 'validation': prepare more recordings (of fewer "
        "than 10 none is kept out), or choose another split"
    )


def test_clips_too_short_to_look_at_are_refused(tmp_path) -> None:
    data = data_set(tmp_path / "set", frames=12)
    with pytest.raises(InputError) as wrong:
        train_judge([data], tmp_path / "run", RECIPE, split="train")
    assert str(wrong.value) == (
        "no clip of 16 frames or more to train on: prepare longer recordings"
    )
