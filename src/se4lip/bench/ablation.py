"""``se4lip bench ablation``: which encoder hears lips best, at an equal budget.

Each variant (`bench.variants`) learns the same task in as many steps from the same clips in the
same order: contrast of sound and lips within and across clips, and the linear read-out of the lip
contour, as the shipped encoder does. Two things are smaller than in its recipe, for all alike: the
lips are the contour alone, through one small network, and nothing is augmented (a front that learns
from samples could not be, in the power domain). So the figures rank variants; they are not the
shipped encoder's.

Judged on held-out clips: offsets (31 candidates, 5 and 15 frames), retrieval within the clip, and a
fast stand-in for a head: how much of the lips' shape a linear map tells from the frozen features.

By default one thing is changed at a time; ``--full`` crosses all fronts and nets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.spectrogram import log_power, power_spectrogram
from se4lip.audio.voice_activity import speech_frames
from se4lip.bench import pictures
from se4lip.bench.memory import Memory, memory_name
from se4lip.bench.record import as_list, circumstances, options, table, write_result
from se4lip.bench.variants import Front, Net, Variant, VariantEncoder
from se4lip.encoder.contrast import Contrast, ContrastConfig
from se4lip.face.contour import CONTOUR_WIDTH, LIPS, lip_contour
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.metrics.comparison import explained_variance, fit_ridge
from se4lip.metrics.sync import OffsetCounts, offset_accuracy
from se4lip.train.devices import chosen_device
from se4lip.train.loop import LoopConfig, train
from se4lip.train.split import clips_of, evenly
from se4lip.types import SAMPLES_PER_FRAME, InputError

_LIPS = 5  # frames of lips, t - 3 ... t + 1, whatever the window of the sound
_CENTRE = 1  # frames between a row's number and the middle of its lips
_FRONT_NAMES: tuple[Front, ...] = ("stft", "logmel", "mfcc", "raw")
_NET_NAMES: tuple[Net, ...] = ("gru", "lstm", "tcn", "transformer")
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class AblationConfig:
    """Attributes:
    steps: Of each variant and seed.
    clips: In a step.
    stride: Frames between the windows of a clip.
    seeds: Runs of each variant.
    train_clips: As many teach; all of the split by default.
    test_clips: As many are judged; all of the split by default.
    full: Cross all fronts with all nets, windows of 3, 5 and 7 frames, causal or not.
    """

    steps: int = 1500
    clips: int = 16
    stride: int = 4
    seeds: int = 2
    train_clips: int | None = None
    test_clips: int | None = None
    full: bool = False

    def quick(self) -> AblationConfig:
        return replace(self, steps=150, clips=8, seeds=1, train_clips=120, test_clips=40)

    @property
    def variants(self) -> list[Variant]:
        if self.full:
            return [
                Variant(*one)
                for one in itertools.product(_FRONT_NAMES, _NET_NAMES, (3, 5, 7), (False, True))
            ]
        shipped = Variant()
        return [
            shipped,
            *(replace(shipped, front=front) for front in _FRONT_NAMES[1:]),
            *(replace(shipped, net=net) for net in _NET_NAMES[1:]),
            *(replace(shipped, window_frames=frames) for frames in (3, 7)),
            replace(shipped, causal=True),
        ]


@dataclass(frozen=True)
class Heard:
    """A clip: its sound, its lips, and where somebody speaks."""

    samples: Float[Tensor, " S"]
    contour: Float[Tensor, "T 147"]
    speaking: Bool[Tensor, " T"]

    def __len__(self) -> int:
        return len(self.contour)


class Pair(nn.Module):
    """A variant of the speech encoder, and the lips' side, which is the same for all."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        # The lips' side first: with one seed it begins equal, whatever the variant draws.
        self.lips = nn.Sequential(
            nn.Linear(_LIPS * CONTOUR_WIDTH, 512), nn.GELU(), nn.Linear(512, 512)
        )
        self.read = nn.Linear(512, CONTOUR_WIDTH)
        self.contrast = Contrast(ContrastConfig())
        self.speech = VariantEncoder(variant)

    def embed_lips(self, contour: Float[Tensor, "*B T 147"]) -> Float[Tensor, "*B T-4 512"]:
        """Of every whole window of five frames; row 0 belongs to frame 3."""
        windows = contour.unfold(-2, _LIPS, 1).flatten(-2)
        return functional.normalize(self.lips(windows), dim=-1)


class AblationTask:
    """One step: whole clips, every ``stride``-th window of them from a random first one on."""

    def __init__(self, module: Pair, clips: Sequence[Heard], config: AblationConfig) -> None:
        self.module, self.clips, self.config = module, clips, config

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        chosen = [self.clips[i] for i in torch.randint(len(self.clips), (config.clips,))]
        frames = min(map(len, chosen)) - 1
        first = _LIPS - 2 + int(torch.randint(config.stride, (1,)))
        samples = torch.stack([_cut(one.samples, frames + 1) for one in chosen])
        contour = torch.stack([one.contour[:frames] for one in chosen])
        silent = torch.stack([~one.speaking[:frames] for one in chosen])
        speech = self.module.speech(samples, frames - 1, config.stride, first)
        lips = self.module.embed_lips(contour)[:, first - 3 :: config.stride]
        count = min(speech.shape[1], lips.shape[1])
        speech, lips = speech[:, :count], lips[:, :count]
        quiet = silent[:, first - _CENTRE :: config.stride][:, :count]
        whole = torch.ones_like(quiet)
        contrast = self.module.contrast(speech, lips, whole, quiet, config.stride)
        middle = contour[:, first - _CENTRE :: config.stride][:, :count]
        auxiliary = functional.smooth_l1_loss(self.module.read(speech) * 10, middle)
        return contrast + 0.2 * auxiliary, {"contrast": contrast.item()}

    def validate(self, module: Pair) -> dict[str, float]:
        return {}


def ablation(
    dataset: Path,
    work: Path,
    results: Path,
    config: AblationConfig,
    on_progress: Callable[[float], None] = lambda share: None,
    report: Callable[[str], None] = print,
) -> Path:
    """Train and judge every variant, write ``ablation.md``; returns the page.

    Raises:
        InputError: a data set of which nothing is held out.
    """
    data, memory = open_dataset(dataset), Memory(work)
    names = {
        "train": evenly(clips_of(data, "train"), config.train_clips),
        "validation": evenly(clips_of(data, "validation"), 20),
        "test": evenly(clips_of(data, "test"), config.test_clips),
    }
    if not all(names.values()):
        raise InputError(
            f"{data.path} has {len(data.recordings)} recordings, of which none are held out: "
            "prepare ten or more"
        )
    clips = {split: [_heard(data, name) for name in chosen] for split, chosen in names.items()}
    rows = []
    todo = [(variant, seed) for variant in config.variants for seed in range(config.seeds)]
    for i, (variant, seed) in enumerate(todo):
        key = [
            *("ablation 1", asdict(variant), seed, config.steps, config.clips, config.stride),
            *(data.name, names["train"], names["test"]),
        ]
        folder = work / "ablation" / memory_name(key, variant.name.replace(", ", "-"))

        def measure(variant: Variant = variant, seed: int = seed, folder: Path = folder) -> Any:
            return _measure(variant, seed, folder, clips, config, report)

        rows.append({"variant": variant.name, "seed": seed, **memory.figures(measure, *key)})
        shown = ", ".join(f"{k} {v:.3f}" for k, v in rows[-1]["figures"].items())
        report(f"{variant.name}, seed {seed}: {shown}")
        on_progress((i + 1) / len(todo))
    return _write(results, data, names, config, rows)


