"""The features that are compared, all of them ready before anything is computed: ours, other
encoders of ours, and the rivals; and what their files say of whom they learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from se4lip.artifacts.encoder import encoder_header
from se4lip.features.base import SpeechFeatures
from se4lip.features.catalogue import OURS, load_features
from se4lip.types import InputError

OF_PACKAGES = ("whisper-tiny.en", "whisper-base", "phoneme")  # of the extra `rivals`
COMPARED = (OURS, "logmel", "mfcc", *OF_PACKAGES)
_OURS = (f"{OURS}:", "variant:")  # other encoders of ours: no rivals
_SAYS = ("data", "datasets", "trained_on")  # where a header may name what it learned from


@dataclass(frozen=True)
class NamedFeatures:
    """``about`` is what is known of whom they learned from, for the page."""

    name: str
    kind: SpeechFeatures
    about: str

    @property
    def is_ours(self) -> bool:
        return ours(self.name)


def ours(name: str) -> bool:
    """Whether features are of an encoder of ours, and no rivals of another one."""
    return name == OURS or name.startswith(_OURS)


def resolved(features: Sequence[str], encoders: Sequence[str]) -> list[NamedFeatures]:
    """Every kind of features, loaded. ``encoders`` are ``NAME=FILE``: further encoders of ours.

    Raises:
        InputError: one sentence that names all that are not here, and why.
    """
    wanted: list[tuple[str, str, Path | None]] = [(name, name, None) for name in features]
    for text in encoders:
        name, is_named, file = text.partition("=")
        if not (is_named and name and file):
            raise InputError(
                f"--encoders was given {text!r}, but NAME=FILE is needed, such as "
                "unseen=run/encoder.safetensors"
            )
        wanted.append((f"{OURS}:{name}", OURS, Path(file)))
    names = [name for name, _, _ in wanted]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the features {twice[0]!r} are named twice: name each once")
    found, missing = [], []
    for name, kind, weights in wanted:
        try:
            loaded = load_features(kind, weights)
            found.append(NamedFeatures(name, loaded, _about(name, kind, weights)))
        except InputError as error:
            missing.append(f"{name} ({error})")
    if missing:
        raise InputError(
            f"{len(missing)} of the features are not here: {'; '.join(missing)}; "
            "bring them, or leave them out of --features"
        )
    if not found:
        raise InputError("no features are named: give --features one or more")
    return found


def _about(name: str, kind: str, weights: Path | None) -> str:
    if kind == OURS:
        return learned_from(encoder_header(weights).metadata)
    if name.startswith(_OURS):
        return "an encoder of the ablation; its file is named by its features"
    return "others' features, whole clips heard" if name not in ("logmel", "mfcc") else "no weights"


def learned_from(metadata: Mapping[str, Any]) -> str:
    """What an encoder's file says of whom it learned from, in a few words."""
    recipe = metadata.get("recipe")
    places = [metadata, recipe if isinstance(recipe, Mapping) else {}]
    said = next((place[key] for place in places for key in _SAYS if place.get(key)), None)
    called = metadata.get("name", "unnamed")
    if said is None:
        return f"{called}; its file does not say whom it learned from"
    words = [said] if isinstance(said, str) else said
    told = ", ".join(
        str(one) if isinstance(one, str) else " ".join(map(str, _flat(one))) for one in words
    )
    return f"{called}; learned from {told}"


def _flat(one: Any) -> list[Any]:
    return list(one) if isinstance(one, (list, tuple)) else [one]
