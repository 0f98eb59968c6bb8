"""Further work on a head that is there: other features to hear, or wariness of noise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from se4lip.artifacts.avatar import Avatar, load_avatar, save_avatar
from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.head.speech_window import SpeechWindow
from se4lip.io.audio import read_speech
from se4lip.io.config import to_plain
from se4lip.io.dataset import open_dataset
from se4lip.io.files import run_folder
from se4lip.train.avatar import AVATAR_FILE, AvatarRecipe, held_out_of
from se4lip.train.avatar_hearing import (
    Also,
    Voiced,
    alone,
    check_hearing_begun,
    spoken_in,
)
from se4lip.train.avatar_material import Take, learned_from, takes_of
from se4lip.train.avatar_noise import pieces_of
from se4lip.train.avatar_wary import LEAST_ROWS, learn_noise
from se4lip.train.hearing_of_another import (
    AUTO,
    HEARING,
    WARINESS,
    hearing_told,
    kept_hearing,
    known_by,
)
from se4lip.train.listener import Listener, listener_of, listener_of_avatar
from se4lip.train.split import Split
from se4lip.types import FRAME_RATE_HZ, InputError


def relisten(
    dataset: Path,
    out: Path,
    recipe: AvatarRecipe,
    seen: Path,
    encoder: Path | None = None,
    features: Path | str | None = None,
    split: Split = "train",
    name: str | None = None,
    report: Callable[[str], None] = print,
    feature_weights: Path | None = None,
    listener: Listener | None = None,
    takes: Sequence[Take] | None = None,
    also_heard: Sequence[Path] = (),
    also_still: Sequence[Path] = (),
    also_spoken: Sequence[Path] = (),
    hearing_of: Path | str = AUTO,
) -> Path:
    """Give the avatar ``seen`` other features to hear and write ``out/avatar.safetensors``.

    What it looks like stays to the bit; only the way from features to mouth codes is learned, in a
    minute or two. So two encoders can be compared in one and the same head. ``listener`` stands for
    ``encoder`` and ``features``, ``takes`` for those of the split; ``also_*`` and
    ``hearing_of`` are as in ``train_avatar``.

    Raises:
        InputError: as ``train_avatar``, or ``seen`` cannot be read.
    """
    run_folder(out)
    check_hearing_begun(out / "speech", recipe)
    listener = listener or listener_of(encoder, features, feature_weights, recipe.voice)
    known = known_by(hearing_of, listener.identity, recipe.hidden)
    also = Also.read(listener, also_heard, also_still, also_spoken, known, recipe.keep_gate)
    data, avatar = open_dataset(dataset), load_avatar(seen)
    spoken = spoken_in(data, avatar.person, takes_of(data, split) if takes is None else takes)
    held_out = held_out_of(data, avatar.person) if split == "train" else []
    others = [one for one in spoken if not avatar.person.has_this_face(one.track, one.poses)]
    if 2 * len(others) > len(spoken):
        raise InputError(
            f"{seen} is the head of another person than data set {data.path} shows: leave --seen "
            "out to make a head of this one"
        )
    own, examined = Voiced(data, spoken), Voiced(data, held_out)
    window = also.taught(
        *(avatar.person, own, examined, listener, recipe, out / "speech", report),
        mouth_of=avatar.sha256,
    )
    identity = replace(listener.identity, width=window.config.feature_width)
    plain = to_plain(recipe)
    told = {
        "name": name or data.name,
        "recipe": avatar.details.get("recipe", {}) | {part: plain[part] for part in HEARING},
        "speech": plain["speech"],
        "also": also.told(),
        "heard_from": learned_from(data, spoken),
    }
    return _save(out, avatar, window, identity, told)


def make_wary(
    dataset: Path,
    out: Path,
    recipe: AvatarRecipe,
    seen: Path,
    keep_hearing: Path | str,
    encoder: Path | None = None,
    split: Split = "train",
    name: str | None = None,
    report: Callable[[str], None] = print,
    feature_weights: Path | None = None,
    also_heard: Sequence[Path] = (),
    also_still: Sequence[Path] = (),
) -> Path:
    """Looks of ``seen`` and hearing of ``keep_hearing``, both to the bit, but for what its gate
    takes for noise and how certain it must be: for heads made before that could be learned.

    ``also_heard`` are data sets of further speech, ``also_still`` recordings in which nobody
    speaks; of the recipe ``noise``, ``certainty`` and ``wariness`` are heeded.

    Raises:
        InputError: avatars or data that cannot be read, or of different mouths, or
            less than two minutes of speech.
    """
    run_folder(out)
    avatar, kept = load_avatar(seen), load_avatar(keep_hearing)
    window = copy.deepcopy(kept_hearing(str(keep_hearing), kept, avatar.person))
    if not kept.encoder.sha256:
        raise InputError(
            f"{keep_hearing} hears {kept.encoder.name}, of named clips alone, and what noise is in "
            "them cannot be known: leave --seen or --keep-hearing out"
        )
    listener = listener_of_avatar(kept, encoder, weights=feature_weights)
    pieces = pieces_of([read_speech(file).samples for file in also_still], recipe.noise)
    data = open_dataset(dataset)
    speech = [
        listener.features(take.clip, one.clip(take.clip).speech)[take.start : take.stop]
        for one, part in ((data, split), *((open_dataset(path), "all") for path in also_heard))
        for take in takes_of(one, part)
    ]
    rows = sum(map(len, speech))
    if rows < LEAST_ROWS:
        raise InputError(
            f"{rows / FRAME_RATE_HZ:.1f} s of speech are heard, and to know what noise is takes "
            f"{LEAST_ROWS / FRAME_RATE_HZ:.0f}: give more with --also-heard, or leave "
            "--keep-hearing out"
        )
    silence, noise = alone(listener, recipe.noise, pieces)
    if not silence or not noise:
        raise InputError(
            f"{len(noise)} sounds that nobody speaks are heard, which teach nothing: "
            "give more --noise.sounds, or recordings with --also-still"
        )
    report(f"{len(speech)} takes of speech, {len(noise)} sounds that nobody speaks")
    learn_noise(window, speech, silence, noise)
    window.certainty.fill_(recipe.certainty)
    window.wariness.fill_(recipe.wariness)
    plain = to_plain(recipe)
    told = hearing_told(kept, avatar.details.get("recipe", {}))
    told["recipe"] |= {part: plain[part] for part in WARINESS}
    return _save(out, avatar, window, kept.encoder, told | {"name": name or data.name})


def _save(
    out: Path, avatar: Avatar, window: SpeechWindow, heard: EncoderIdentity, told: dict[str, Any]
) -> Path:
    """``avatar`` with another hearing."""
    before = {key: value for key, value in avatar.details.items() if key != "hearing_kept_of"}
    head = avatar.head.hearing_with(window)
    made = replace(avatar, head=head.eval(), encoder=heard, details=before | told)
    save_avatar(out / AVATAR_FILE, made)
    return out / AVATAR_FILE
