"""Training the second sync judge: ``se4lip train judge``.

One question, asked everywhere in a clip: which moment of the sound belongs to these lips? A clip's
own offset is not trusted: single recordings of GRID s1 have their sound up to two frames early or
late, so the offset is a hidden number of the clip, summed over with the judge's own belief in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from se4lip.artifacts.judge import save_judge
from se4lip.audio.augment import SpeechAugmentConfig, augment_speech, draw_speech
from se4lip.audio.voice_activity import speech_frames, speech_in_frames
from se4lip.io.config import to_plain
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import run_folder
from se4lip.metrics.judge import (
    COLUMNS_PER_FRAME,
    FFT_SAMPLES,
    LEAD_COLUMNS,
    Judge,
    JudgeConfig,
    column_power,
)
from se4lip.metrics.judge_lips import face_motion
from se4lip.metrics.sync import OffsetCounts, offset_accuracy
from se4lip.train.checkpoint import check_begun
from se4lip.train.corpus import (
    Corpus,
    Stretches,
    check_speeds,
    columns_at,
    cut_lips,
    cut_speech,
    draw_stretches,
)
from se4lip.train.devices import machine
from se4lip.train.loop import LoopConfig, step_seed, train
from se4lip.train.split import Split, check_split, clips_of, digest, open_datasets
from se4lip.types import SAMPLES_PER_FRAME, Clip, InputError, within


@dataclass(frozen=True)
class MotionAugmentConfig:
    """Other faces out of one: how distances on the mesh would move on somebody else."""

    gain: tuple[float, float] = (0.5, 2.0)  # of the whole face, log-uniform
    each_gain: float = 0.4  # spread of the logarithm of every number's own gain
    mixing: float = 0.3  # spread of what each number takes over from the others, all together
    tremble: float = 0.15  # spread of a tracker's noise, in units of speech
    sway: float = 0.5  # spread of a slow drift, as of a turning head
    drop: float = 0.25  # probability that a number is missing

    def __post_init__(self) -> None:
        within(self, gain=(1e-3, 1e3), each_gain=(0, 10), mixing=(0, 10), tremble=(0, 10))
        within(self, sway=(0, 10), drop=(0, 1))


@dataclass(frozen=True)
class JudgeRecipe:
    """Everything that decides what comes out of a training run, but for the data."""

    model: JudgeConfig = field(default_factory=JudgeConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
    motion_augment: MotionAugmentConfig = field(default_factory=MotionAugmentConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=1000,
            learning_rate=2e-3,
            warmup_steps=50,
            average_decay=0.995,
            validate_every=250,
            seed=7_001,
        )
    )
    clips_per_step: int = 12
    faces_per_clip: int = 2  # sound is dear to change and lips are not: each is said by so many
    frames: int = 61
    speeds: tuple[float, float] = (0.85, 1.18)
    late_frames: int = 2  # how far a recording's own offset may lie from 0
    late_spread: float = 0.8  # of these offsets, in frames

    def __post_init__(self) -> None:
        within(self, clips_per_step=(1, math.inf), faces_per_clip=(1, math.inf))
        within(self, speeds=(0.1, 10), late_frames=(0, 15), late_spread=(1e-3, 1e3))
        least = self.model.window_frames + self.late_frames
        within(self, frames=(least, math.inf))
        check_speeds(self.speeds)


class JudgeTask:
    """One step: stretches of clips, made into other people, and every moment told from the rest."""

    def __init__(
        self, module: Judge, recipe: JudgeRecipe, corpus: Corpus, probes: Sequence[Probe]
    ) -> None:
        self.module, self.recipe, self.corpus, self.probes = module, recipe, corpus, probes

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        recipe, model = self.recipe, self.module
        generator = torch.Generator().manual_seed(step_seed(recipe.loop.seed, step))
        batch, frames = recipe.clips_per_step, recipe.frames
        stretches = draw_stretches(self.corpus.frames, batch, frames, recipe.speeds, generator)
        others = draw_stretches(self.corpus.frames, batch, frames, (1.0, 1.0), generator)
        draws = draw_speech(batch, FFT_SAMPLES // 2 + 1, recipe.speech_augment, generator)
        _, motion, silent, valid = cut_lips(self.corpus, stretches, frames)
        faces = recipe.faces_per_clip
        motion = augment_motion(motion.repeat(faces, 1, 1), recipe.motion_augment, generator)
        power = augment_speech(self._powers(stretches), self._powers(others), draws)
        speech = model.embed_sound(model.heard(power)).repeat(faces, 1, 1)
        lips = model.embed_lips(motion)
        window, half = model.config.window_frames, model.config.window_frames // 2
        spoken = ~silent[:, half : frames - half] & valid[:, window - 1 :]
        loss, late = moments_loss(model, speech, lips, spoken.repeat(faces, 1), recipe)
        figures = {"late": late.abs().mean().item()} if step % recipe.loop.log_every == 0 else {}
        return loss, figures

    def _powers(self, stretches: Stretches) -> Float[Tensor, "B L F"]:
        columns = COLUMNS_PER_FRAME * self.recipe.frames
        fastest = max(1.0, *self.recipe.speeds)  # speech of others, beneath it, is as it was
        samples, where = cut_speech(self.corpus, stretches, LEAD_COLUMNS, columns, fastest)
        return columns_at(column_power(samples), where)

    def validate(self, module: Judge) -> dict[str, float]:
        counts: dict[str, OffsetCounts] = {}
        for one in self.probes:
            speech, lips = module.embed_clip(one.samples, one.motion)
            counts[one.dataset] = counts.get(one.dataset, OffsetCounts()) + offset_accuracy(
                speech,
                lips,
                one.speaking,
                context_frames=module.config.window_frames + 2,
                window_frames=module.config.window_frames,
            )
        return {name: count.accuracy for name, count in counts.items()}


@dataclass(frozen=True)
class Probe:
    """A clip ready to be judged."""

    dataset: str
    samples: Float[Tensor, " S"]
    motion: Float[Tensor, "T 59"]
    speaking: Bool[Tensor, " T"]

    @staticmethod
    def of(clip: Clip, dataset: str) -> Probe:
        speaking = torch.from_numpy(speech_in_frames(clip.speech.samples, len(clip)))
        motion = face_motion(clip.track.landmarks_px, clip.track.blendshapes)
        samples = torch.from_numpy(clip.speech.samples)
        return Probe(dataset, samples, torch.from_numpy(motion), speaking)


def moments_loss(
    model: Judge,
    speech: Float[Tensor, "B T D"],
    lips: Float[Tensor, "B T D"],
    spoken: Bool[Tensor, "B T"],
    recipe: JudgeRecipe,
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
    """Cross entropy of the right moment among those of the same clip, in both directions.

    The right moment lies a clip's own offset away, -late_frames to late_frames, which is hidden:
    each counts by how well it explains the clip and by a normal prior about 0 (one step of
    expectation maximisation). Also returned: the expected offset of each clip.
    """
    logits = model.log_scale.exp().clamp(max=30) * speech @ lips.transpose(1, 2)
    explained = (logits.log_softmax(2) + logits.log_softmax(1)) / 2  # [B, sound, lips]
    shifts = torch.arange(-recipe.late_frames, recipe.late_frames + 1)
    fits = []
    for shift in shifts.tolist():
        # Sound of row t + shift is what the lips of column t say.
        along = explained.diagonal(-shift, 1, 2)
        rows = spoken[:, max(0, shift) : spoken.shape[1] + min(0, shift)]
        fits.append((along * rows).sum(1) / rows.sum(1).clamp_min(1))
    fit = torch.stack(fits, 1)
    # Neighbouring windows overlap: a clip counts as many times as whole windows fit into it.
    independent = spoken.sum(1, keepdim=True) / model.config.window_frames
    prior = -0.5 * (shifts / recipe.late_spread) ** 2
    belief = (2 * independent * fit.detach() + prior).softmax(1)
    return -(belief * fit).sum(1).mean(), (belief * shifts).sum(1)


def augment_motion(
    motion: Float[Tensor, "B T 59"], config: MotionAugmentConfig, generator: torch.Generator
) -> Float[Tensor, "B T 59"]:
    """The same words on another face, held otherwise, seen by a worse tracker."""
    batch, frames, width = motion.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    low, high = np.log(config.gain[0]), np.log(config.gain[1])
    gain = torch.exp(low + (high - low) * torch.rand(batch, 1, 1, generator=generator))
    gain = gain * torch.exp(config.each_gain * normal(batch, 1, width))
    mixing = config.mixing * normal(batch, width, width) / width**0.5
    motion = gain * (motion + motion @ mixing)
    # Head motion moves many distances together, slowly; the tracker's noise does it at once.
    slow = torch.cumsum(normal(batch, frames, 3), 1) / frames**0.5
    motion = motion + config.sway * (slow - slow.mean(1, keepdim=True)) @ normal(batch, 3, width)
    common = normal(batch, frames, 6) @ normal(batch, 6, width) / 6**0.5
    strength = config.tremble * torch.rand(batch, 1, 1, generator=generator) * 2
    motion = motion + strength * (common + 0.5 * normal(batch, frames, width))
    kept = torch.rand(batch, 1, width, generator=generator) >= config.drop
    return motion * kept


def corpus_of(clips: Iterable[Clip], shortest: int) -> Corpus:
    """A ``Corpus`` whose contour is the judge's view of the face, and without pictures."""
    motion, samples, silent, frames = [], [], [], []
    for clip in clips:
        length = len(clip)
        if length < shortest:
            continue
        sound = np.zeros(length * SAMPLES_PER_FRAME, np.float32)
        given = clip.speech.samples[: len(sound)]
        sound[: len(given)] = given
        view = face_motion(clip.track.landmarks_px, clip.track.blendshapes)
        motion.append(torch.from_numpy(view))
        samples.append(torch.from_numpy((sound * 32767).astype(np.int16)))
        silent.append(torch.from_numpy(~speech_frames(sound)))
        frames.append(length)
    if not frames:
        raise InputError(
            f"no clip of {shortest} frames or more to train on: prepare longer recordings"
        )
    counts = torch.tensor(frames)
    return Corpus(
        lips=torch.zeros(sum(frames), 0, 0, 3, dtype=torch.uint8),
        shown=torch.arange(sum(frames)),
        contour=torch.cat(motion),
        samples=torch.cat(samples),
        silent=torch.cat(silent),
        first=torch.cumsum(counts, 0) - counts,
        frames=counts,
    )


