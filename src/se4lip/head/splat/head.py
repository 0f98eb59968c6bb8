"""A talking head of 3D Gaussians in front of a still picture.

Gaussians live in head coordinates at one canonical expression (mouth open, so that the lips are
apart). For each frame the branches change them, the head's pose carries them into the camera, and
those below the chin follow the head only in part. What no Gaussian covers is the plate.

Order of the Gaussians: mouth interior, lower face, cheeks, eyes and brows, everything else. Each
branch moves one run of them: what is said the interior, and with the lower face the cheeks; blinks
the cheeks, eyes and brows; the look all; the head's pose everything else (`head.sway`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.head.base import LearnedHead
from se4lip.head.camera import resized
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.head.splat.deform import CHANGES, COLOUR, LOG_SCALE, MEAN, OPACITY, Branch, BranchConfig
from se4lip.head.splat.gaussians import Gaussians, RawGaussians
from se4lip.head.splat.raster import RasterConfig, choose_backend, rasterize
from se4lip.head.sway import SWAY_WIDTH, Sway
from se4lip.types import Camera, InputError

EPS2D_PX2 = 0.3  # the low-pass of the size trained at; scaled along with the picture


@dataclass(frozen=True)
class SplatHeadConfig:
    """``runs`` are the row numbers at which the parts of the head begin: mouth interior (0), lower
    face, cheeks, eyes and brows, everything else, and the total."""

    camera: Camera
    runs: tuple[int, int, int, int, int, int]
    feature_width: int
    mouth_width: int
    eye_width: int
    look_width: int
    curves: int = 12
    speech_hidden: int = 64
    sways: bool = False  # hair, neck and torso with the head's pose (`head.sway`)

    def __post_init__(self) -> None:
        # Kernels go where these say, without looking.
        if self.runs[0] != 0 or any(a > b for a, b in itertools.pairwise(self.runs)):
            raise InputError(f"runs are {self.runs}, but rows from 0 on that never fall are needed")


class SplatHead(LearnedHead):
    """Features and motion to pictures."""

    config: SplatHeadConfig

    def __init__(self, config: SplatHeadConfig, raw: RawGaussians) -> None:
        super().__init__()
        self.config = config
        interior, lower, cheeks, eyes, rest, total = config.runs
        if total != len(raw.means):
            raise ValueError(f"runs end at {total}, but there are {len(raw.means)} Gaussians")
        self.raw = nn.ParameterDict(raw.tensors())
        self.head_share = nn.Parameter(torch.ones(total))
        curves, mouth = config.curves, config.mouth_width
        self.interior = Branch(BranchConfig(interior, lower, mouth, curves))
        self.face = Branch(BranchConfig(lower, eyes, mouth, curves))
        self.eyes = Branch(BranchConfig(cheeks, rest, config.eye_width, curves))
        self.look = Branch(BranchConfig(interior, total, config.look_width, 0))
        if config.sways:
            self.sway = Sway()
            self.swaying = Branch(BranchConfig(rest, total, SWAY_WIDTH, 0))
            self.plate_sway = nn.Parameter(torch.zeros(SWAY_WIDTH, 3, 16, 16))
        self.plate = nn.Parameter(torch.zeros(config.camera.height_px, config.camera.width_px, 3))
        self._enlarged_plate: tuple[object, Tensor] | None = None
        self.plate_look = nn.Parameter(torch.zeros(config.look_width, 3, 16, 16))
        self.speech = SpeechWindow(
            SpeechWindowConfig(config.feature_width, mouth, config.speech_hidden)
        )

    def gaussians(
        self,
        mouth: Float[Tensor, " K"],
        eyes: Float[Tensor, " E"],
        look: Float[Tensor, " L"],
        camera_from_head: Float[Tensor, "3 4"],
    ) -> Gaussians:
        """The Gaussians of one frame, in head coordinates."""
        raw = self.raw
        change = torch.zeros_like(raw["means"][:, :1]).expand(-1, CHANGES)
        for branch, code in self._driven(mouth, eyes, look, camera_from_head):
            start, stop = branch.config.start, branch.config.stop
            grown = functional.pad(branch(code), (0, 0, start, len(change) - stop))
            change = change + grown
        return RawGaussians(
            means=raw["means"] + change[:, MEAN],
            log_scales=raw["log_scales"] + change[:, LOG_SCALE],
            quats=raw["quats"],
            opacity_logits=raw["opacity_logits"] + change[:, OPACITY].squeeze(1),
            colours=raw["colours"] + change[:, COLOUR],
        ).activate()

    def _driven(
        self,
        mouth: Float[Tensor, " K"],
        eyes: Float[Tensor, " E"],
        look: Float[Tensor, " L"],
        camera_from_head: Float[Tensor, "3 4"],
    ) -> Iterator[tuple[Branch, Tensor]]:
        """Every branch and its code."""
        yield self.look, look
        if self.config.sways:
            yield self.swaying, self.sway(camera_from_head)
        yield from ((self.interior, mouth), (self.face, mouth), (self.eyes, eyes))

    def placed(
        self,
        mouth: Float[Tensor, " K"],
        eyes: Float[Tensor, " E"],
        look: Float[Tensor, " L"],
        camera_from_head: Float[Tensor, "3 4"],
        camera_from_torso: Float[Tensor, "3 4"],
    ) -> Gaussians:
        """The Gaussians of one frame, in camera coordinates."""
        if not self._only_shown:
            gaussians = self.gaussians(mouth, eyes, look, camera_from_head)
            return self.posed(gaussians, camera_from_head, camera_from_torso)
        from se4lip.head.splat.frame_numba import placed_numba

        poses = ((p, quat_from_rotation(p[:, :3])) for p in (camera_from_head, camera_from_torso))
        driven = self._driven(mouth, eyes, look, camera_from_head)
        return placed_numba(RawGaussians(**self.raw), self.head_share, driven, *poses)

    @property
    def _only_shown(self) -> bool:
        """Whether nobody learns from the picture, and numba draws it."""
        means = self.raw["means"]
        on_cpu = means.device.type == "cpu" and choose_backend(means) == "numba"
        return on_cpu and not torch.is_grad_enabled()

    def posed(
        self,
        gaussians: Gaussians,
        camera_from_head: Float[Tensor, "3 4"],
        camera_from_torso: Float[Tensor, "3 4"],
    ) -> Gaussians:
        """Head to camera coordinates: with the head or with the torso, by each one's
        `head_share`."""
        share = self.head_share.clamp(0, 1)[:, None]
        with_head = gaussians.means @ camera_from_head[:, :3].T + camera_from_head[:, 3]
        with_torso = gaussians.means @ camera_from_torso[:, :3].T + camera_from_torso[:, 3]
        turn = share * quat_from_rotation(camera_from_head[:, :3])
        turn = turn + (1 - share) * quat_from_rotation(camera_from_torso[:, :3])
        return Gaussians(
            means=share * with_head + (1 - share) * with_torso,
            scales=gaussians.scales,
            quats=quat_product(turn, gaussians.quats),
            opacities=gaussians.opacities,
            colours=gaussians.colours,
        )

    def background(
        self,
        look: Float[Tensor, " L"],
        camera_from_head: Float[Tensor, "3 4"],
        camera: Camera,
    ) -> Float[Tensor, "H W 3"]:
        """What is seen where no Gaussian is."""
        tint = torch.einsum("l,lchw->chw", look, self.plate_look)
        if self.config.sways:
            sway = self.sway(camera_from_head)
            tint = tint + torch.einsum("l,lchw->chw", sway, self.plate_sway)
        size = (camera.height_px, camera.width_px)
        if self._only_shown:
            from se4lip.head.splat.frame_numba import tinted_numba

            return tinted_numba(self._plate(size), tint)
        tint = functional.interpolate(tint[None], size, mode="bilinear", align_corners=False)[0]
        return self._plate(size) + tint.permute(1, 2, 0)

    def _plate(self, size: tuple[int, int]) -> Float[Tensor, "H W 3"]:
        """The plate in another size, kept for the next frame: enlarging it takes a quarter of
        the time of a frame at 512x512."""
        if size == self.plate.shape[:2]:
            return self.plate
        if torch.is_grad_enabled() or self.plate.is_inference():  # the latter count no changes
            return _enlarged(self.plate, size)
        made_of = size, self.plate.data_ptr(), self.plate._version
        kept = self._enlarged_plate  # once, for other threads may draw in another size
        if kept is None or kept[0] != made_of:
            kept = self._enlarged_plate = made_of, _enlarged(self.plate, size)
        return kept[1]

    def draw(
        self,
        mouth: Float[Tensor, " K"],
        eyes: Float[Tensor, " E"],
        look: Float[Tensor, " L"],
        camera_from_head: Float[Tensor, "3 4"],
        camera_from_torso: Float[Tensor, "3 4"],
        width_px: int | None = None,
    ) -> Float[Tensor, "H W 3"]:
        """One frame; differentiable. ``width_px`` None is the size trained at."""
        camera, scale = self.config.camera, 1.0
        if width_px is not None and width_px != camera.width_px:
            scale = width_px / camera.width_px
            camera = resized(camera, width_px, round(camera.height_px * scale))
        background = self.background(look, camera_from_head, camera)
        placed = self.placed(mouth, eyes, look, camera_from_head, camera_from_torso)
        low_pass = RasterConfig(eps2d_px2=EPS2D_PX2 * scale**2)
        return rasterize(placed, camera, background.contiguous(), config=low_pass)[0]


def _enlarged(picture: Float[Tensor, "H W 3"], size: tuple[int, int]) -> Float[Tensor, "h w 3"]:
    channels_first = picture.permute(2, 0, 1)[None]
    large = functional.interpolate(channels_first, size, mode="bicubic", align_corners=False)
    return large[0].permute(1, 2, 0).contiguous()


def quat_from_rotation(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, " 4"]:
    """(w, x, y, z) of a rotation by less than 180 degrees, any length."""
    r = rotation
    w = 1 + r[0, 0] + r[1, 1] + r[2, 2]
    return torch.stack((w, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])) / w


def quat_product(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """The rotation ``b`` followed by ``a``."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )
