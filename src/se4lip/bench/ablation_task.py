"""How the ablation teaches one variant: contrast of sound and lips, and a read-out of the contour.

The shipped recipe with two things smaller, for all variants alike: the lips are the contour alone,
through one small network, and nothing is augmented (a front that learns from samples could not be,
in the power domain). So figures rank variants; they are not the shipped encoder's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.timebase import COLUMNS_PER_FRAME
from se4lip.audio.voice_activity import speech_in_frames
from se4lip.bench.memory import memory_name
from se4lip.encoder.contrast import Contrast, ContrastConfig
from se4lip.encoder.speech import SpeechEncoderConfig
from se4lip.face.contour import CONTOUR_WIDTH, lip_contour
from se4lip.features.variant import VARIANT_KIND, Variant, VariantEncoder, weights_in
from se4lip.io.config import from_plain, to_plain
from se4lip.io.dataset import Dataset
from se4lip.io.weights import fitting, load_weights, save_weights
from se4lip.train.devices import Precision, arithmetic
from se4lip.train.loop import CHECKPOINT, LoopConfig, train
from se4lip.types import SAMPLES_PER_FRAME

VERSION = 1  # raise it with anything that changes what is learned or measured
LIPS = 5  # frames of lips, t - 3 ... t + 1, whatever the window of the sound
CENTRE = 1  # frames between a row's number and the middle of its lips
LEAST_FRAMES = 25  # of a clip that teaches: a batch is cut to its shortest
_EMBEDDING = SpeechEncoderConfig().embedding


@dataclass(frozen=True)
class Budget:
    """What every variant of a stage is given. ``stride`` are frames between a clip's windows."""

    steps: int
    clips: int = 16
    stride: int = 4
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Heard:
    """A clip: its sound, its lips, and where somebody speaks."""

    samples: Float[Tensor, " S"]
    contour: Float[Tensor, "T 147"]
    speaking: Bool[Tensor, " T"]

    def __len__(self) -> int:
        return len(self.contour)

    def to(self, device: torch.device) -> Heard:
        return Heard(self.samples.to(device), self.contour.to(device), self.speaking.to(device))


def heard(data: Dataset, name: str) -> Heard:
    clip = data.clip(name)
    contour = torch.from_numpy(lip_contour(clip.track))
    speaking = torch.from_numpy(speech_in_frames(clip.speech.samples, len(contour)))
    return Heard(torch.from_numpy(clip.speech.samples), contour, speaking)


def digest(clips: Sequence[Heard]) -> str:
    """Of all that is heard and seen in ``clips``, the offset between sound and lips included."""
    found = hashlib.sha256()
    for one in clips:
        for part in (one.samples, one.contour, one.speaking):
            found.update(f"{part.dtype} {tuple(part.shape)}".encode())
            found.update(part.cpu().contiguous().numpy().data)
    return found.hexdigest()[:32]


