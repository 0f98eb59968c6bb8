"""An avatar as a file: the head, the motion it replays, and all that is known of its person."""

from __future__ import annotations

import importlib.resources
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.face.expression import MouthModel
from se4lip.face.person import Framing, Look, Person
from se4lip.face.pose import Skull
from se4lip.face.torso import TorsoTemplate
from se4lip.head.base import Motion
from se4lip.head.nerf.head import NerfHead, NerfHeadConfig, Shortcut
from se4lip.head.splat.gaussians import RawGaussians
from se4lip.head.splat.head import SplatHead, SplatHeadConfig
from se4lip.io.config import from_plain, to_plain
from se4lip.io.weights import fitting, load_weights, save_weights
from se4lip.types import Camera, InputError

AVATAR_KIND = "avatar"
Renderer = Literal["splat", "nerf"]
_IN_BYTES = {"plate", "backdrop.plate"}
# half a millimetre matters at a metre: positions keep their digits
_IN_FULL = {
    *("raw.means", "backdrop.rest", "sway.mean", "sway.spread"),
    # Features of others may have any scale and origin.
    *("speech.feature_mean", "speech.feature_scale", "speech.noise_weight", "speech.noise_bias"),
}


@dataclass(frozen=True)
class Avatar:
    """``encoder`` is whose features the head was trained on; ``details`` is for the card.

    ``sha256`` is of the numbers in the file it was loaded from, and empty before it is saved.
    """

    head: SplatHead | NerfHead
    person: Person
    replay: Motion
    encoder: EncoderIdentity
    details: dict[str, Any]
    sha256: str = ""

    @property
    def parts(self) -> dict[str, tuple[str, str]]:
        """Name and SHA-256 of the avatar and of its encoder, for the credentials of videos."""
        return {
            "avatar": (str(self.details.get("name", "unnamed")), self.sha256),
            "encoder": (self.encoder.name, self.encoder.sha256),
        }

    @property
    def renderer(self) -> Renderer:
        return "nerf" if isinstance(self.head, NerfHead) else "splat"

    def taking(self, shortcut: Shortcut) -> Avatar:
        """This avatar, drawn faster and a little worse; its head is changed in place.

        Raises: InputError when the head is not a radiance field and has no shortcuts.
        """
        if isinstance(self.head, NerfHead):
            self.head.shortcut = shortcut
        elif shortcut != "none":
            raise InputError(
                f"the shortcut {shortcut!r} is for radiance fields, and this avatar is made of 3D "
                "Gaussians: leave --shortcut out"
            )
        return self

    def check_encoder(self, given: EncoderIdentity) -> None:
        """Raises: InputError when ``given`` is another encoder than the head was trained with."""
        if given.features != self.encoder.features:
            raise InputError(
                f"this avatar was trained on {self.encoder.features} features, and these are "
                f"{given.features}: leave --features out, and the right ones are computed"
            )
        if given.sha256 != self.encoder.sha256:
            raise InputError(
                f"this avatar was trained on features of {_called(self.encoder)}, and these are of "
                f"{_called(given)}: give --encoder the former, or train the avatar anew"
            )


def _called(identity: EncoderIdentity) -> str:
    return f"encoder {identity.name!r} ({identity.width} wide, sha256 {identity.sha256[:12]})"


AVATAR_FILE = "avatar.safetensors"  # in the folder of a run
SHIPPED = "grid-s1"  # the avatar that comes with the package (docs/cards/avatar-grid-s1.md)


def avatar_file(given: Path | str) -> Path:
    """``given``, the avatar in the folder of a run, or the shipped one when it is only named.

    Raises:
        InputError: there is nothing of that name, or a folder without an avatar.
    """
    path = Path(given)
    if str(given) == SHIPPED and not path.exists():
        return Path(str(importlib.resources.files("se4lip") / "weights" / f"{SHIPPED}.safetensors"))
    if (path / AVATAR_FILE).is_file():
        return path / AVATAR_FILE
    if not path.exists():
        raise InputError(
            f"there is no avatar {given}: give a file that `se4lip train avatar` wrote, or "
            f"{SHIPPED}, who comes with the package"
        )
    if path.is_dir():
        raise InputError(
            f"the folder {given} holds no {AVATAR_FILE}: give one that `se4lip train avatar -o` "
            "wrote, or let it end first"
        )
    return path


