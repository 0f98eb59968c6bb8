"""Rays and the shell: the pinhole of the splat head, the relief, the way back, empty cells."""

from __future__ import annotations

import math

import pytest
import torch

from nerf_scenes import CAMERA, DISTANCE, driven, small_head, still
from poses import pose_from_vector
from se4lip.head.camera import project_px, transform
from se4lip.head.nerf.head import pixel_centres
from se4lip.head.nerf.sampling import cells_of, head_rays, in_occupied, meet, sample
from se4lip.head.nerf.shell import Shell, ShellConfig, read_maps
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import rasterize


def flat_shell(**changes: float) -> Shell:
    config = ShellConfig(-4, 4, -5, 5, 12, 10, mouth_width=2, eye_width=1, look_width=0, **changes)
    return Shell(config).requires_grad_(False)


def test_a_point_is_on_the_ray_of_the_pixel_it_is_projected_to() -> None:
    pose = pose_from_vector(torch.tensor([0.2, -0.3, 0.1]), torch.tensor([0.5, -1.0, 30.0]))
    points = torch.randn(20, 3)
    placed = transform(pose, points)
    origins, directions = head_rays(project_px(placed, CAMERA), CAMERA, pose.expand(20, 3, 4))
    torch.testing.assert_close(origins + placed[:, 2:] * directions, points, atol=1e-4, rtol=0)


def test_the_same_point_lands_on_the_same_pixel_in_both_heads() -> None:
    """A dot of a Gaussian and a dot of density, at one place of one posed head."""
    dot = torch.tensor([[1.1, -0.7, 0.0]])
    pose = pose_from_vector(torch.tensor([0.05, -0.1, 0.2]), torch.tensor([0.3, 0.2, DISTANCE]))
    gaussian = Gaussians(
        means=dot,
        scales=torch.full((1, 3), 0.12),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        opacities=torch.full((1,), 0.9),
        colours=torch.ones(1, 3),
    )
    splat = rasterize(gaussian, CAMERA, torch.zeros(3), pose)[0][..., 0]

    head = small_head().requires_grad_(False)
    for parameter in head.parameters():
        parameter.zero_()
    head.shell.relief_cm.zero_()
    head.field.table[:, 3] = -20
    place = head.shell.rectangle(dot)[0]
    rows, columns = head.config.field.rows, head.config.field.columns
    at = (place + 1) / 2 * torch.tensor([columns - 1, rows - 1])
    left, top = at.long().tolist()
    for y in (top, top + 1):  # bilinear weights, so that the dot's middle is the point
        for x in (left, left + 1):
            head.field.table[y * columns + x, :3] = 1.0
            head.field.table[y * columns + x, 3] = 2.0
    head.backdrop.torso_alpha.fill_(-30)
    codes = [part * 0 for part in driven()[:3]]
    nerf = head.draw(*(c[0] for c in codes), pose, still(1)[0])[..., 0]

    pixels = pixel_centres(CAMERA)
    middles = [
        (picture[..., None] * pixels).sum((0, 1)) / picture.sum() for picture in (splat, nerf)
    ]
    expected = project_px(transform(pose, dot), CAMERA)[0]
    assert (middles[0] - expected).norm() < 0.1
    texel_px = 0.45 * CAMERA.focal_px / DISTANCE  # the dot's middle is known to half a texel
    assert (middles[1] - expected).norm() < texel_px / 2


def test_rays_meet_a_slanted_plane_where_geometry_says() -> None:
    shell = flat_shell()
    # relief z = 0.2 x + 0.1 y + 0.3, over the rectangle
    x, y = torch.meshgrid(torch.linspace(-4, 4, 10), torch.linspace(-5, 5, 12), indexing="xy")
    surface = (0.2 * x + 0.1 * y + 0.3)[None]
    pose = pose_from_vector(torch.tensor([0.1, 0.1, 0.0]), torch.tensor([0.0, 0.0, 30.0]))
    pixels = pixel_centres(CAMERA).view(-1, 2)
    pixels = pixels[((pixels - 17).abs() < 7).all(-1)]
    origins, directions = head_rays(pixels, CAMERA, pose.expand(len(pixels), 3, 4))
    frame = torch.zeros(len(pixels), dtype=torch.long)
    met = meet(shell, surface, frame, origins, directions)
    normal = torch.tensor([-0.2, -0.1, 1.0])
    exact = (0.3 - origins @ normal) / (directions @ normal)
    torch.testing.assert_close(met, exact, atol=2e-3, rtol=0)


def test_samples_cover_the_shell_evenly_and_in_order() -> None:
    shell = flat_shell(front_cm=1.0, behind_cm=2.0)
    bent = torch.zeros(1, 12, 10, 3)
    everything = torch.ones(6, 6, 5, dtype=torch.bool)
    origins, directions = head_rays(torch.tensor([[18.0, 17.0]]), CAMERA, still(1))
    samples = sample(
        shell, bent, shell.surface(bent), everything, torch.zeros(1).long(), origins, directions, 6
    )
    assert samples.step.tolist() == list(range(6))
    torch.testing.assert_close(
        samples.points[:, 2],
        torch.tensor([-0.75, -0.25, 0.25, 0.75, 1.25, 1.75]),
        atol=1e-5,
        rtol=0,
    )
    assert samples.length_cm.item() == pytest.approx(0.5)


