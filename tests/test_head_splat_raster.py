"""The picture that Gaussians make: closed forms, laws, hostile scenes, on every CPU back end."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.head.camera import compose, rotation_from_quat, transform
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import choose_backend, rasterize
from se4lip.head.splat.raster_config import ALPHA_MIN, RasterConfig
from se4lip.types import Camera, InputError
from splat_scenes import IDENTITY, cloud, concatenated, one_gaussian, square_camera, tilted_pose

BACKENDS = ("oracle", "numba")
seeds = st.integers(0, 2**31)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def replaced(gaussians: Gaussians, **fields: Any) -> Gaussians:
    return dataclasses.replace(gaussians, **fields)


def differing_pixels(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> float:
    """The share of pixels that differ by more: where rounding decided a cut the other way."""
    gap = (a.double() - b.double()).abs()
    return float((gap.amax(-1) if gap.ndim == 3 else gap).gt(tolerance).double().mean())


# Closed forms


def test_a_round_gaussian_on_the_axis_is_a_gaussian_of_the_projected_width(backend: Any) -> None:
    camera, background = square_camera(17, 20.0), torch.tensor([0.1, 0.2, 0.3])
    rgb, alpha = rasterize(one_gaussian(), camera, background, backend=backend)
    # 20 px * 0.2 / 2 = 2 px wide, and the low-pass's 0.3 px^2; the axis meets pixel (8, 8)
    axis = torch.arange(17) - 8.0
    distance2 = axis[:, None] ** 2 + axis**2
    expected = 0.8 * torch.exp(-distance2 / (2 * (2.0**2 + 0.3)))
    expected = torch.where(expected >= ALPHA_MIN, expected, 0)
    assert (expected == 0).any() and (expected > 0).any()
    torch.testing.assert_close(alpha, expected, atol=1e-6, rtol=0)
    colour = torch.tensor([1.0, 0.5, 0.25])
    over = expected[..., None] * colour + (1 - expected[..., None]) * background
    torch.testing.assert_close(rgb, over, atol=1e-6, rtol=0)


def test_a_long_gaussian_lies_along_its_turned_axis(backend: Any) -> None:
    turn = math.pi / 6  # from x towards y, which is down in the picture
    quat = (math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2))
    long = one_gaussian(scale=(0.4, 0.1, 0.1), quat=quat, opacity=0.5)
    _, alpha = rasterize(long, square_camera(33, 20.0), backend=backend)
    y, x = torch.meshgrid(torch.arange(33) - 16.0, torch.arange(33) - 16.0, indexing="ij")
    along, across = (
        x * math.cos(turn) + y * math.sin(turn),
        y * math.cos(turn) - x * math.sin(turn),
    )
    q = along**2 / (4.0**2 + 0.3) + across**2 / (1.0**2 + 0.3)
    expected = 0.5 * torch.exp(-q / 2)
    expected = torch.where(expected >= ALPHA_MIN, expected, 0)
    torch.testing.assert_close(alpha, expected, atol=2e-6, rtol=0)


def test_off_the_axis_a_gaussian_is_sheared_by_its_depth(backend: Any) -> None:
    # along z it is long: its image points at the principal point, its width is f/z (dx - x/z dz)
    deep = one_gaussian(mean=(1.0, 0.0, 4.0), scale=(0.1, 0.1, 0.8), opacity=0.9)
    _, alpha = rasterize(deep, Camera(40.0, 10.5, 10.5, 41, 21), backend=backend)
    variance = (40 / 4) ** 2 * (0.1**2 + (1 / 4) ** 2 * 0.8**2) + 0.3
    dx = torch.arange(41) + 0.5 - (10.5 + 40 * 1 / 4)
    expected = 0.9 * torch.exp(-(dx**2) / (2 * variance))
    expected = torch.where(expected >= ALPHA_MIN, expected, 0)
    torch.testing.assert_close(alpha[10], expected, atol=2e-6, rtol=0)


def test_far_beside_the_picture_the_shear_grows_no_further(backend: Any) -> None:
    # x/z = 2, but the view ends at 10.5/40 and the shear 0.3 half-views later, at 13.65/40
    deep = one_gaussian(mean=(8.0, 0.0, 4.0), scale=(3.0, 0.1, 6.0), opacity=0.9)
    _, alpha = rasterize(deep, Camera(40.0, 10.5, 10.5, 21, 21), backend=backend)
    variance = (40 / 4) ** 2 * (3.0**2 + (13.65 / 40) ** 2 * 6.0**2) + 0.3
    dx = torch.arange(21) + 0.5 - (10.5 + 40 * 8 / 4)
    expected = 0.9 * torch.exp(-(dx**2) / (2 * variance))
    assert (expected > 0.01).all()
    torch.testing.assert_close(alpha[10], expected, atol=2e-6, rtol=0)


def test_two_layers_composite_front_to_back_whatever_their_order(backend: Any) -> None:
    red = one_gaussian(mean=(0.0, 0.0, 2.0), opacity=0.6, colour=(1.0, 0.0, 0.0))
    green = one_gaussian(mean=(0.0, 0.0, 3.0), opacity=0.5, colour=(0.0, 1.0, 0.0))
    blue = torch.tensor([0.0, 0.0, 1.0])
    for scene in (concatenated(red, green), concatenated(green, red)):
        rgb, alpha = rasterize(scene, square_camera(), blue, backend=backend)
        torch.testing.assert_close(rgb[8, 8], torch.tensor([0.6, 0.4 * 0.5, 0.4 * 0.5]))
        torch.testing.assert_close(alpha[8, 8], torch.tensor(0.8))


def test_of_two_at_the_same_depth_the_first_is_in_front(backend: Any) -> None:
    red = one_gaussian(opacity=0.5, colour=(1.0, 0.0, 0.0))
    green = one_gaussian(opacity=0.5, colour=(0.0, 1.0, 0.0))
    rgb, _ = rasterize(concatenated(red, green), square_camera(), backend=backend)
    torch.testing.assert_close(rgb[8, 8], torch.tensor([0.5, 0.25, 0.0]))


def test_full_opacity_is_held_below_one_and_stops_there(backend: Any) -> None:
    layers = [one_gaussian(mean=(0.0, 0.0, 2.0 + k), opacity=1.0) for k in range(3)]
    _, alpha = rasterize(layers[0], square_camera(), backend=backend)
    torch.testing.assert_close(alpha[8, 8], torch.tensor(0.999))
    # the second layer would leave 1e-6, below the 1e-4 at which drawing stops: it is left out
    _, alpha = rasterize(concatenated(*layers), square_camera(), backend=backend)
    torch.testing.assert_close(alpha[8, 8], torch.tensor(0.999))


def test_where_opacity_is_held_it_has_no_gradient(backend: Any) -> None:
    for opacity, slope in ((1.0, 0.0), (0.99, 1.0)):
        scene = one_gaussian(opacity=opacity)
        scene.opacities.requires_grad_()
        rasterize(scene, square_camera(), backend=backend)[1][8, 8].backward()
        assert scene.opacities.grad is not None
        torch.testing.assert_close(scene.opacities.grad, torch.tensor([slope]))


def test_a_pixel_that_has_stopped_takes_nothing_more_however_faint(backend: Any) -> None:
    opacities = (0.95, 0.95, 0.95, 0.95, 0.01)
    layers = [
        one_gaussian(mean=(0.0, 0.0, 2.0 + k), opacity=opacity)
        for k, opacity in enumerate(opacities)
    ]
    _, alpha = rasterize(concatenated(*layers), square_camera(), backend=backend)
    torch.testing.assert_close(1 - alpha[8, 8], torch.tensor(0.05**3), rtol=1e-3, atol=0)


def test_channels_beyond_rgb_are_drawn_alike(backend: Any) -> None:
    scene = cloud(20, 3, channels=8)
    rgb, _ = rasterize(scene, square_camera(), torch.ones(8), backend=backend)
    first = replaced(scene, colours=scene.colours[:, 5:6])
    alone, _ = rasterize(first, square_camera(), torch.ones(1), backend=backend)
    torch.testing.assert_close(rgb[..., 5:6], alone)


def test_a_picture_can_be_the_background(backend: Any) -> None:
    scene, camera = cloud(10, 1), Camera(30.0, 20.0, 9.0, 37, 21)
    plate = torch.rand(21, 37, 3)
    over_plate, alpha = rasterize(scene, camera, plate, backend=backend)
    over_black, _ = rasterize(scene, camera, backend=backend)
    torch.testing.assert_close(over_plate, over_black + (1 - alpha[..., None]) * plate)


def test_no_gaussians_leave_the_background(backend: Any) -> None:
    empty = cloud(0, 0)
    rgb, alpha = rasterize(empty, square_camera(), torch.tensor([0.1, 0.2, 0.3]), backend=backend)
    torch.testing.assert_close(rgb, torch.tensor([0.1, 0.2, 0.3]).expand(17, 17, 3))
    assert (alpha == 0).all()


def test_auto_draws_float32_in_numba_and_float64_in_the_oracle() -> None:
    assert choose_backend(torch.zeros(1)) == "numba"
    assert choose_backend(torch.zeros(1, dtype=torch.float64)) == "oracle"


# Laws


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from(BACKENDS), st.integers(1, 60))
def test_pictures_are_mixtures_of_the_colours_given(seed: int, backend: Any, count: int) -> None:
    background = torch.rand(3, generator=torch.Generator().manual_seed(seed))
    rgb, alpha = rasterize(cloud(count, seed), square_camera(), background, backend=backend)
    assert rgb.min() >= -1e-6 and rgb.max() <= 1 + 1e-6
    assert alpha.min() >= 0 and alpha.max() <= 1


@settings(deadline=None, max_examples=10)
@given(seeds, st.sampled_from(BACKENDS))
def test_the_order_of_the_gaussians_does_not_matter(seed: int, backend: Any) -> None:
    scene = cloud(30, seed)
    shuffle = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    shuffled = Gaussians(**{k: v[shuffle] for k, v in scene.tensors().items()})
    rgb, _ = rasterize(scene, square_camera(), backend=backend)
    again, _ = rasterize(shuffled, square_camera(), backend=backend)
    torch.testing.assert_close(again, rgb, atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_posing_the_head_is_moving_its_gaussians(seed: int) -> None:
    scene, pose = cloud(25, seed).to(torch.float64), tilted_pose(seed, torch.float64)
    turned = rotation_from_quat(scene.quats)
    by_pose, _ = rasterize(scene, square_camera(), camera_from_head=pose)
    # the same turn, done on the Gaussians themselves: quaternion of the pose times theirs
    half = torch.linalg.eigh(_quat_matrix(pose[:, :3])).eigenvectors[:, -1]
    moved = replaced(
        scene, means=transform(pose, scene.means), quats=_quat_product(half, scene.quats)
    )
    torch.testing.assert_close(rotation_from_quat(moved.quats), pose[:, :3] @ turned)
    by_hand, _ = rasterize(moved, square_camera())
    torch.testing.assert_close(by_hand, by_pose, atol=1e-9, rtol=0)
    back, _ = rasterize(moved, square_camera(), camera_from_head=torch.eye(3, 4).double())
    torch.testing.assert_close(back, by_pose, atol=1e-9, rtol=0)


def _quat_matrix(r: torch.Tensor) -> torch.Tensor:
    """Bar-Itzhack's symmetric matrix, whose largest eigenvector is the rotation's quaternion."""
    (a, b, c), (d, e, f), (g, h, i) = r.tolist()
    rows = [
        [a + e + i, h - f, c - g, d - b],
        [h - f, a - e - i, b + d, c + g],
        [c - g, b + d, e - a - i, f + h],
        [d - b, c + g, f + h, i - a - e],
    ]
    return torch.tensor(rows, dtype=r.dtype)


def _quat_product(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    w, v = p[0], p[1:]
    scalar = w * q[:, 0] - q[:, 1:] @ v
    vector = w * q[:, 1:] + q[:, :1] * v + torch.linalg.cross(v.expand_as(q[:, 1:]), q[:, 1:])
    return torch.cat([scalar[:, None], vector], 1)


@settings(deadline=None, max_examples=10)
@given(seeds, st.sampled_from([0.01, 3.0, 1000.0]), st.sampled_from(BACKENDS))
def test_the_unit_of_length_does_not_matter(seed: int, unit: float, backend: Any) -> None:
    scene = cloud(20, seed)
    larger = replaced(scene, means=scene.means * unit, scales=scene.scales * unit)
    rgb, _ = rasterize(scene, square_camera(), config=RasterConfig(near=0.5), backend=backend)
    again, _ = rasterize(
        larger, square_camera(), config=RasterConfig(near=0.5 * unit), backend=backend
    )
    assert differing_pixels(again, rgb, 1e-4) <= 0.01


def test_two_poses_one_after_the_other_are_one(backend: Any) -> None:
    scene, first, second = cloud(10, 5), tilted_pose(1), tilted_pose(2)
    moved = replaced(scene, means=transform(first, scene.means), scales=scene.scales * 0 + 0.1)
    round_scene = replaced(scene, scales=scene.scales * 0 + 0.1)
    at_once, _ = rasterize(
        round_scene, square_camera(), camera_from_head=compose(second, first), backend=backend
    )
    in_turn, _ = rasterize(moved, square_camera(), camera_from_head=second, backend=backend)
    torch.testing.assert_close(in_turn, at_once, atol=1e-4, rtol=0)


# Derivatives of the oracle: what numba and gsplat are held to


@pytest.mark.parametrize("seed", [0, 1])
def test_the_oracle_is_differentiable_in_everything(seed: int) -> None:
    # opacities well above the cut, everything well inside: no derivative across a discontinuity
    g = torch.Generator().manual_seed(seed)
    count, double = 4, torch.float64
    inputs = (
        torch.randn(count, 3, generator=g, dtype=double) * 0.2 + torch.tensor([0.0, 0.0, 3.0]),
        torch.rand(count, 3, generator=g, dtype=double) * 0.3 + 0.5,
        torch.randn(count, 4, generator=g, dtype=double),
        torch.rand(count, generator=g, dtype=double) * 0.3 + 0.4,
        torch.rand(count, 3, generator=g, dtype=double),
        torch.rand(3, generator=g, dtype=double),
        tilted_pose(seed, double),
    )
    camera = Camera(8.0, 3.0, 2.5, 6, 5)

    def draw(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        *fields, background, pose = tensors
        return rasterize(Gaussians(*fields), camera, background, pose, backend="oracle")

    assert torch.autograd.gradcheck(draw, tuple(t.requires_grad_() for t in inputs))


# Hostile scenes


def test_what_lies_behind_or_too_near_is_not_drawn(backend: Any) -> None:
    for z in (-2.0, 0.0, 0.0099):
        _, alpha = rasterize(one_gaussian((0.0, 0.0, z)), square_camera(), backend=backend)
        assert (alpha == 0).all()
    _, alpha = rasterize(one_gaussian((0.0, 0.0, 0.0101)), square_camera(), backend=backend)
    assert (alpha > 0).any()


def test_what_lies_beside_the_picture_is_not_drawn_and_gets_no_gradient(backend: Any) -> None:
    scene = one_gaussian((50.0, 0.0, 2.0))
    scene.means.requires_grad_()
    rgb, _ = rasterize(scene, square_camera(), backend=backend)
    assert (rgb == 0).all()
    if rgb.requires_grad:
        rgb.sum().backward()
    assert scene.means.grad is None or (scene.means.grad == 0).all()


def test_a_gaussian_without_size_is_a_dot_of_the_low_pass(backend: Any) -> None:
    dot = one_gaussian(scale=0.0, opacity=1.0)
    dot.scales.requires_grad_()
    _, alpha = rasterize(dot, square_camera(), backend=backend)
    torch.testing.assert_close(alpha[8, 9], torch.tensor(math.exp(-1 / 0.6)))
    alpha.sum().backward()
    assert dot.scales.grad is not None and dot.scales.grad.isfinite().all()


def test_a_gaussian_larger_than_the_world_covers_the_picture_evenly(backend: Any) -> None:
    huge = one_gaussian((0.0, 0.0, 10.0), scale=(1e6, 1e6, 1.0), opacity=0.7)
    rgb, alpha = rasterize(huge, square_camera(33), backend=backend)
    torch.testing.assert_close(alpha, torch.full((33, 33), 0.7), atol=1e-5, rtol=0)
    assert rgb.isfinite().all()


def test_needles_and_sheets_stay_finite_with_their_gradients(backend: Any) -> None:
    scales = ((100.0, 1e-6, 1e-6), (1e3, 1e3, 0.0), (1e-6, 1e-6, 1e3))
    scene = concatenated(
        *(one_gaussian((0.3, 0.2, 0.02 + k), s, (0.3, 0.5, 0.1, 0.8)) for k, s in enumerate(scales))
    )
    leaves = {k: v.requires_grad_() for k, v in scene.tensors().items()}
    rgb, alpha = rasterize(scene, square_camera(33), backend=backend)
    (rgb.sum() + alpha.sum()).backward()
    assert rgb.isfinite().all() and alpha.amax() <= 1
    for tensor in leaves.values():
        assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_quaternions_need_no_length_of_one(backend: Any) -> None:
    scene = cloud(10, 4)
    rgb, _ = rasterize(scene, square_camera(), backend=backend)
    for length in (1e-5, 1e5):
        again, _ = rasterize(
            replaced(scene, quats=scene.quats * length), square_camera(), backend=backend
        )
        torch.testing.assert_close(again, rgb, atol=1e-5, rtol=0)


HOSTILE = {
    "means": (math.nan, "means holds values that are NaN or beyond 1e+06: "),
    "scales": (math.inf, "scales holds values that are NaN or beyond 1e+06: "),
    "colours": (-math.inf, "colours holds values that are NaN or beyond 1e+06: "),
    "opacities": (math.nan, "opacities holds values that are NaN or beyond 1e+06: "),
    "quats": (2e6, "quats holds values that are NaN or beyond 1e+06: "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_values_that_are_no_numbers_are_refused_by_name(name: str, backend: Any) -> None:
    value, message = HOSTILE[name]
    scene = cloud(5, 0)
    getattr(scene, name).reshape(-1)[-1] = value
    with pytest.raises(InputError) as refused:
        rasterize(scene, square_camera(), backend=backend)
    assert str(refused.value) == message + "the fit has diverged, or the file is damaged"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"quat": (0.0, 0.0, 0.0, 0.0)},
            "quats hold a zero quaternion, which is no rotation: use (1, 0, 0, 0)",
        ),
        (
            {"opacity": 1.5},
            "opacities lie in [1.5, 1.5], but [0, 1] is needed: pass sigmoid(logits), not logits",
        ),
        (
            {"opacity": -0.25},
            "opacities lie in [-0.25, -0.25], but [0, 1] is needed: "
            "pass sigmoid(logits), not logits",
        ),
        (
            {"scale": (0.1, -2.0, 0.1)},
            "scales go down to -2, but standard deviations are needed: "
            "pass exp(log_scales), not log_scales",
        ),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        rasterize(one_gaussian(**fields), square_camera())
    assert str(refused.value) == message


def test_shapes_and_dtypes_that_do_not_fit_are_refused() -> None:
    scene, camera = one_gaussian(), square_camera()
    refusals = {
        "background has shape [4], but [3] or [17, 17, 3] is needed for colours of 3 channels": {
            "background": torch.zeros(4)
        },
        "camera_from_head has shape [4, 4], but [3, 4] is needed: drop the last row of a 4x4 "
        "pose": {"camera_from_head": torch.eye(4)},
        "background is torch.float64 on cpu, but means are torch.float32 on cpu: "
        "convert them to one dtype and device": {"background": torch.zeros(3).double()},
        "Gaussians are torch.float32 on cpu, but the gsplat back end draws torch.float32 on "
        "cuda: convert them, or choose another back end": {"backend": "gsplat"},
        "backend 'vulkan' is unknown: choose auto, oracle, numba or gsplat": {"backend": "vulkan"},
    }
    for message, arguments in refusals.items():
        with pytest.raises(InputError) as refused:
            rasterize(scene, camera, **arguments)
        assert str(refused.value) == message
    with pytest.raises(InputError) as refused:
        rasterize(scene.to(torch.float64), camera, backend="numba")
    assert str(refused.value) == (
        "Gaussians are torch.float64 on cpu, but the numba back end draws torch.float32 on cpu: "
        "convert them, or choose another back end"
    )
    with pytest.raises(InputError) as refused:
        rasterize(scene.to(torch.float16), camera, backend="oracle")
    assert str(refused.value) == (
        "Gaussians are torch.float16, but torch.float32 or torch.float64 is needed: convert them"
    )


def test_the_identity_used_by_these_tests_is_one() -> None:
    torch.testing.assert_close(rotation_from_quat(torch.tensor([IDENTITY]))[0], torch.eye(3))
