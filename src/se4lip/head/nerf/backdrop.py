"""What is behind the head: a torso that is a flat picture, and a still plate behind that.

As in AD-NeRF and the heads after it the torso is no part of the head's field. It is one picture
with an alpha channel, as the person looks at rest, at the head's depth. Down at the shoulders it
moves with the torso, up at the neck with the head; a learned map says where how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.head.camera import compose, invert, project_px, transform, unproject
from se4lip.types import Camera

SHARE_SIZE = 24
LOOK_COARSER = 4


@dataclass(frozen=True)
class BackdropConfig:
    """``margin`` is how far the torso's picture reaches beyond the border, of half the picture's
    side; ``texels`` is how many of its texels lie on a side."""

    look_width: int
    texels: int
    margin: float = 0.15


class Backdrop(nn.Module):
    """Colours behind the head. ``rest`` is the pose of head and torso in the torso's picture."""

    rest: Tensor

    def __init__(self, camera: Camera, config: BackdropConfig) -> None:
        super().__init__()
        self.camera, self.config = camera, config
        looks, side = config.look_width, config.texels
        self.register_buffer("rest", torch.eye(3, 4))
        self.plate = nn.Parameter(torch.zeros(camera.height_px, camera.width_px, 3))
        self.plate_look = nn.Parameter(torch.zeros(looks, 3, 16, 16))
        self.torso_colour = nn.Parameter(torch.zeros(3, side, side))
        self.torso_alpha = nn.Parameter(torch.zeros(1, side, side))  # logits
        few = side // LOOK_COARSER
        self.torso_look = nn.Parameter(torch.zeros(looks, 4, few, few))
        self.head_share = nn.Parameter(torch.zeros(SHARE_SIZE, SHARE_SIZE))  # logits

    def forward(
        self,
        pixels: Float[Tensor, "P n 2"],
        look: Float[Tensor, "P L"],
        camera_from_head: Float[Tensor, "P 3 4"],
        camera_from_torso: Float[Tensor, "P 3 4"],
    ) -> Float[Tensor, "P n 3"]:
        """Colours at positions in the picture at the size trained at."""
        flat = self._on_torso(self.at_rest(pixels, camera_from_head, camera_from_torso))
        torso = _read(torch.cat((self.torso_colour, self.torso_alpha))[None], flat)
        torso = torso + _of_look(look, _read(self.torso_look.flatten(0, 1)[None], flat))
        here = self._in_picture(pixels)
        plate = _read(self.plate.permute(2, 0, 1)[None], here)
        plate = plate + _of_look(look, _read(self.plate_look.flatten(0, 1)[None], here))
        alpha = torso[..., 3:].sigmoid()
        return alpha * torso[..., :3] + (1 - alpha) * plate

    def at_rest(
        self,
        pixels: Float[Tensor, "P n 2"],
        camera_from_head: Float[Tensor, "P 3 4"],
        camera_from_torso: Float[Tensor, "P 3 4"],
    ) -> Float[Tensor, "P n 2"]:
        """Where in the picture at rest a position of a frame lies, on a plane at the head's
        depth."""
        depth = self.rest[2, 3].expand(pixels.shape[:-1])
        points = unproject(pixels, depth, self.camera)

        def undone(camera_from_part: Tensor) -> Tensor:
            back = compose(self.rest.expand_as(camera_from_part), invert(camera_from_part))
            return project_px(transform(back, points), self.camera)

        with_torso = undone(camera_from_torso)
        share = _read(self.head_share[None, None], self._in_picture(with_torso)).sigmoid()
        return with_torso + share * (undone(camera_from_head) - with_torso)

    def _in_picture(self, pixels: Tensor) -> Tensor:
        size = pixels.new_tensor([self.camera.width_px, self.camera.height_px])
        return 2 * pixels / size - 1

    def _on_torso(self, pixels: Tensor) -> Tensor:
        return self._in_picture(pixels) / (1 + self.config.margin)


def _read(picture: Float[Tensor, "1 C H W"], at: Float[Tensor, "P n 2"]) -> Float[Tensor, "P n C"]:
    """Bilinear; the border is held."""
    flat = at.reshape(1, 1, -1, 2)
    found = functional.grid_sample(picture, flat, padding_mode="border", align_corners=False)
    return found[0, :, 0].T.unflatten(0, at.shape[:2])


def _of_look(look: Float[Tensor, "P L"], changes: Float[Tensor, "P n LC"]) -> Tensor:
    """What a look changes, of readings of all its maps side by side."""
    if look.shape[1] == 0:
        return changes.new_zeros(())
    return torch.einsum("pl,pnlc->pnc", look, changes.unflatten(-1, (look.shape[1], -1)))
