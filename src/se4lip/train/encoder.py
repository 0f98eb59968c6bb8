"""Training the two encoders against each other: ``se4lip train encoder``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.nn import functional

from se4lip.artifacts.encoder import (
    FEATURES_OF,
    encoder_header,
    encoder_identity,
    load_encoder,
    save_encoder,
)
from se4lip.audio.augment import SpeechAugmentConfig, augment_speech, draw_speech
from se4lip.audio.spectrogram import log_power, power_spectrogram
from se4lip.audio.timebase import COLUMNS_PER_FRAME
from se4lip.encoder.lips import standardize
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.face.augment import LipAugmentConfig, augment_contour, augment_pictures, draw_lips
from se4lip.io.config import to_plain
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import run_folder
from se4lip.train.checkpoint import check_begun
from se4lip.train.corpus import (
    Corpus,
    Stretches,
    check_speeds,
    columns_at,
    cut_lips,
    cut_speech,
    draw_stretches,
    lead_frames,
)
from se4lip.train.devices import (
    Precision,
    arithmetic,
    chosen_device,
    gathered,
    is_chief,
    machine,
    processes,
)
from se4lip.train.loop import LoopConfig, step_seed, train
from se4lip.train.split import Split, check_split, clips_of, digest, open_datasets
from se4lip.train.validation import Probe, probe, probes_of
from se4lip.types import FRAME_RATE_HZ, InputError, within


@dataclass(frozen=True)
class EncoderRecipe:
    """Everything that decides what comes out of a training run, but for the data."""

    model: SE4LipConfig = field(default_factory=SE4LipConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
    lip_augment: LipAugmentConfig = field(default_factory=LipAugmentConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    clips_per_step: int = 16
    windows_per_clip: int = 20
    window_stride: int = 2  # frames; neighbours are no negatives and would be computed in vain
    speeds: tuple[float, float] = (0.85, 1.18)
    context_s: float = 1.0  # sound before the stretch, from which the channel is known
    validation_clips: int = 100  # of each data set, evenly spread
    auxiliary: float = 0.2  # weight of reading lip shape from the speech embedding
    # Only the lip encoder learns: features stay to the bit, and heads that hear them go on hearing.
    hold_speech: bool = False
    hold_lips: bool = False  # only the speech encoder learns
    precision: Precision = "auto"  # of matrix products; auto is bfloat16 where that is faster

    def __post_init__(self) -> None:
        within(self, clips_per_step=(1, math.inf), windows_per_clip=(1, math.inf))
        within(self, window_stride=(1, math.inf), speeds=(0.1, 10), context_s=(0, 3600))
        check_speeds(self.speeds)
        within(self, validation_clips=(1, math.inf), auxiliary=(0, 1e6))
        if self.hold_speech and self.hold_lips:
            raise InputError(
                "--hold-speech and --hold-lips were both given, and one of the two must learn: "
                "leave one of them out"
            )


class EncoderTask:
    """One step: stretches of clips, made into other people, embedded and contrasted."""

    def __init__(
        self, module: SE4Lip, recipe: EncoderRecipe, corpus: Corpus, probes: dict[str, list[Probe]]
    ) -> None:
        self.module = module
        self.recipe = recipe
        self.device = next(module.parameters()).device
        self.corpus = corpus.to(self.device)
        self.clip_frames = corpus.frames.cpu()
        self.probes = probes
        held: list[nn.Module] = []
        if recipe.hold_speech:
            held += [module.speech, module.read_contour]
        if recipe.hold_lips:
            held += [module.lips]
        for part in held:
            part.eval().requires_grad_(False)
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.world = distributed.get_world_size() if distributed.is_initialized() else 1
        if recipe.clips_per_step % self.world:
            raise InputError(
                f"{recipe.clips_per_step} clips a step do not share out over {self.world} "
                "processes: give --clips-per-step a multiple of that"
            )

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        recipe, model = self.recipe, self.module
        speech_config, window = recipe.model.speech, recipe.model.lip_window
        # Every process draws the whole batch and takes its share: the draws do not depend on the
        # split.
        generator = torch.Generator().manual_seed(step_seed(recipe.loop.seed, step))
        batch, share = recipe.clips_per_step, recipe.clips_per_step // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        frames = recipe.window_stride * (recipe.windows_per_clip - 1) + window.frames
        stretches = draw_stretches(self.clip_frames, batch, frames, recipe.speeds, generator)
        others = draw_stretches(self.clip_frames, batch, frames, (1.0, 1.0), generator)
        speech_draws = draw_speech(
            batch, speech_config.spectrogram.bins, recipe.speech_augment, generator
        )
        contour_width = self.corpus.contour.shape[1]
        lip_draws = draw_lips(batch, frames, contour_width, recipe.lip_augment, generator)
        speech_draws = speech_draws[mine].to(self.device)
        lip_draws = lip_draws[mine].to(self.device)

        with torch.autocast(self.device.type, enabled=False):
            lips, contour, silent, valid = cut_lips(self.corpus, stretches[mine], frames)
            # A clip of contours alone has blank pictures, of which nothing can be learned.
            opening = lips[:, 0].flatten(1)
            seen = opening.amax(1) > opening.amin(1)
            tracked = contour.flatten(1).abs().amax(1) > 0  # pictures alone have contours of zeros
            pictures = standardize(augment_pictures(lips, recipe.model.lips.picture_px, lip_draws))
            moved = augment_contour(contour, lip_draws)
            power = self._powers(stretches[mine])
            power = augment_speech(power, self._powers(others[mine]), speech_draws)
            columns, _ = model.speech.clean(power, model.speech.initial_channel((share,)))
            columns = columns[:, self._context_columns :]
        with torch.set_grad_enabled(not recipe.hold_speech):
            speech = model.speech.embed(columns, recipe.window_stride).float()
        with torch.set_grad_enabled(not recipe.hold_lips):
            lip_embedding = model.lips(
                pictures,
                moved,
                seen & (lip_draws.keep_picture | ~tracked),
                (lip_draws.keep_contour & tracked) | ~seen,
                recipe.window_stride,
            ).float()

        half = window.frames // 2
        centre = window.past_frames  # frame t inside its own window
        whole = valid[:, window.frames - 1 :: recipe.window_stride]
        quiet = silent[:, half : frames - half : recipe.window_stride]
        with torch.autocast(self.device.type, enabled=False):
            read = model.read_contour(speech) * 10
            target = contour[:, centre :: recipe.window_stride][:, : read.shape[1]]
            error = functional.smooth_l1_loss(read, target, reduction="none").mean(-1)
            read_off = whole & tracked[:, None]
            auxiliary = (error * read_off).sum() / read_off.sum().clamp(min=1)
            parts = (speech, lip_embedding, whole, quiet)
            moments = stretches.moments(recipe.windows_per_clip, recipe.window_stride, centre)
            contrast = model.contrast(*map(gathered, parts), moments, stretches.clip)
        figures = {}
        if step % recipe.loop.log_every == 0:
            figures = {"contrast": contrast.item(), "auxiliary": auxiliary.item()}
        # Each process sees the whole contrast but only its own part of the auxiliary target.
        return contrast + recipe.auxiliary * auxiliary, figures

    @property
    def _context_columns(self) -> int:
        return round(self.recipe.context_s * FRAME_RATE_HZ) * COLUMNS_PER_FRAME

    def _powers(self, stretches: Stretches) -> Float[Tensor, "B L F"]:
        """Powers from ``context_s`` before the first speech window to the end of the last."""
        recipe = self.recipe
        speech = recipe.model.speech
        lead = lead_frames(speech.window, recipe.model.lip_window) * COLUMNS_PER_FRAME
        columns = speech.window_columns + COLUMNS_PER_FRAME * recipe.window_stride * (
            recipe.windows_per_clip - 1
        )
        columns += self._context_columns
        samples, where = cut_speech(
            self.corpus, stretches, lead + self._context_columns, columns, max(1.0, *recipe.speeds)
        )
        return columns_at(power_spectrogram(samples, speech.spectrogram), where)

    def validate(self, module: SE4Lip) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, probes in self.probes.items():
            result = probe(module, probes)
            figures |= {f"{name} {key}": value for key, value in result.items()}
        return figures


def _unused(name: str, names: Collection[str]) -> str:
    """``name``, or with a number where another data set's folder is called so too."""
    numbered = (name if n == 1 else f"{name} {n}" for n in itertools.count(1))
    return next(one for one in numbered if one not in names)


