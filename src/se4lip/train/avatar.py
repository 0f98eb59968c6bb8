"""Making a talking head of a filmed person: ``se4lip train avatar``.

Two things are learned one after the other. Speech to mouth (`avatar_speech`): the speech window
learns the mouth's codes, as landmarks show them, from every take. Mouth to picture
(`avatar_picture`, `avatar_nerf`): Gaussians or a radiance field learn what the person looks like
for given codes, from the codes of the real mouth, so that what speech does not tell never blurs the
picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from se4lip.artifacts.avatar import AVATAR_FILE, Avatar, Renderer, load_avatar, save_avatar
from se4lip.audio.augment import SpeechAugmentConfig
from se4lip.face.person import Person
from se4lip.head.nerf.head import NerfHead
from se4lip.head.speech_window import SpeechWindow
from se4lip.head.splat.canonical import CanonicalConfig
from se4lip.head.splat.head import SplatHead
from se4lip.io.config import to_plain
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import run_folder
from se4lip.train.avatar_hearing import Also, Voiced, check_hearing_begun, spoken_in
from se4lip.train.avatar_material import (
    Material,
    MaterialConfig,
    Shown,
    Spoken,
    framed_pictures,
    gather,
    learned_from,
    shown_of,
    takes_of,
)
from se4lip.train.avatar_nerf import NerfRecipe, RayTask, relative_ray_rate
from se4lip.train.avatar_nerf_start import start_nerf
from se4lip.train.avatar_noise import NoiseConfig
from se4lip.train.avatar_picture import PictureLoss, PictureTask, relative_rate
from se4lip.train.avatar_start import start_head
from se4lip.train.checkpoint import check_begun
from se4lip.train.devices import chosen_device, machine
from se4lip.train.hearing_of_another import AUTO, hearing_told, kept_hearing, known_by
from se4lip.train.listener import OTHER_VOICES, listener_of
from se4lip.train.loop import LoopConfig, train
from se4lip.train.split import Split
from se4lip.types import InputError, within

_VALIDATION_PICTURES = 24


@dataclass(frozen=True)
class AvatarRecipe:
    """Everything that decides what comes out of a training run, but for the data. ``nerf`` is for
    that renderer, ``canonical``, ``curves``, ``picture_loss`` and ``pictures`` for the other."""

    material: MaterialConfig = field(default_factory=MaterialConfig)
    canonical: CanonicalConfig = field(default_factory=CanonicalConfig)
    curves: int = 12  # nonlinear functions of a code (`splat.deform`)
    sways: bool = True  # hair, neck and torso go with the head's pose (`head.sway`)
    hidden: int | None = None  # of the speech window; None is as another head has, else 64
    voices: int = 2  # other voices in which each take is heard too, so that any moves the lips
    voice: SpeechAugmentConfig = OTHER_VOICES
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    certainty: float = 3.0  # of somebody speaking, within a second (`head.gate`)
    wariness: float = 5.0  # how much more certain that must be after noise
    known_rate: float = 1 / 3  # of the learning rate, where hearing begins with another head's
    keep_gate: bool = False  # that head goes on saying when somebody speaks; lips alone are learned
    picture_loss: PictureLoss = field(default_factory=PictureLoss)
    speech: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=900,
            learning_rate=3e-3,
            warmup_steps=50,
            weight_decay=0.01,
            average_decay=0.99,
            log_every=100,
            validate_every=300,
        )
    )
    pictures: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=5000,
            learning_rate=1e-3,
            warmup_steps=50,
            final_rate=0.02,
            weight_decay=0.0,
            clip_norm=float("inf"),
            average_decay=0.99,
            log_every=100,
            validate_every=1000,
        )
    )
    nerf: NerfRecipe = field(default_factory=NerfRecipe)

    def __post_init__(self) -> None:
        within(self, curves=(0, 1024), hidden=(1, 8192), voices=(0, 1000))
        if self.voice.babble:
            raise InputError(
                f"--voice.babble is {self.voice.babble}, but a take is heard alone, with no speech "
                "of others to put under it: leave it at 0"
            )
        within(self, certainty=(0, 100), wariness=(0, 100), known_rate=(1e-12, 1))
        usual = type(self)  # has the defaults
        changed = [n for n in ("certainty", "wariness") if getattr(self, n) != getattr(usual, n)]
        if self.keep_gate and changed:
            raise InputError(
                "with --keep-gate the gate stays as that head has it: leave "
                f"{' and '.join(f'--{name}' for name in changed)} out"
            )


def train_avatar(
    dataset: Path,
    out: Path,
    recipe: AvatarRecipe,
    encoder: Path | None = None,
    features: Path | str | None = None,
    split: Split = "train",
    videos: Path | None = None,
    device: str = "auto",
    name: str | None = None,
    report: Callable[[str], None] = print,
    feature_weights: Path | None = None,
    renderer: Renderer = "splat",
    also_heard: Sequence[Path] = (),
    also_still: Sequence[Path] = (),
    also_spoken: Sequence[Path] = (),
    hearing_of: Path | str = AUTO,
    keep_hearing: Path | str | None = None,
) -> Path:
    """Make an avatar of the person in a prepared data set and write ``out/avatar.safetensors``.

    A run that was interrupted goes on from its checkpoints if nothing else changed. ``features``
    are others to hear instead of ``encoder``'s, by name (`features.catalogue`) or as a folder of
    files, and ``feature_weights`` is where theirs are. ``videos`` is where the recordings
    are now, if they have moved. ``also_heard`` are data sets of the same lips in other voices, all
    of them of clips that train; ``also_still`` are recordings in which nobody speaks,
    ``also_spoken`` such in which people speak whom nobody filmed. ``keep_hearing`` is an avatar
    made from the same takes whose hearing stays to the bit, encoder included: only looks are
    learned, and all that is about hearing is not heeded.

    Raises:
        InputError: data that cannot be read, too short, or a run of another configuration.
    """
    run_folder(out)
    asked = {"recipe": to_plain(recipe), "renderer": renderer}
    if keep_hearing is None:
        check_hearing_begun(out / "speech", recipe)
    check_begun(out / "pictures", asked)
    where = chosen_device(device)
    kept = None if keep_hearing is None else load_avatar(keep_hearing)
    if kept is None:
        listener = listener_of(encoder, features, feature_weights, recipe.voice)
        known = known_by(hearing_of, listener.identity, recipe.hidden)
        also = Also.read(listener, also_heard, also_still, also_spoken, known, recipe.keep_gate)
    torch.manual_seed(recipe.speech.seed)
    data = open_dataset(dataset)
    material = gather(data, split, recipe.material, videos, report)
    held_out = held_out_of(data, material.person) if split == "train" else []

    own, examined = Voiced(data, material.spoken), Voiced(data, held_out)
    if kept is None:
        folder = out / "speech"
        window = also.taught(material.person, own, examined, listener, recipe, folder, report)
        encoder_heard = replace(listener.identity, width=window.config.feature_width)
        heard = {"also": also.told()}
    else:
        window = kept_hearing(str(keep_hearing), kept, material.person)
        encoder_heard, heard = kept.encoder, hearing_told(kept, to_plain(recipe))
    identity = {
        **asked,
        "hidden": window.config.hidden,
        "data": [data.name, len(material.shown), len(material.spoken)],
        "clips": own.digest,
        "takes": own.spans,
        "hearing": None if kept is None else kept.sha256,
        "encoder": [encoder_heard.name, encoder_heard.sha256, encoder_heard.width],
    }
    validation = _validation(data, material, held_out, videos)
    head = _learn_looks(
        renderer, material, window, validation, recipe, where, out / "pictures", identity, report
    )
    details = {
        "name": name or data.name,
        "recipe": to_plain(recipe),
        "machine": machine(where),
        "takes": len(material.spoken),
        "learned_from": learned_from(data, material.spoken),
        "look_takes": material.look_takes,
        "reprojection_px": material.reprojection_px,
        **heard,
    }
    avatar = Avatar(
        head=head.cpu().hearing_with(window).eval(),  # looks may be of an earlier run
        person=material.person,
        replay=material.replay,
        encoder=encoder_heard,
        details=details,
    )
    save_avatar(out / AVATAR_FILE, avatar)
    return out / AVATAR_FILE


def _learn_looks(
    renderer: Renderer,
    material: Material,
    window: SpeechWindow,
    validation: Shown | None,
    recipe: AvatarRecipe,
    where: torch.device,
    out: Path,
    identity: dict[str, Any],
    report: Callable[[str], None],
) -> SplatHead | NerfHead:
    """The network from mouth codes and motion to pictures, trained in ``out``. What it starts from
    does not depend on how hearing was learned."""
    width = window.config.feature_width
    torch.manual_seed(recipe.nerf.pictures.seed if renderer == "nerf" else recipe.pictures.seed)
    if renderer == "nerf":
        nerf = recipe.nerf
        field_head = start_nerf(material, width, nerf.texels_per_px, nerf.curves, recipe.sways)
        field_head = field_head.hearing_with(window)
        field_head.speech.requires_grad_(False)
        rays = RayTask(field_head.to(where), material.shown, validation, nerf)
        return train(
            rays, nerf.pictures, out, identity, report=report, relative_rate=relative_ray_rate
        )
    head = start_head(material, width, recipe.canonical, recipe.curves, recipe.sways)
    head = head.hearing_with(window)
    head.speech.requires_grad_(False)
    task = PictureTask(head.to(where), material.shown, validation, recipe.picture_loss)
    return train(task, recipe.pictures, out, identity, report=report, relative_rate=relative_rate)


def held_out_of(data: Dataset, person: Person) -> list[Spoken]:
    """What validates while ``person`` learns from the takes that train."""
    return spoken_in(data, person, takes_of(data, "validation"))


def _validation(
    data: Dataset, material: Material, held_out: list[Spoken], videos: Path | None
) -> Shown | None:
    """A few pictures of validation takes that show the avatar's look."""
    person = material.person
    alike = []
    for one in held_out:
        opening = framed_pictures(data, one.take, person.framing, [0], videos)
        if person.has_this_look(opening, one.poses[:1]):
            alike.append(one)
        if len(alike) == _VALIDATION_PICTURES // 3:
            break
    if not alike:
        return None
    return shown_of(person, data, alike, _VALIDATION_PICTURES, videos)[0]
