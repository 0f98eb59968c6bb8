"""The first guess of a head, taken from the material: Gaussians, colours and the plate behind."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from se4lip.face.expression import lower_share
from se4lip.head.camera import project_px
from se4lip.head.splat.canonical import Canonical, CanonicalConfig, canonical_head
from se4lip.head.splat.head import SplatHead, SplatHeadConfig
from se4lip.mesh import INNER_LIPS, OUTER_LIPS
from se4lip.train.avatar_material import Material
from se4lip.train.avatar_speech import aperture_cm


def start_head(
    material: Material, feature_width: int, config: CanonicalConfig, curves: int, sways: bool
) -> SplatHead:
    """A head that shows its person from one reference picture, not yet trained."""
    person, shown = material.person, material.shown
    mouth, camera = person.mouth, person.camera
    canonical, open_code = canonical_of(material, config)
    head = SplatHead(
        SplatHeadConfig(
            camera=camera,
            runs=canonical.runs,
            feature_width=feature_width,
            mouth_width=mouth.width,
            eye_width=shown.motion.eyes.shape[1],
            look_width=shown.motion.look.shape[1],
            curves=curves,
            sways=sways,
        ),
        canonical.raw,
    )
    bases = canonical.mouth_basis_cm, canonical.mouth_basis_cm, canonical.eye_basis_cm
    shares = canonical.mouth_share, canonical.mouth_share, canonical.eye_share
    with torch.no_grad():
        head.head_share.copy_(canonical.head_share)
        for branch, basis, share in zip(
            (head.interior, head.face, head.eyes), bases, shares, strict=True
        ):
            rows = slice(branch.config.start, branch.config.stop)
            branch.bind(basis[:, rows])
            branch.share.copy_(share[rows])
        if sways:
            head.sway.fit(torch.from_numpy(shown.motion.camera_from_head))
        for branch in (head.interior, head.face):
            branch.origin.copy_(torch.from_numpy(open_code))
        pixels = _coloured(head, material, open_code)
        head.plate.copy_(torch.from_numpy(plate_of(shown.pictures, pixels)))
    return head


def canonical_of(
    material: Material, config: CanonicalConfig | None = None
) -> tuple[Canonical, Float32[np.ndarray, " K"]]:
    """The head with its mouth open, where every renderer starts, and the code that opens it."""
    person = material.person
    mouth, codes = person.mouth, material.shown.mouth
    gap = aperture_cm(mouth, codes)
    open_code = codes[gap >= np.quantile(gap, 0.95)].mean(0)
    canonical = canonical_head(
        mouth.decode(open_code[None])[0],
        mouth.basis_cm,
        material.eye_basis_cm,
        lower_share(mouth.shape_cm, mouth.shape_cm),
        INNER_LIPS,
        OUTER_LIPS,
        person.camera,
        person.mean_pose,
        config,
    )
    return canonical, open_code


def reference_of(material: Material, open_code: Float32[np.ndarray, " K"]) -> int:
    """The picture nearest to the canonical head."""
    shown, motion = material.shown, material.shown.motion
    far = np.abs(shown.mouth - open_code).sum(1) + np.abs(motion.look).sum(1)
    far += np.abs(motion.camera_from_head - material.person.mean_pose).sum((1, 2))
    far += 3 * np.abs(motion.eyes).sum(1)
    return int(np.argmin(far))


def _coloured(
    head: SplatHead, material: Material, open_code: Float32[np.ndarray, " K"]
) -> Float[np.ndarray, "N 2"]:
    """Gives each Gaussian the colour it covers in the picture nearest to the canonical head.

    Returns where in the picture the Gaussians are.
    """
    shown, motion = material.shown, material.shown.motion
    i = reference_of(material, open_code)
    codes = (shown.mouth[i], motion.eyes[i], motion.look[i])
    pose = torch.from_numpy(motion.camera_from_head[i])
    mouth, eyes, look = (torch.from_numpy(code) for code in codes)
    gaussians = head.gaussians(mouth, eyes, look, pose)
    placed = head.posed(gaussians, pose, torch.from_numpy(motion.camera_from_torso[i]))
    pixels = project_px(placed.means, head.config.camera)
    column, row = pixels.long().clamp(0, shown.pictures.shape[1] - 1).T
    picture = torch.from_numpy(shown.pictures[i]).float() / 255
    head.raw["colours"].copy_(picture[row, column])
    return pixels.numpy()


def plate_of(
    pictures: np.ndarray, covered_px: Float[np.ndarray, "N 2"]
) -> Float32[np.ndarray, "H W 3"]:
    """The median picture, with what Gaussians cover filled in from around."""
    size = pictures.shape[1]
    some = pictures[:: max(1, len(pictures) // 200)]
    median = np.median(some, axis=0).astype(np.float32) / 255
    covered = np.zeros((size, size), bool)
    reach = size // 40
    column, row = covered_px.astype(int).T
    for dx in range(-reach, reach + 1, 2):
        for dy in range(-reach, reach + 1, 2):
            covered[(row + dy).clip(0, size - 1), (column + dx).clip(0, size - 1)] = True
    return filled(median, covered)


def filled(
    picture: Float32[np.ndarray, "H W 3"], hole: Bool[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 3"]:
    """``picture`` with ``hole`` painted over smoothly: from ever coarser means of what is known
    (pull-push, Gortler et al. 1996)."""
    if not hole.any() or hole.all():
        return picture
    known = (~hole).astype(np.float32)[..., None]
    colour, weight = _halved(picture * known), _halved(known)
    mean = colour / np.maximum(weight, 1e-6)
    if (weight == 0).any():
        mean = filled(mean, weight[..., 0] == 0)
    doubled = mean.repeat(2, 0).repeat(2, 1)[: hole.shape[0], : hole.shape[1]]
    smooth = (doubled + np.roll(doubled, 1, 0) + np.roll(doubled, 1, 1)) / 3
    smooth[0], smooth[:, 0] = doubled[0], doubled[:, 0]
    return np.where(hole[..., None], smooth, picture).astype(np.float32)


def _halved(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)))
    return padded.reshape(len(padded) // 2, 2, -1, 2, picture.shape[2]).sum((1, 3))