class Pair(nn.Module):
    """A variant of the speech encoder, and the lips' side, which is the same for all."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        # The lips' side first: with one seed it begins equal, whatever the variant draws.
        self.lips = nn.Sequential(
            nn.Linear(LIPS * CONTOUR_WIDTH, 512), nn.GELU(), nn.Linear(512, _EMBEDDING)
        )
        self.read = nn.Linear(_EMBEDDING, CONTOUR_WIDTH)
        self.contrast = Contrast(ContrastConfig())
        self.speech = VariantEncoder(variant)

    def embed_lips(self, contour: Float[Tensor, "*B T 147"]) -> Float[Tensor, "*B T-4 512"]:
        """Of every whole window of five frames; row 0 belongs to frame 3."""
        windows = contour.unfold(-2, LIPS, 1).mT.flatten(-2)
        return functional.normalize(self.lips(windows).float(), dim=-1)


class AblationTask:
    """One step: whole clips, every ``stride``-th window of them from a random first one on.

    ``module`` must know its training speech already (`VariantEncoder.set_statistics`).
    """

    def __init__(
        self,
        module: Pair,
        clips: Sequence[Heard],
        budget: Budget,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.module, self.clips, self.budget, self.on_step = module, clips, budget, on_step
        self.steps, self.windows = 0, 0  # run and seen by this process
        self._columns: dict[int, Tensor] = {}

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        budget = self.budget
        chosen = torch.randperm(len(self.clips))[: budget.clips].tolist()
        clips = [self.clips[i] for i in chosen]
        frames = min(map(len, clips))
        first = LIPS - 2 + int(torch.randint(budget.stride, (1,)))
        columns = self._heard(chosen, frames - 1)[:, first * COLUMNS_PER_FRAME :]
        contour = torch.stack([one.contour[:frames] for one in clips])
        silent = torch.stack([~one.speaking[:frames] for one in clips])
        speech = self.module.speech.embed(columns, budget.stride)
        lips = self.module.embed_lips(contour)[:, first - 3 :: budget.stride]
        with torch.autocast(speech.device.type, enabled=False):
            middles = slice(first - CENTRE, frames - 1 - CENTRE, budget.stride)
            quiet, middle = silent[:, middles], contour[:, middles]
            whole = torch.ones_like(quiet)
            moments = torch.arange(first, frames - 1, budget.stride).expand(quiet.shape)
            contrast = self.module.contrast(speech, lips, whole, quiet, moments)
            auxiliary = functional.smooth_l1_loss(self.module.read(speech) * 10, middle)
        self.steps += 1
        self.windows += quiet.numel()
        self.on_step(step)
        return contrast + 0.2 * auxiliary, {}

    def _heard(self, chosen: Sequence[int], frames: int) -> Float[Tensor, "B L C"]:
        """Columns behind the first ``frames`` frames. Those of a front that does not learn are the
        same at every step, and are kept (in half precision: there are many)."""
        speech = self.module.speech
        if speech.front.learns:
            samples = [_cut(self.clips[i].samples, frames + 1) for i in chosen]
            return speech.columns(torch.stack(samples), frames)
        for i in chosen:
            if i not in self._columns:
                clip = self.clips[i]
                self._columns[i] = speech.columns(clip.samples[None], len(clip) - 1)[0].half()
        length = (frames - 1) * COLUMNS_PER_FRAME + speech.window_columns
        return torch.stack([self._columns[i][:length].float() for i in chosen])

    def validate(self, module: Pair) -> dict[str, float]:
        return {}


def _cut(samples: Float[Tensor, " S"], frames: int) -> Float[Tensor, " S"]:
    wanted = frames * SAMPLES_PER_FRAME
    return functional.pad(samples[:wanted], (0, max(0, wanted - len(samples))))


def teach(
    variant: Variant,
    seed: int,
    budget: Budget,
    clips: Sequence[Heard],
    clips_digest: str,
    work: Path,
    precision: Precision = "auto",
    on_step: Callable[[int], None] = lambda step: None,
    report: Callable[[str], None] = print,
) -> tuple[Path, bool]:
    """Train a variant, or find that it was; returns its file, and whether it was found.

    Stopped, it goes on from its last checkpoint. Everything that decides what it learns is in its
    folder's name, so that other data, another budget or another ``VERSION`` are another run.
    """
    device = clips[0].samples.device
    number = arithmetic(precision, device)
    torch.manual_seed(seed)
    pair = Pair(variant)
    identity: dict[str, Any] = {
        "version": VERSION,
        "variant": to_plain(pair.speech.variant),
        "budget": to_plain(budget),
        "seed": seed,
        "clips": clips_digest,
        "arithmetic": str(number or torch.float32),
    }
    slug = pair.speech.variant.name.replace(", ", "-").replace(" ", "-")
    name = f"{slug}-{budget.steps}-steps-seed-{seed}"
    folder = work / "ablation" / memory_name([identity], name)
    file = folder / "variant.safetensors"
    if file.is_file():
        return file, True
    pair.to(device)
    pair.speech.set_statistics(one.samples for one in clips[:64])
    loop = LoopConfig(
        steps=budget.steps,
        learning_rate=budget.learning_rate,
        warmup_steps=max(1, budget.steps // 20),
        average_decay=0.99,
        log_every=max(1, budget.steps // 2),
        validate_every=budget.steps,
        seed=seed,
    )
    task = AblationTask(pair, clips, budget, on_step)
    began = time.process_time()

    def told(line: str) -> None:
        if not line.startswith("validation"):  # the task has none of its own
            report(f"{name}: {line}")

    pair = train(task, loop, folder, identity, number, told)
    # Of a run that went on after a stop, what this process did stands for all of it.
    share = budget.steps / max(1, task.steps)
    made = {
        "name": f"{variant.name}, {budget.steps} steps, seed {seed}",
        "numbers": weights_in(pair.speech),
        "windows": round(task.windows * share),
        "seconds": (time.process_time() - began) * share if task.steps else None,
    }
    config, tensors = to_plain(pair.speech.variant), pair.state_dict()
    save_weights(file, tensors, kind=VARIANT_KIND, config=config, metadata=identity | made)
    (folder / f"{CHECKPOINT}.safetensors").unlink(missing_ok=True)
    return file, False


def load_pair(file: Path, device: torch.device) -> tuple[Pair, dict[str, Any], str]:
    """A taught pair, what its file says of its making, and the checksum of its weights."""
    tensors, header = load_weights(file, kind=VARIANT_KIND)
    with fitting(file, tensors):
        pair = Pair(from_plain(Variant, header.config))
        pair.load_state_dict(tensors)
    return pair.eval().requires_grad_(False).to(device), header.metadata, header.sha256