def save_avatar(path: Path, avatar: Avatar) -> None:
    """Write ``avatar`` whole or not at all; learned numbers in half precision, the plate in
    bytes."""
    tensors: dict[str, Tensor] = {}
    for name, value in avatar.head.state_dict().items():
        if name in _IN_BYTES:
            value = (value.clamp(0, 1) * 255).round().to(torch.uint8)
        elif value.is_floating_point() and name not in _IN_FULL:
            value = value.clamp(-65000, 65000).half()
        tensors[f"head.{name}"] = value
    for field in fields(Motion):
        tensors[f"replay.{field.name}"] = torch.from_numpy(getattr(avatar.replay, field.name))
    person = avatar.person
    arrays = {
        "skull.shape_cm": person.skull.shape_cm,
        "skull.sigma_px": person.skull.sigma_px,
        "mean_pose": person.mean_pose,
        "mouth.shape_cm": person.mouth.shape_cm,
        "mouth.basis_cm": person.mouth.basis_cm,
        "mouth.encoder": person.mouth.encoder,
        "eyes_mean": person.eyes_mean,
        "look.mean": person.look.mean,
        "look.axes": person.look.axes,
    }
    if person.torso is not None:
        arrays |= {"torso.picture": person.torso.picture, "torso.trust": person.torso.trust}
    tensors |= {
        f"person.{name}": torch.from_numpy(np.ascontiguousarray(array, np.float32))
        for name, array in arrays.items()
    }
    config = {
        "renderer": avatar.renderer,
        "head": to_plain(avatar.head.config),
        "camera": asdict(person.skull.camera),
        "framing": asdict(person.framing),
        "torso_top_px": None if person.torso is None else person.torso.top_px,
        "look_radius": person.look.radius if np.isfinite(person.look.radius) else None,
        "encoder": asdict(avatar.encoder),
    }
    save_weights(path, tensors, kind=AVATAR_KIND, config=config, metadata=avatar.details)


def load_avatar(given: Path | str) -> Avatar:
    """An avatar ready to be drawn, from a file of ``train avatar`` or by the name of a shipped one.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    path = avatar_file(given)
    tensors, header = load_weights(path, kind=AVATAR_KIND)
    with fitting(path, tensors):
        head = _head(tensors, header.config["head"], header.config.get("renderer", "splat"))
        replay = Motion(*(tensors[f"replay.{field.name}"].numpy() for field in fields(Motion)))
        person = _person(tensors, header.config)
        encoder = EncoderIdentity(**header.config["encoder"])
        _check_replay(replay, head)
    return Avatar(head, person, replay, encoder, header.metadata, header.sha256)


def _check_replay(replay: Motion, head: SplatHead | NerfHead) -> None:
    config = head.config if isinstance(head, SplatHead) else head.config.field
    expected = {
        "camera_from_head": (3, 4),
        "camera_from_torso": (3, 4),
        "eyes": (config.eye_width,),
        "look": (config.look_width,),
    }
    for name, shape in expected.items():
        found = getattr(replay, name)
        if not len(found) or found.shape[1:] != shape or found.dtype != np.float32:
            raise ValueError(
                f"replay.{name} is {found.dtype} {found.shape}, not float32 [T] {shape}"
            )


def _head(
    tensors: dict[str, Tensor], config: dict[str, Any], renderer: str
) -> SplatHead | NerfHead:
    state = {
        name.removeprefix("head."): value.float() / (255 if value.dtype == torch.uint8 else 1)
        for name, value in tensors.items()
        if name.startswith("head.")
    }
    head: SplatHead | NerfHead
    if renderer == "nerf":
        head = NerfHead(from_plain(NerfHeadConfig, config))
    elif renderer == "splat":
        raw = {field.name: state[f"raw.{field.name}"] for field in fields(RawGaussians)}
        head = SplatHead(from_plain(SplatHeadConfig, config), RawGaussians.from_tensors(raw))
    else:
        raise InputError(
            f"the avatar is drawn by a renderer {renderer!r}, which is unknown here: update se4lip"
        )
    head.load_state_dict(state)
    return head.eval().requires_grad_(False)


def _person(tensors: dict[str, Tensor], config: dict[str, Any]) -> Person:
    def array(name: str, dtype: type = np.float64) -> np.ndarray:
        return tensors[f"person.{name}"].numpy().astype(dtype)

    return Person(
        skull=Skull(Camera(**config["camera"]), array("skull.shape_cm"), array("skull.sigma_px")),
        framing=Framing(**config["framing"]),
        mean_pose=array("mean_pose"),
        mouth=MouthModel(array("mouth.shape_cm"), array("mouth.basis_cm"), array("mouth.encoder")),
        eyes_mean=array("eyes_mean", np.float32),
        torso=None
        if config["torso_top_px"] is None
        else TorsoTemplate(array("torso.picture"), array("torso.trust"), config["torso_top_px"]),
        look=Look(
            mean=array("look.mean", np.float32),
            axes=array("look.axes", np.float32),
            radius=np.inf if config["look_radius"] is None else config["look_radius"],
        ),
    )
