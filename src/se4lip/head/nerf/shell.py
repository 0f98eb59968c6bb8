"""The bounds of the field: a thin shell around the face's surface, and how expression bends it.

A face seen from the front is a relief: over each ``(x, y)`` of head coordinates lies one surface
point. The field lives from ``front_cm`` before that surface to ``behind_cm`` behind it, and its
coordinates are flattened: u and v run over the relief's rectangle, w through the shell, all in
[-1, 1]. Rays stay straight and lengths true; only the addresses of features are flat.

For a frame, points are first carried back to where they were at the canonical expression: maps over
the rectangle say how far, each map as far as its code and its code's curves say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class ShellConfig:
    """The rectangle in head coordinates, centimetres; ``rows`` x ``columns`` are its maps."""

    left_cm: float
    right_cm: float
    top_cm: float
    bottom_cm: float
    rows: int
    columns: int
    mouth_width: int
    eye_width: int
    look_width: int
    curves: int = 12
    hidden: int = 32
    front_cm: float = 0.8
    behind_cm: float = 1.6
    fade_cm: float = 1.2
    sway_width: int = 0  # of what the head's pose says (`head.sway`)

    @property
    def thickness_cm(self) -> float:
        return self.front_cm + self.behind_cm


class Shell(nn.Module):
    """``relief_cm`` is the surface's z; the shares say which part of the face a code may bend."""

    relief_cm: Tensor
    mouth_share: Tensor
    eye_share: Tensor
    sway_share: Tensor
    origin: Tensor

    def __init__(self, config: ShellConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.rows, config.columns
        self.register_buffer("relief_cm", torch.zeros(shape))
        self.register_buffer("mouth_share", torch.ones(shape))
        self.register_buffer("eye_share", torch.ones(shape))
        self.register_buffer("origin", torch.zeros(config.mouth_width))
        mouth = config.mouth_width + config.curves
        self.mouth_maps = nn.Parameter(torch.zeros(mouth, *shape, 3))
        self.eye_maps = nn.Parameter(torch.zeros(config.eye_width, *shape, 3))
        self.look_maps = nn.Parameter(torch.zeros(config.look_width, *shape, 3))
        if config.sway_width:
            self.register_buffer("sway_share", torch.ones(shape))
            self.sway_maps = nn.Parameter(torch.zeros(config.sway_width, *shape, 3))
        self.curves = nn.Sequential(
            nn.Linear(config.mouth_width, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.curves),
            nn.Tanh(),
        )

    def bend(
        self,
        mouth: Float[Tensor, "P K"],
        eyes: Float[Tensor, "P E"],
        look: Float[Tensor, "P L"],
        sway: Float[Tensor, "P S"] | None = None,
    ) -> Float[Tensor, "P rows columns 3"]:
        """The way back, in centimetres, from each place of a frame to the canonical face."""
        offset = mouth - self.origin
        bent = self.curves(offset) - self.curves(torch.zeros_like(self.origin))
        weights = torch.cat((offset, bent), dim=-1)
        back = torch.einsum("pj,jyxc->pyxc", weights, self.mouth_maps) * self.mouth_share[..., None]
        blink = torch.einsum("pj,jyxc->pyxc", eyes, self.eye_maps) * self.eye_share[..., None]
        back = back + blink + torch.einsum("pj,jyxc->pyxc", look, self.look_maps)
        if sway is None or not self.config.sway_width:
            return back
        swayed = torch.einsum("pj,jyxc->pyxc", sway, self.sway_maps)
        return back + swayed * self.sway_share[..., None]

    def surface(self, bent: Float[Tensor, "P rows columns 3"]) -> Float[Tensor, "P rows columns"]:
        """The relief of each frame: where the canonical one has gone."""
        frames, rows, columns, _ = bent.shape
        y, x = torch.meshgrid(self._ticks(rows), self._ticks(columns), indexing="ij")
        frame = torch.zeros(frames, rows, columns, dtype=torch.long, device=bent.device)
        at = torch.stack((x, y), -1) + self._flat(bent[..., :2])
        return read_maps(self.relief_cm[None, ..., None], frame, at)[..., 0] - bent[..., 2]

    def rectangle(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 2"]:
        """u and v of head points."""
        config = self.config
        low = points.new_tensor([config.left_cm, config.top_cm])
        high = points.new_tensor([config.right_cm, config.bottom_cm])
        return 2 * (points[..., :2] - low) / (high - low) - 1

    def canonical(
        self,
        points: Float[Tensor, "n 3"],
        frame: Int[Tensor, " n"],
        bent: Float[Tensor, "P rows columns 3"],
    ) -> Float[Tensor, "n 3"]:
        """Field coordinates (u, v, w) of head points of frames ``frame``; differentiable."""
        back = read_maps(bent, frame, self.rectangle(points))
        points = points + back
        at = self.rectangle(points)
        relief = read_maps(self.relief_cm[None, ..., None], torch.zeros_like(frame), at)
        depth_cm = points[..., 2:] - relief
        through = 2 * (depth_cm + self.config.front_cm) / self.config.thickness_cm - 1
        return torch.cat((at, through), dim=-1)

    def depth_cm(self, places: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Behind the relief (positive) or before it."""
        return (places[..., 2] + 1) / 2 * self.config.thickness_cm - self.config.front_cm

    def fade(self, places: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """1 inside, falling smoothly to 0 at the borders of the rectangle."""
        config = self.config
        reach = places.new_tensor(
            [config.right_cm - config.left_cm, config.bottom_cm - config.top_cm]
        )
        inside = ((1 - places[..., :2].abs()) * reach / (2 * config.fade_cm)).clamp(0, 1)
        return (inside * inside * (3 - 2 * inside)).prod(-1)

    def _ticks(self, count: int) -> Float[Tensor, " count"]:
        return torch.linspace(-1, 1, count, device=self.origin.device, dtype=self.origin.dtype)

    def _flat(self, way_cm: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        config = self.config
        size = [config.right_cm - config.left_cm, config.bottom_cm - config.top_cm]
        return 2 * way_cm / way_cm.new_tensor(size)


def read_maps(
    maps: Float[Tensor, "P rows columns C"],
    frame: Int[Tensor, "*n"],
    at: Float[Tensor, "*n 2"],
) -> Float[Tensor, "*n C"]:
    """Bilinear readings of map ``frame`` at u, v in [-1, 1], the border held beyond."""
    _, rows, columns, channels = maps.shape
    x = ((at[..., 0] + 1) / 2 * (columns - 1)).clamp(0, columns - 1)
    y = ((at[..., 1] + 1) / 2 * (rows - 1)).clamp(0, rows - 1)
    # What is no number stays none in the reading, and must not become an index.
    whole = [at.detach().nan_to_num().long() for at in (x, y)]
    left, top = whole[0].clamp(max=columns - 2), whole[1].clamp(max=rows - 2)
    a, b = (x - left)[..., None], (y - top)[..., None]
    first = (frame * rows + top) * columns + left
    flat = maps.reshape(-1, channels)
    upper = flat[first] * (1 - a) + flat[first + 1] * a
    lower = flat[first + columns] * (1 - a) + flat[first + columns + 1] * a
    return upper * (1 - b) + lower * b