def _measure(
    variant: Variant,
    seed: int,
    folder: Path,
    clips: dict[str, list[Heard]],
    config: AblationConfig,
    report: Callable[[str], None],
) -> dict[str, Any]:
    torch.manual_seed(seed)
    pair = Pair(variant)
    speech = pair.speech
    if speech.front is None:
        _set_statistics(speech, clips["train"])
    loop = LoopConfig(
        steps=config.steps,
        learning_rate=1e-3,
        warmup_steps=max(1, config.steps // 20),
        average_decay=0.99,
        log_every=max(1, config.steps // 5),
        validate_every=config.steps,
        seed=seed,
    )
    identity = {"variant": asdict(variant), "clips": config.clips}
    task = AblationTask(pair, clips["train"], config)
    pair = train(task, loop, folder, identity, report=report).eval()
    return {
        "numbers": sum(p.numel() for p in pair.speech.parameters()),
        "figures": _judge(pair, clips),
    }


@torch.inference_mode()
def _judge(pair: Pair, clips: dict[str, list[Heard]]) -> dict[str, float]:
    offsets = {5: OffsetCounts(), 15: OffsetCounts()}
    found, asked = 0, 0
    for one in clips["test"]:
        speech, lips = _embedded(pair, one)
        for context in offsets:
            offsets[context] += offset_accuracy(speech, lips, one.speaking, context_frames=context)
        spoken = torch.nonzero(one.speaking[2:-2]).flatten() + 2
        nearest = (speech[spoken] @ lips[2:-2].mT).argmax(1) + 2
        found += int(((nearest - spoken).abs() <= 1).sum())
        asked += len(spoken)
    x, y = {}, {}
    for split, some in clips.items():
        some = some[:60]
        x[split] = np.concatenate([_embedded(pair, one)[0].double().numpy() for one in some])
        y[split] = np.concatenate(
            [one.contour[:, : 3 * len(LIPS)].double().numpy() for one in some]
        )
    maps = fit_ridge(x["train"], y["train"], _PENALTIES)
    best = max(maps, key=lambda m: explained_variance(m(x["validation"]), y["validation"]))
    return {
        "offset_5": offsets[5].accuracy,
        "offset_15": offsets[15].accuracy,
        "retrieval": found / max(1, asked),
        "lips_r2": explained_variance(best(x["test"]), y["test"]),
    }


def _embedded(pair: Pair, one: Heard) -> tuple[Float[Tensor, "T 512"], Float[Tensor, "T 512"]]:
    """Rows about the window centred on each frame; lips are zero where it is not whole."""
    frames = len(one)
    speech = pair.speech(one.samples[None], frames + _CENTRE)[0, _CENTRE:]
    lips = torch.zeros_like(speech)
    lips[2 : frames - 2] = pair.embed_lips(one.contour)
    return speech, lips


def _set_statistics(speech: VariantEncoder, clips: Sequence[Heard]) -> None:
    """Mean and spread of the spectrum, which the shipped encoder takes from its training speech."""
    encoder = speech.shipped
    power = torch.cat(
        [power_spectrogram(one.samples, encoder.config.spectrogram) for one in clips[:64]]
    )
    columns = log_power(power[power.mean(-1) > 1e-7], encoder.config.spectrogram)
    encoder.mean.copy_(columns.mean(0))
    encoder.scale.copy_(columns.std(0).clamp_min(0.05))


def _heard(data: Dataset, name: str) -> Heard:
    clip = data.clip(name)
    contour = torch.from_numpy(lip_contour(clip.track))
    speaking = torch.zeros(len(contour), dtype=torch.bool)
    active = torch.from_numpy(speech_frames(clip.speech.samples))[: len(contour)]
    speaking[: len(active)] = active
    return Heard(torch.from_numpy(clip.speech.samples), contour, speaking)


def _cut(samples: Float[Tensor, " S"], frames: int) -> Float[Tensor, " S"]:
    wanted = frames * SAMPLES_PER_FRAME
    return functional.pad(samples[:wanted], (0, max(0, wanted - len(samples))))


# --- the page -------------------------------------------------------------------------------------

_COLUMNS = {
    "offset_5": "offset, 5 frames",
    "offset_15": "offset, 15 frames",
    "retrieval": "retrieval",
    "lips_r2": "R² of lips",
}
_TEXT = """# Which encoder hears lips best

`se4lip bench ablation` on {dataset}: {steps} steps of {clips} clips for each variant, {train}
training clips, {seeds} seed(s), {test} held-out clips. One thing differs from the first row, which
is the shipped architecture. Contours stand for lips and nothing is augmented
(`src/se4lip/bench/ablation.py`), so these figures rank variants and are not the shipped encoder's.

{table}

± is the spread over seeds. The offset is right within one frame of 31; retrieval finds the frame's
own lips (± 1) among all of the clip; R² is what a linear map of the frozen feature tells of the
shape of the lips.

![Offsets, retrieval and lip shape by variant](ablation-bars.png)

## How it was made

{circumstances}
"""


def _write(
    results: Path,
    data: Dataset,
    names: dict[str, list[str]],
    config: AblationConfig,
    rows: list[dict[str, Any]],
) -> Path:
    def of(variant: str, key: str) -> np.ndarray:
        return np.array([r["figures"][key] for r in rows if r["variant"] == variant])

    def cell(values: np.ndarray) -> str:
        spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
        return f"{values.mean():.3f}{spread}"

    variants = list(dict.fromkeys(row["variant"] for row in rows))
    numbers = {row["variant"]: f"{row['numbers'] / 1e6:.2f} M" for row in rows}
    lines = [[v, numbers[v], *(cell(of(v, key)) for key in _COLUMNS)] for v in variants]
    made = circumstances(
        chosen_device("cpu"),
        seeds=", ".join(map(str, range(config.seeds))),
        options=options(config),
    )
    text = _TEXT.format(
        dataset=data.name,
        steps=config.steps,
        clips=config.clips,
        train=len(names["train"]),
        test=len(names["test"]),
        seeds=config.seeds,
        table=table(["variant", "numbers", *_COLUMNS.values()], lines),
        circumstances=as_list(made),
    )
    groups = {
        label: [(of(v, key).mean(), of(v, key).min(), of(v, key).max()) for v in variants]
        for key, label in _COLUMNS.items()
    }
    plot = pictures.bars(variants, groups, f"{data.name}, held-out clips")
    plain = {"config": asdict(config), "circumstances": made, "rows": rows}
    return write_result(results, "ablation", text, plain, {"bars": plot})