def test_a_slanting_ray_is_longer_in_the_shell() -> None:
    shell, steps = flat_shell(), 4
    bent = torch.zeros(1, 12, 10, 3)
    pose = pose_from_vector(torch.tensor([0.0, 0.6, 0.0]), torch.tensor([0.0, 0.0, DISTANCE]))
    origins, directions = head_rays(torch.tensor([[18.0, 17.0]]), CAMERA, pose[None])
    everything = torch.ones(6, 6, 5, dtype=torch.bool)
    samples = sample(
        shell,
        bent,
        shell.surface(bent),
        everything,
        torch.zeros(1).long(),
        origins,
        directions,
        steps,
    )
    measured = samples.points.diff(dim=0).norm(dim=-1)
    torch.testing.assert_close(measured, samples.length_cm.expand(3), atol=1e-4, rtol=0)
    assert samples.length_cm.item() == pytest.approx(2.4 / steps / torch.cos(torch.tensor(0.6)))


def test_empty_cells_have_no_samples() -> None:
    shell = flat_shell()
    bent = torch.zeros(1, 12, 10, 3)
    occupied = torch.zeros(6, 6, 5, dtype=torch.bool)
    occupied[2, 3, 2] = True
    pixels = pixel_centres(CAMERA).view(-1, 2)
    origins, directions = head_rays(pixels, CAMERA, still(len(pixels)))
    frame = torch.zeros(len(pixels), dtype=torch.long)
    samples = sample(shell, bent, shell.surface(bent), occupied, frame, origins, directions, 12)
    assert len(samples.points) > 20
    places = shell.canonical(samples.points, frame[samples.ray], bent)
    cell, inside = cells_of(places, (6, 6, 5))
    assert inside.all() and set(cell.tolist()) == {(2 * 6 + 3) * 5 + 2}


def test_places_beyond_the_shell_are_in_no_cell() -> None:
    everything = torch.ones(2, 3, 4, dtype=torch.bool)
    places = torch.tensor([[0.0, 0, 0], [1.0, 1, 1], [1.01, 0, 0], [0, 0, -1.2]])
    assert in_occupied(everything, places).tolist() == [True, True, False, False]


def test_what_a_code_bends_is_carried_back() -> None:
    """A map that says "came from 1 cm further left" moves the content 1 cm to the right."""
    shell = flat_shell()
    shell.mouth_maps[0, ..., 0] = -1.0
    bent = shell.bend(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1), torch.zeros(1, 0))
    moved = shell.canonical(torch.tensor([[1.5, 2.0, 0.0]]), torch.zeros(1).long(), bent)
    stayed = shell.canonical(torch.tensor([[0.5, 2.0, 0.0]]), torch.zeros(1).long(), bent * 0)
    torch.testing.assert_close(moved, stayed)


def test_the_surface_follows_what_is_bent() -> None:
    shell = flat_shell()
    ramp = torch.linspace(-2, 2, 10).expand(12, 10)
    shell.relief_cm.copy_(ramp)
    shell.mouth_maps[0, ..., 0] = -8 / 9  # one cell
    shell.mouth_maps[0, ..., 2] = 0.5  # came from further back: it stands out
    bent = shell.bend(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1), torch.zeros(1, 0))
    surface = shell.surface(bent)[0]
    torch.testing.assert_close(surface[:, 1:], ramp[:, :-1] - 0.5, atol=1e-5, rtol=0)


def test_a_blink_bends_nothing_where_the_mouth_is() -> None:
    shell = flat_shell()
    shell.eye_maps.normal_()
    shell.mouth_maps.normal_()
    shell.mouth_share[:6], shell.eye_share[6:] = 0, 0
    none = torch.zeros(1, 2), torch.zeros(1, 1), torch.zeros(1, 0)
    blink = shell.bend(none[0] + shell.origin, torch.ones(1, 1), none[2])
    speech = shell.bend(torch.ones(1, 2), none[1], none[2])
    assert blink[0, :6].abs().min() > 0 and not blink[0, 6:].any()
    assert speech[0, 6:].abs().min() > 0 and not speech[0, :6].any()


def test_a_pose_bends_nothing_of_the_face() -> None:
    shell = flat_shell(sway_width=6)
    shell.sway_maps.normal_()
    shell.sway_share[6:] = 0
    none = shell.origin[None], torch.zeros(1, 1), torch.zeros(1, 0)
    swayed = shell.bend(*none, torch.ones(1, 6))
    assert swayed[0, :6].abs().min() > 0 and not swayed[0, 6:].any()


def test_readings_of_maps_are_bilinear_and_have_true_gradients() -> None:
    maps = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    at = (torch.rand(5, 2, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    frame = torch.tensor([0, 1, 1, 0, 1])
    assert torch.autograd.gradcheck(lambda m, a: read_maps(m, frame, a), (maps, at))
    wild = torch.tensor([[math.nan, 0.0], [0.0, math.inf]], dtype=torch.float64)
    found = read_maps(maps, torch.tensor([0, 1]), wild)
    assert found[0].isnan().all() and found[1].isfinite().all()  # told by the loss, by no index
    corner = read_maps(maps, torch.tensor([1]), torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    torch.testing.assert_close(corner[0], maps[1, 0, 2])


def test_the_shell_fades_at_its_borders() -> None:
    shell = flat_shell(fade_cm=1.0)
    places = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0.875, 0, 0], [0.0, -0.9, 0.0]])
    torch.testing.assert_close(shell.fade(places), torch.tensor([1.0, 0.0, 0.5, 0.5]))