def train_judge(
    datasets: Sequence[Path],
    out: Path,
    recipe: JudgeRecipe,
    split: Split = "validation",
    validation: Sequence[Path] = (),
    name: str = "judge",
) -> Path:
    """Train on ``split`` of the prepared ``datasets`` and write ``out/judge.safetensors``.

    A run that was interrupted goes on from ``out/checkpoint.safetensors`` if nothing else changed.
    ``validation`` data sets (all their clips) are looked at as training goes. The encoder trains on
    the split ``train``: the judge's default is another, so that they have no clip in common.

    Raises:
        InputError: no data, or such as cannot be read, no clip long enough, a run of another
            configuration.
    """
    run_folder(out)
    asked = {"recipe": to_plain(recipe), "split": split}
    check_begun(out, asked)
    torch.manual_seed(recipe.loop.seed)
    sets = open_datasets(datasets)
    for data in sets:
        check_split(data, split)
    shortest = recipe.model.window_frames + recipe.late_frames + 1
    corpus = corpus_of((data.clip(n) for data in sets for n in clips_of(data, split)), shortest)
    seen_at_once = recipe.model.window_frames
    probes = [one for path in validation for one in _probes(open_dataset(path), seen_at_once)]
    identity = {
        **asked,
        "data": [[data.name, len(clips_of(data, split))] for data in sets],
        "clips": [digest(data, split) for data in sets],
    }
    task = JudgeTask(Judge(recipe.model), recipe, corpus, probes)
    trained = train(task, recipe.loop, out, identity)
    metadata = {
        "name": name,
        **identity,
        "machine": machine(torch.device("cpu")),
    }
    save_judge(out / "judge.safetensors", trained, metadata)
    return out / "judge.safetensors"


def _probes(data: Dataset, least_frames: int, most: int = 150) -> list[Probe]:
    names = data.names[:: max(1, -(-len(data.names) // most))]
    probes = (Probe.of(data.clip(name), data.name) for name in names)
    return [probe for probe in probes if len(probe.motion) >= max(21, least_frames)]
