"""A talking head that is a radiance field, over a torso that is a picture, before a still plate.

The same cameras, codes, motion and background as the head of 3D Gaussians (`head.splat`); only
what is between them differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from se4lip.head.base import LearnedHead
from se4lip.head.camera import resized
from se4lip.head.nerf.backdrop import Backdrop, BackdropConfig
from se4lip.head.nerf.drawing import NO_CACHE, Baked, Cached, bake, cache_density, draw_field
from se4lip.head.nerf.field import Field, FieldConfig
from se4lip.head.nerf.sampling import head_rays, sample
from se4lip.head.nerf.shell import Shell, ShellConfig
from se4lip.head.nerf.volume import composite, weights
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.head.sway import Sway
from se4lip.types import Camera, InputError, within

_CELL_TEXELS = 4
_EMPTY = 2e-2  # share of a pixel below which a cell need not be asked
_FORGET = 0.9
_RAYS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class NerfHeadConfig:
    """``steps`` is how many samples a ray has in the shell at most."""

    camera: Camera
    shell: ShellConfig
    field: FieldConfig
    backdrop: BackdropConfig
    feature_width: int
    speech_hidden: int = 64
    steps: int = 12

    def __post_init__(self) -> None:
        within(self, steps=(1, 1024))

    @property
    def cells(self) -> tuple[int, int, int]:
        field = self.field
        return field.layers, field.rows // _CELL_TEXELS, field.columns // _CELL_TEXELS


# What a CPU may leave out of a picture: three of four rays, or samples that hardly count by the
# density of the face at rest.
Shortcut = Literal["none", "half-resolution", "cached-density"]


class Driven(NamedTuple):
    """What moves P frames: codes and poses, in the order in which every head draws them."""

    mouth: Float[Tensor, "P K"]
    eyes: Float[Tensor, "P E"]
    look: Float[Tensor, "P L"]
    camera_from_head: Float[Tensor, "P 3 4"]
    camera_from_torso: Float[Tensor, "P 3 4"]


class NerfHead(LearnedHead):
    """Features and motion to pictures."""

    config: NerfHeadConfig
    cell_weight: Tensor
    occupied: Bool[Tensor, "layers rows columns"]

    def __init__(self, config: NerfHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.shell, self.field = Shell(config.shell), Field(config.field)
        if config.shell.sway_width:
            self.sway = Sway()
        self.backdrop = Backdrop(config.camera, config.backdrop)
        # the largest share of a pixel that each cell of the shell has had lately
        self.register_buffer("cell_weight", torch.ones(config.cells))
        self.register_buffer("occupied", torch.ones(config.cells, dtype=torch.bool))
        self.shortcut: Shortcut = "none"
        self._tables: tuple[Baked, Cached] | None = None  # one, for threads that draw at once
        self.speech = SpeechWindow(
            SpeechWindowConfig(config.feature_width, config.shell.mouth_width, config.speech_hidden)
        )

    @torch.no_grad()
    def draw(
        self,
        mouth: Float[Tensor, " K"],
        eyes: Float[Tensor, " E"],
        look: Float[Tensor, " L"],
        camera_from_head: Float[Tensor, "3 4"],
        camera_from_torso: Float[Tensor, "3 4"],
        width_px: int | None = None,
    ) -> Float[Tensor, "H W 3"]:
        """One frame. ``width_px`` None is the size trained at.

        Raises: InputError when there is a shortcut, and this is not the compiled way of the CPU.
        """
        camera = self.camera
        if width_px is not None and width_px != camera.width_px:
            height = round(camera.height_px * width_px / camera.width_px)
            camera = resized(camera, width_px, height)
        parts = (mouth, eyes, look, camera_from_head, camera_from_torso)
        driven = Driven(*(part[None] for part in parts))
        if self.device.type == "cpu" and mouth.dtype == torch.float32:
            return self._draw_compiled(camera, driven)
        if self.shortcut != "none":
            raise InputError(
                f"the shortcut {self.shortcut!r} is one of the CPU's, and this head is on "
                f"{self.device}: leave --shortcut out, or give --device cpu"
            )
        drawn = [
            self.colours(block[None], driven, camera)[0][0]
            for block in pixel_centres(camera, mouth.device).flatten(0, 1).split(_RAYS_AT_ONCE)
        ]
        return torch.cat(drawn).view(camera.height_px, camera.width_px, 3)

    def _draw_compiled(self, camera: Camera, driven: Driven) -> Float[Tensor, "H W 3"]:
        baked, cached = self._baked()
        pixels = pixel_centres(camera).flatten(0, 1)[None]
        behind = self._behind(pixels, driven, camera)[0]
        codes = self.field.codes(*driven[:3])[0]
        bent = self._bend(driven)[0]
        size = camera.width_px, camera.height_px
        seen = camera
        if self.shortcut == "half-resolution":
            seen = resized(camera, -(-size[0] // 2), -(-size[1] // 2))
        pose = driven.camera_from_head[0]
        drawn = draw_field(self, baked, cached, codes, bent, pose, seen)
        if seen is not camera:
            small = drawn.permute(2, 0, 1)[None]
            large = functional.interpolate(small, size[::-1], mode="bilinear")
            drawn = large[0].permute(1, 2, 0)
        return drawn[..., :3] + drawn[..., 3:] * behind.view(*drawn.shape[:2], 3)

    def _baked(self) -> tuple[Baked, Cached]:
        """The field as kernels read it, and its density, if that is to be read off a table."""
        tables = self._tables
        if tables is None or not tables[0].is_of(self.field):
            tables = bake(self.field), NO_CACHE
        if self.shortcut == "cached-density" and not tables[1].size:
            tables = tables[0], cache_density(self)
        self._tables = tables
        return tables[0], tables[1] if self.shortcut == "cached-density" else NO_CACHE

    def _behind(
        self, pixels: Float[Tensor, "P n 2"], driven: Driven, camera: Camera
    ) -> Float[Tensor, "P n 3"]:
        trained = pixels * (self.camera.width_px / camera.width_px)
        poses = driven.camera_from_head, driven.camera_from_torso
        look = driven.look
        if self.config.shell.sway_width:  # to what is behind the head, the pose is one more look
            look = torch.cat((look, self.sway(driven.camera_from_head)), dim=1)
        found: Tensor = self.backdrop(trained, look, *poses)
        return found

    def _bend(self, driven: Driven) -> Float[Tensor, "P rows columns 3"]:
        sways = bool(self.config.shell.sway_width)
        sway = self.sway(driven.camera_from_head) if sways else None
        return self.shell.bend(driven.mouth, driven.eyes, driven.look, sway)

    def colours(
        self,
        pixels: Float[Tensor, "P n 2"],
        driven: Driven,
        camera: Camera | None = None,
        shift: Float[Tensor, "P n"] | None = None,
    ) -> tuple[Float[Tensor, "P n 3"], Float[Tensor, "P n"]]:
        """Colours at positions in the pictures of P frames, and how much of each is the head;
        differentiable.

        ``pixels`` are those of ``camera``, the one trained with by default. ``shift`` moves each
        ray's samples within their steps (`sampling.sample`).
        """
        config, camera = self.config, camera or self.camera
        behind = self._behind(pixels, driven, camera)
        frames, per_frame, _ = pixels.shape
        frame = torch.arange(frames, device=pixels.device).repeat_interleave(per_frame)
        bent = self._bend(driven)
        with torch.no_grad():
            origins, directions = head_rays(
                pixels.flatten(0, 1), camera, driven.camera_from_head[frame]
            )
            samples = sample(
                self.shell,
                bent,
                self.shell.surface(bent),
                self.occupied,
                frame,
                origins,
                directions,
                config.steps,
                0.5 if shift is None else shift.flatten(),
            )
        of_sample = frame[samples.ray]
        places = self.shell.canonical(samples.points, of_sample, bent)
        codes = self.field.codes(*driven[:3])
        density, colour = self.field(self.shell, places, of_sample, codes)
        shape = len(frame), config.steps
        slot = samples.ray * config.steps + samples.step
        density = density.new_zeros(shape).flatten().index_copy(0, slot, density)
        colour = colour.new_zeros(*shape, 3).flatten(0, 1).index_copy(0, slot, colour)
        drawn, through = composite(
            density.view(shape),
            samples.length_cm[:, None].expand(shape),
            colour.view(*shape, 3),
            behind.flatten(0, 1),
        )
        return drawn.view(frames, per_frame, 3), 1 - through.view(frames, per_frame)

    @torch.no_grad()
    def survey(
        self, mouth: Float[Tensor, " K"], eyes: Float[Tensor, " E"], look: Float[Tensor, " L"]
    ) -> None:
        """Looks through all cells from the front once, for one expression, at random places in
        them; what is empty or hidden in every survey of late will be left out of pictures."""
        layers, rows, columns = self.config.cells
        device = self.cell_weight.device
        grid = torch.meshgrid(
            *(torch.arange(n, device=device) for n in (layers, rows, columns)), indexing="ij"
        )
        z, y, x = (axis.flatten() for axis in grid)
        cell = torch.stack((x, y, z), -1) + torch.rand(len(x), 3, device=device)
        places = 2 * cell / cell.new_tensor([columns, rows, layers]) - 1
        codes = self.field.codes(mouth[None], eyes[None], look[None])
        density, _ = self.field(self.shell, places, torch.zeros_like(x), codes)
        density = density.view(layers, -1).T
        step_cm = self.config.shell.thickness_cm / layers
        share, _ = weights(density, torch.full_like(density, step_cm))
        self.cell_weight.mul_(_FORGET)
        torch.maximum(self.cell_weight, share.T.view(layers, rows, columns), out=self.cell_weight)
        around = functional.max_pool2d(self.cell_weight, 3, 1, 1)  # rays lean, heads turn
        self.occupied.copy_(around > _EMPTY)


def pixel_centres(camera: Camera, device: torch.device | str = "cpu") -> Float[Tensor, "H W 2"]:
    y, x = torch.meshgrid(
        torch.arange(camera.height_px, device=device) + 0.5,
        torch.arange(camera.width_px, device=device) + 0.5,
        indexing="ij",
    )
    return torch.stack((x, y), dim=-1)
