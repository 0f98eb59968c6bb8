"""A small radiance-field head that shows something, for tests."""

from __future__ import annotations

import torch

from poses import pose_from_vector
from se4lip.head.nerf.backdrop import BackdropConfig
from se4lip.head.nerf.field import FieldConfig
from se4lip.head.nerf.head import Driven, NerfHead, NerfHeadConfig
from se4lip.head.nerf.shell import ShellConfig
from se4lip.types import Camera

CAMERA = Camera(90.0, 18.0, 17.0, 36, 34)
MOUTH, EYES, LOOK = 3, 2, 1
DISTANCE = 30.0


def small_head(
    seed: int = 0, look_width: int = LOOK, sway_width: int = 0, **changes: object
) -> NerfHead:
    """A bumpy surface 8 cm wide, 30 cm before the camera, whose codes do a lot."""
    torch.manual_seed(seed)
    widths = {"mouth_width": MOUTH, "eye_width": EYES, "look_width": look_width}
    config = NerfHeadConfig(
        camera=CAMERA,
        shell=ShellConfig(
            -4.0, 4.5, -5.0, 5.0, rows=12, columns=10, curves=2, sway_width=sway_width, **widths
        ),
        field=FieldConfig(rows=24, columns=20, layers=6, hidden=32, **widths),
        backdrop=BackdropConfig(look_width + sway_width, texels=20),
        feature_width=5,
        **changes,  # type: ignore[arg-type]
    )
    head = NerfHead(config).requires_grad_(False)
    for parameter in head.parameters():
        if parameter.ndim > 1:
            parameter.normal_().mul_(0.3 if parameter.ndim == 2 else 0.1)
    head.field.table[:, 3] = torch.randn(len(head.field.table)) - 1
    head.shell.relief_cm.normal_().mul_(0.3)
    head.backdrop.rest.copy_(still(1)[0])
    if sway_width:
        head.sway.fit(still(20) + 0.05 * torch.randn(20, 3, 4))
        head.shell.sway_share.uniform_()
    return head.requires_grad_(True).eval()


def still(frames: int) -> torch.Tensor:
    pose = torch.eye(3, 4)
    pose[2, 3] = DISTANCE
    return pose.repeat(frames, 1, 1)


def driven(frames: int = 1, seed: int = 3, look_width: int = LOOK) -> Driven:
    """Codes and poses of a few frames."""
    torch.manual_seed(seed)
    place = torch.tensor([0.2, -0.1, DISTANCE])
    poses = [
        torch.stack(
            [
                pose_from_vector(0.08 * torch.randn(3), place + 0.2 * torch.randn(3))
                for _ in range(frames)
            ]
        )
        for _ in range(2)
    ]
    codes = [torch.randn(frames, width) for width in (MOUTH, EYES, look_width)]
    return Driven(*codes, *poses)
