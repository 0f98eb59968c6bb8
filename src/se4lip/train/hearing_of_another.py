"""What one head has learned to hear, handed on to the head of another person.

How speech moves a mouth is much the same in everybody; how a mouth is written down is not. A speech
window's last layer writes the codes of its own person, so that layer alone is rewritten: lips go as
far from rest as the first person's would, told in the second person's codes. With that a head of a
few seconds begins to learn, instead of with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from se4lip.artifacts.avatar import SHIPPED, Avatar, load_avatar
from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.face.expression import MouthModel
from se4lip.face.person import Person, same_mouth
from se4lip.head.speech_window import SpeechWindow
from se4lip.types import InputError

AUTO, NOBODY = "auto", "none"
# what of a recipe (`avatar.AvatarRecipe`) is about hearing
WARINESS = ("noise", "certainty", "wariness")
HEARING = ("hidden", "voices", "voice", *WARINESS, "known_rate", "keep_gate", "speech")


@dataclass(frozen=True)
class Known:
    """What an avatar hears and the mouth that it moves; ``sha256`` is the avatar's."""

    name: str
    sha256: str
    window: SpeechWindow
    mouth: MouthModel


def known_by(given: Path | str, heard: EncoderIdentity, hidden: int | None) -> Known | None:
    """What the avatar ``given`` knows of hearing ``heard`` with so many hidden numbers, None for
    any.

    ``auto`` is the shipped avatar if it knows that, and nobody if not; ``none`` is nobody.

    Raises: InputError when a named avatar cannot be read or hears something else.
    """
    if str(given) == NOBODY:
        return None
    avatar = load_avatar(SHIPPED if str(given) == AUTO else given)
    window = avatar.head.speech
    try:
        avatar.check_encoder(heard)
        if hidden not in {None, window.config.hidden}:
            raise InputError(
                f"{given} hears with {window.config.hidden} hidden numbers, and {hidden} were "
                f"asked for: give --hidden {window.config.hidden}, or --hearing-of {NOBODY}"
            )
    except InputError:
        if str(given) == AUTO:
            return None
        raise
    name = str(avatar.details.get("name", "unnamed"))
    return Known(name, avatar.sha256, window, avatar.person.mouth)


def kept_hearing(given: Path | str, avatar: Avatar, person: Person) -> SpeechWindow:
    """How ``avatar``, read from ``given``, hears: for other looks of the same ``person``.

    Raises: InputError when its codes mean another mouth.
    """
    if not same_mouth(avatar.person, person):
        raise InputError(
            f"the mouth codes of {given} do not mean this mouth: give the recordings, --split and "
            "--material.mouth-codes that it was made with, or leave --keep-hearing out, and "
            "hearing is learned anew"
        )
    return avatar.head.speech


def hearing_told(avatar: Avatar, recipe: dict[str, Any]) -> dict[str, Any]:
    """What the file of a head that keeps the hearing of ``avatar`` and is otherwise made by
    ``recipe`` says of both."""
    details = avatar.details
    made_by = details.get("recipe", {})
    # The loop in which it learned to hear may not be that of its looks' recipe.
    made_by = made_by | {"speech": details.get("speech", made_by.get("speech"))}
    kept = {name: made_by[name] for name in HEARING if made_by.get(name) is not None}
    looks = {name: value for name, value in recipe.items() if name not in HEARING}
    return {
        "recipe": looks | kept,
        "also": details.get("also"),
        "speech": made_by["speech"],
        "heard_from": details.get("heard_from", details.get("learned_from")),
        "hearing_kept_of": avatar.sha256,
    }


@torch.no_grad()
def handed_on(
    known: SpeechWindow,
    of: MouthModel,
    to: MouthModel,
    rest: Float32[np.ndarray, " K"],
) -> SpeechWindow:
    """A speech window that moves the mouth ``to`` from ``rest`` as ``known`` moves ``of`` from its
    own rest, to the nearest that ``to`` can show. Silence is silence for both.

    The mouth's numbers may be more or fewer. Attention, which looks at codes, goes on looking at
    the same lips where ``to`` can show them.
    """
    # c' = rest' + (c - rest) @ carried
    carried = torch.from_numpy(of.basis_cm.reshape(of.width, -1) @ to.encoder).float()
    back = torch.linalg.pinv(carried)
    own_rest = torch.from_numpy(rest)
    window = SpeechWindow(replace(known.config, code_width=to.width))
    state = {name: value.clone() for name, value in known.state_dict().items()}
    state["code.weight"] = carried.mT @ known.code.weight
    state["code.bias"] = own_rest + (known.code.bias - known.rest) @ carried
    seen, bias = known.attention.weight, known.attention.bias  # [1, K, 3], [1]
    assert bias is not None
    state["attention.weight"] = torch.einsum("jk,okn->ojn", back, seen)
    state["attention.bias"] = bias + torch.einsum("k,okn->o", known.rest - own_rest @ back, seen)
    state["rest"] = own_rest
    window.load_state_dict(state)
    return window


@torch.no_grad()
def gated_by(gate: SpeechWindow, lips: SpeechWindow) -> SpeechWindow:
    """A speech window that hears speech, noise and silence exactly as ``gate`` does and moves the
    lips as ``lips`` does: the hidden numbers of both side by side, less those of ``gate`` that
    move its lips alone.

    Both must hear the same features, normalised alike, and mean the same mouth.
    """
    read = _read_by_gate(gate)
    first, second = len(read), lips.config.hidden
    window = SpeechWindow(replace(lips.config, hidden=first + second))
    state = {name: value.clone() for name, value in lips.state_dict().items()}
    kept = ("certainty", "wariness", "noise_weight", "noise_bias", "heed.bias")
    state |= {name: value for name, value in gate.state_dict().items() if name in kept}
    for part in ("project.weight", "project.bias", "window.bias"):
        state[part] = torch.cat([gate.state_dict()[part][read], lips.state_dict()[part]])
    for part in ("window.weight", "mix.weight", "mix.bias", "code.weight", "heed.weight"):
        state[part] = torch.zeros_like(window.state_dict()[part])
    state["window.weight"][:first, :first] = gate.window.weight[read][:, read]
    state["window.weight"][first:, first:] = lips.window.weight
    state["heed.weight"][:, :first] = gate.heed.weight[:, read]
    state["mix.weight"][first:, first:] = lips.mix.weight
    state["mix.bias"][first:] = lips.mix.bias
    state["code.weight"][:, first:] = lips.code.weight
    window.load_state_dict(state)
    return window


def _read_by_gate(window: SpeechWindow) -> Int[Tensor, " hidden"]:
    """The hidden numbers that decide whether somebody speaks. A window that was itself put together
    from two has others, without which a gate that is kept again and again does not grow."""
    last = window.heed.weight.abs().sum((0, 2)) > 0
    before = window.window.weight[last].abs().sum((0, 2)) > 0
    return (last | before).nonzero()[:, 0]