def set_spectrum_statistics(module: SE4Lip, corpus: Corpus) -> None:
    """Mean and spread of the training speech, from 256 seconds spread over the corpus."""
    speech = module.speech
    length = 16_000
    starts = torch.linspace(0, max(0, len(corpus.samples) - length), 256).long()
    index = starts[:, None] + torch.arange(length)
    samples = corpus.samples[index.clamp(max=len(corpus.samples) - 1)].float() / 32767
    power = power_spectrogram(samples, speech.config.spectrogram)
    loud = power.mean(-1) > 1e-7  # columns of speech: -70 dB and up
    columns = log_power(power, speech.config.spectrogram)[loud]
    if len(columns) < 2:
        raise InputError(
            "all sound to train on lies below -70 dB of full scale: give louder recordings"
        )
    speech.mean.copy_(columns.mean(0))
    speech.scale.copy_(columns.std(0).clamp_min(0.05))


def take_up(module: SE4Lip, start: Path, speech_learns: bool = True) -> None:
    """Give ``module`` the weights of the file ``start``. Where speech learns on, its window may be
    another, for the GRU has the same weights for any; features that are to stay have theirs.

    Raises:
        InputError: ``start`` cannot be read, or is of another shape than the recipe asks for.
    """
    begun = load_encoder(start)
    speech, wanted = module.config.speech, begun.config
    if speech_learns:
        heard = replace(wanted.speech, window=speech.window, pooled=speech.pooled)
        wanted = replace(wanted, speech=heard)
    if wanted != module.config:
        raise InputError(
            f"{start} was made with another model configuration than this recipe asks for: leave "
            "the model's options as they were then, or train from the beginning"
        )
    module.load_state_dict(begun.state_dict())


