"""The first guess of a radiance-field head: the reference picture on the relief of the landmarks.

Points laid over the picture as for Gaussians (`splat.canonical`) say where the surface is and how
every place of it follows the codes; the field's maps are fitted to them. Colours and the torso
are the reference picture, the plate is what is left when head and torso are taken out.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from se4lip.head.camera import project_px, transform
from se4lip.head.nerf.backdrop import SHARE_SIZE, BackdropConfig
from se4lip.head.nerf.field import FieldConfig
from se4lip.head.nerf.head import NerfHead, NerfHeadConfig
from se4lip.head.nerf.shell import Shell, ShellConfig
from se4lip.head.splat.canonical import FACE_OVAL, Canonical
from se4lip.head.sway import SWAY_WIDTH
from se4lip.train.avatar_material import Material
from se4lip.train.avatar_start import canonical_of, plate_of, reference_of

_CODES_TRIED = 80  # to which the shell's maps are fitted
_SURVEYS = 8
_EMPTY_LOGIT = -7.0
_NEAR = 4  # points from which a place takes what it does
_BELOW_CHIN = 0.15  # of the face's height: where the field ends
_NECK = 0.35  # of the face's height: where the torso no longer moves with the head
_CONTRAST = 0.08  # by which a pixel of head or torso differs from the plate
_CM_PER_MAP_CELL = 0.35


def start_nerf(
    material: Material, feature_width: int, texels_per_px: float, curves: int, sways: bool
) -> NerfHead:
    """A head that shows its person from one reference picture, not yet trained."""
    person, shown = material.person, material.shown
    mouth, camera = person.mouth, person.camera
    canonical, open_code = canonical_of(material)
    rest = torch.from_numpy(person.mean_pose).float()
    points = canonical.raw.means
    pixels = project_px(transform(rest, points), camera)
    oval = mouth.shape_cm[list(FACE_OVAL)]
    height, chin = np.ptp(oval[:, 1]), oval[:, 1].max()
    of_head = points[points[:, 1] < chin]
    left, top = (of_head[:, :2].amin(0) - 0.5).tolist()
    right = float(of_head[:, 0].max()) + 0.5
    bottom = float(chin + _BELOW_CHIN * height)
    cm_per_px = float(rest[2, 3]) / camera.focal_px

    def texels(low: float, high: float, cm: float) -> int:
        return max(8, round((high - low) / cm))

    codes = {
        "mouth_width": mouth.width,
        "eye_width": shown.motion.eyes.shape[1],
        "look_width": shown.motion.look.shape[1],
    }
    sway_width = SWAY_WIDTH if sways else 0
    texel_cm = cm_per_px / texels_per_px
    head = NerfHead(
        NerfHeadConfig(
            camera=camera,
            shell=ShellConfig(
                left,
                right,
                top,
                bottom,
                rows=texels(top, bottom, _CM_PER_MAP_CELL),
                columns=texels(left, right, _CM_PER_MAP_CELL),
                curves=curves,
                sway_width=sway_width,
                **codes,
            ),
            field=FieldConfig(
                rows=texels(top, bottom, texel_cm), columns=texels(left, right, texel_cm), **codes
            ),
            backdrop=BackdropConfig(codes["look_width"] + sway_width, round(1.2 * camera.width_px)),
            feature_width=feature_width,
        )
    )
    with torch.no_grad():
        if sways:
            head.sway.fit(torch.from_numpy(shown.motion.camera_from_head))
        head.shell.origin.copy_(torch.from_numpy(open_code))
        _fit_shell(head.shell, canonical, torch.from_numpy(shown.mouth))
        head.backdrop.rest.copy_(rest)
        i = reference_of(material, open_code)
        picture = torch.from_numpy(shown.pictures[i]).float() / 255
        plate = torch.from_numpy(plate_of(shown.pictures, pixels.numpy()))
        seen = (picture - plate).abs().amax(-1) > _CONTRAST
        pose = torch.from_numpy(shown.motion.camera_from_head[i])
        _paint_field(head, picture, seen, pose, torch.from_numpy(oval).float())
        chin_y, neck_y = (
            float(project_px(rest @ rest.new_tensor([0, y, 0, 1]), camera)[1])
            for y in (chin, chin + _NECK * height)
        )
        _paint_backdrop(head, picture, seen, plate, chin_y, neck_y)
        head.cell_weight.zero_()
        for i in np.linspace(0, len(shown) - 1, _SURVEYS).astype(int):
            codes_of = (shown.mouth[i], shown.motion.eyes[i], shown.motion.look[i])
            head.survey(*(torch.from_numpy(code) for code in codes_of))
    return head


def _fit_shell(shell: Shell, canonical: Canonical, mouths: Float[Tensor, "M K"]) -> None:
    """Relief and maps. Points say where each place *goes*; maps must say where it came from, so
    they are fitted to the ways back of points that have gone to where many codes take them."""
    config = shell.config
    points = canonical.raw.means
    nodes = _nodes(config)
    surface = points[canonical.runs[1] :]  # without the mouth's inside, which lies behind the lips
    shell.relief_cm.copy_(_carried(nodes, surface, surface[:, 2:]).view(shell.relief_cm.shape))
    # The share is the shell's own, by which it bends.
    back = _carried(nodes, points, -canonical.eye_basis_cm.transpose(0, 1).flatten(1))
    back = back.view(len(nodes), -1, 3).transpose(0, 1)
    shell.eye_maps.copy_(back.reshape(shell.eye_maps.shape))

    follows = canonical.mouth_share > 0
    share = _carried(nodes, points, canonical.mouth_share[:, None])[:, 0]
    shell.mouth_share.copy_(share.view(shell.mouth_share.shape).clamp(0, 1))
    shell.eye_share.copy_(1 - shell.mouth_share)
    if config.sway_width:
        around = (torch.arange(len(points)) >= canonical.runs[4]).float()
        shell.sway_share.copy_(
            _carried(nodes, points, around[:, None]).view(shell.sway_share.shape)
        )
    low = torch.nonzero(share > 0)[:, 0]
    moving, basis = points[follows], canonical.mouth_basis_cm[:, follows]
    basis = basis * canonical.mouth_share[follows, None]
    few = mouths[:: max(1, len(mouths) // _CODES_TRIED)]
    offset = few - shell.origin
    bent = shell.curves(offset) - shell.curves(torch.zeros_like(shell.origin))
    weights = torch.cat((offset, bent), dim=1)
    ways = torch.stack(
        [
            _carried(nodes[low], moving + way, -way)
            for way in torch.einsum("mk,kni->mni", offset, basis)
        ]
    )
    normal = weights.T @ weights / len(few) + 1e-3 * torch.eye(weights.shape[1])
    maps = torch.linalg.solve(normal, weights.T @ ways.flatten(1) / len(few))
    flat = shell.mouth_maps.view(weights.shape[1], -1, 3)
    flat[:, low] = maps.view(weights.shape[1], -1, 3) / share[low, None].clamp_min(0.1)


def _nodes(config: ShellConfig) -> Float[Tensor, "rows_columns 2"]:
    y, x = torch.meshgrid(
        torch.linspace(config.top_cm, config.bottom_cm, config.rows),
        torch.linspace(config.left_cm, config.right_cm, config.columns),
        indexing="ij",
    )
    return torch.stack((x, y), -1).view(-1, 2)


def _carried(
    places: Float[Tensor, "n 2"], points: Float[Tensor, "m 3"], values: Float[Tensor, "m c"]
) -> Float[Tensor, "n c"]:
    """Values of points carried to places of the rectangle: those nearest, by inverse square."""
    found = []
    for block in places.split(2048):
        squared, near = torch.cdist(block, points[:, :2]).square().topk(_NEAR, largest=False)
        weight = 1 / (squared + 0.01)
        weight = weight / weight.sum(1, keepdim=True)
        found.append(torch.einsum("nk,nkc->nc", weight, values[near]))
    return torch.cat(found)


def _paint_field(
    head: NerfHead,
    picture: Float[Tensor, "H W 3"],
    seen: Bool[Tensor, "H W"],
    pose: Float[Tensor, "3 4"],
    oval: Float[Tensor, "36 3"],
) -> None:
    """Each texel gets the colour where it is seen, and is empty where nothing but plate is."""
    field, shell = head.config.field, head.config.shell
    relief = functional.interpolate(
        head.shell.relief_cm[None, None],
        (field.rows, field.columns),
        mode="bilinear",
        align_corners=True,
    )[0, 0]
    y, x = torch.meshgrid(
        torch.linspace(shell.top_cm, shell.bottom_cm, field.rows),
        torch.linspace(shell.left_cm, shell.right_cm, field.columns),
        indexing="ij",
    )
    points = torch.stack((x, y, relief), -1).view(-1, 3)
    at = 2 * project_px(transform(pose, points), head.camera) / head.camera.width_px - 1
    layers = torch.cat((picture, seen[..., None].float()), -1).permute(2, 0, 1)
    read = functional.grid_sample(
        layers[None], at[None, None], padding_mode="border", align_corners=False
    )[0, :, 0].T
    middle, reach = (oval[:, :2].amax(0) + oval[:, :2].amin(0)) / 2, oval[:, :2].amax(0)
    in_face = ((points[:, :2] - middle) / (reach - middle)).square().sum(1) < 1
    solid = torch.where(in_face, 1.0, read[:, 3])
    fine = head.field.table[: field.rows * field.columns]
    fine[:, :3] = read[:, :3]
    fine[:, 3] = _EMPTY_LOGIT * (1 - solid)


def _paint_backdrop(
    head: NerfHead,
    picture: Float[Tensor, "H W 3"],
    seen: Bool[Tensor, "H W"],
    plate: Float[Tensor, "H W 3"],
    chin_y: float,
    neck_y: float,
) -> None:
    backdrop, size = head.backdrop, head.camera.width_px
    side = backdrop.config.texels
    backdrop.plate.copy_(plate)
    ticks = (torch.arange(side) + 0.5) * 2 / side - 1
    ticks = ticks * (1 + backdrop.config.margin)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    below = torch.linspace(0.5, size - 0.5, size)[:, None] > chin_y - 0.04 * size
    alpha = torch.where(seen & below, 2.0, -3.0)
    layers = torch.cat((picture, alpha[..., None]), -1).permute(2, 0, 1)
    at = torch.stack((x, y), -1)[None]
    read = functional.grid_sample(layers[None], at, padding_mode="border", align_corners=False)
    backdrop.torso_colour.copy_(read[0, :3])
    backdrop.torso_alpha.copy_(read[0, 3:])
    rows = (torch.arange(SHARE_SIZE) + 0.5) * size / SHARE_SIZE
    way = ((rows - chin_y) / (neck_y - chin_y)).clamp(0, 1)
    share = 1 - way * way * (3 - 2 * way)
    backdrop.head_share.copy_(share.clamp(0.02, 0.98).logit()[:, None].expand(-1, SHARE_SIZE))