def _learned_from(start: Path) -> list[Any]:
    """Data sets and their clips that a weights file says it learned from, as far as it does."""
    said = encoder_header(start).metadata.get("data")
    return said if isinstance(said, list) else []


def _probes(data: Dataset, split: Split, most: int) -> list[Probe]:
    names = clips_of(data, split)
    return probes_of(data.clip(name) for name in names[:: max(1, -(-len(names) // most))])


# --- the verb ---


def train_encoder(
    datasets: Sequence[Path],
    out: Path,
    recipe: EncoderRecipe,
    validation: Sequence[Path] = (),
    split: Split = "train",
    device: str = "auto",
    name: str = "se4lip",
    start: Path | None = None,
    pictures_alone: Sequence[Path] = (),
) -> Path:
    """Train on ``split`` of the prepared ``datasets`` and write ``out/encoder.safetensors``.

    A run that was interrupted goes on from ``out/checkpoint.safetensors`` if nothing else changed.
    Under ``torchrun`` the processes share each batch. ``validation`` data sets (all their clips)
    and the validation split of the training ones are examined as training goes. Of
    ``pictures_alone``, further data sets that train, all their clips, contours are not looked at: a
    tracker follows faces that were drawn otherwise than people's.

    Raises:
        InputError: no data, or such as cannot be read, no clip long enough, a run of another
            configuration; speech or lips are to be held and there is no ``start``.
    """
    for what, flag in (("speech", "hold_speech"), ("lip", "hold_lips")):
        if getattr(recipe, flag) and start is None:
            raise InputError(
                f"the {what} encoder is to stay as it is, and none was given: name its weights "
                f"with --start, or leave --{flag.replace('_', '-')} out"
            )
    run_folder(out)
    asked = {"recipe": to_plain(recipe), "split": split}
    check_begun(out, asked)
    where = chosen_device(device)
    with processes(where):
        torch.manual_seed(recipe.loop.seed)
        sets = open_datasets(datasets)
        for data in sets:
            check_split(data, split)
        shortest = recipe.model.lip_window.frames + 1
        # All at once: adding up corpora would hold them twice, and each process holds its own.
        clips = (data.clip(clip) for data in sets for clip in clips_of(data, split))
        drawn = open_datasets(pictures_alone) if pictures_alone else []
        untracked = (clip for data in drawn for clip in data)
        corpus = Corpus.of(clips, shortest, untracked)
        probes: dict[str, list[Probe]] = {}
        for data in sets if split == "train" else ():
            if clips_of(data, "validation"):  # of a few recordings nothing is held out
                held = _probes(data, "validation", recipe.validation_clips)
                probes[_unused(data.name, probes)] = held
        for data in (open_dataset(path) for path in validation):
            probes[_unused(data.name, probes)] = _probes(data, "all", recipe.validation_clips)
        module = SE4Lip(recipe.model)
        if start is None:
            set_spectrum_statistics(module, corpus)
        else:
            take_up(module, start, speech_learns=not recipe.hold_speech)
        module.to(where)
        identity: dict[str, Any] = {
            **asked,
            "data": [[data.name, len(clips_of(data, split))] for data in sets],
            "clips": [digest(data, split) for data in sets],
            "pictures_alone": [digest(data, "all") for data in drawn],
            "start": encoder_header(start).sha256 if start else None,
        }
        task = EncoderTask(module, recipe, corpus, probes)
        trained = train(task, recipe.loop, out, identity, arithmetic(recipe.precision, where))
        if is_chief():
            metadata: dict[str, Any] = {"name": name, "recipe": to_plain(recipe)}
            metadata["machine"] = machine(where)
            counted = [[data.name, len(clips_of(data, split))] for data in sets]
            counted += [[data.name, len(data)] for data in drawn]
            # Whoever it learned from before is in the numbers still.
            before = [] if start is None else _learned_from(start)
            metadata["data"] = [*(one for one in before if one not in counted), *counted]
            if start is not None and recipe.hold_speech:
                metadata[FEATURES_OF] = encoder_identity(start).sha256
            save_encoder(out / "encoder.safetensors", trained.cpu(), metadata)
    return out / "encoder.safetensors"
