"""The numba back end against the oracle in float64, and against threads, forks and repetition."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from torch import Tensor

from se4lip.head.lanes import run_in_lanes
from se4lip.head.splat import simd
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import rasterize
from se4lip.types import Camera
from splat_scenes import cloud, square_camera, tilted_pose

INPUTS = (*Gaussians.__dataclass_fields__, "background", "camera_from_head")
NAMES = ("rgb", "alpha", *INPUTS)

# sizes that are and are not whole tiles, and tiles of one pixel's width; count, largest scale
SCENES = {
    "small Gaussians": (Camera(60.0, 21.5, 18.5, 43, 37), 300, 0.05),
    "large Gaussians across tiles": (Camera(60.0, 24.0, 24.0, 48, 48), 80, 1.0),
    "off-centre and wide": (Camera(25.0, 70.0, -5.0, 65, 33), 200, 0.4),
    "deep stacks": (Camera(10.0, 8.0, 8.0, 17, 16), 400, 0.8),
    "one pixel": (Camera(10.0, 0.5, 0.5, 1, 1), 50, 0.5),
}


@pytest.mark.parametrize("depth", [60.0, 1.0, 0.1])
def test_long_thin_gaussians_lose_no_row(depth: float) -> None:
    """Near ones are needles of thousands of pixels, turned by 30 degrees."""
    camera, turn = Camera(1000.0, 128.0, 128.0, 256, 256), math.radians(15)
    scene = Gaussians(
        means=torch.tensor([[0.0, 0.0, depth]]),
        scales=torch.tensor([[1.0, 1e-4 * depth / 60, 1e-4]]),
        quats=torch.tensor([[math.cos(turn), 0.0, 0.0, math.sin(turn)]]),
        opacities=torch.tensor([0.9]),
        colours=torch.ones(1, 1),
    )
    found = rasterize(scene, camera, backend="numba")[1]
    exact = Gaussians(*(tensor.double() for tensor in scene.tensors().values()))
    wanted = rasterize(exact, camera, backend="oracle")[1]
    assert (found > 0).sum() == (wanted > 0).sum() > 200
    assert (found - wanted).abs().max() < 2e-3


def picture_and_gradients(
    scene: Gaussians, camera: Camera, plate: bool, backend: str, dtype: torch.dtype
) -> list[Tensor]:
    """Picture, alpha, and the gradients of a random weighting of both, in the order of NAMES."""
    g = torch.Generator().manual_seed(7)
    size = (camera.height_px, camera.width_px)
    rgb_weight, alpha_weight = torch.randn(*size, 3, generator=g), torch.randn(size, generator=g)
    background = torch.rand((*size, 3) if plate else (3,), generator=g)
    given_tensors = (*scene.tensors().values(), background, tilted_pose())
    leaves = [t.to(dtype).clone().requires_grad_() for t in given_tensors]
    rgb, alpha = rasterize(
        Gaussians(*leaves[:5]),
        camera,
        leaves[5],
        leaves[6],
        backend=backend,  # type: ignore[arg-type]
    )
    loss = (rgb * rgb_weight.to(dtype)).sum() + (alpha * alpha_weight.to(dtype)).sum()
    gradients = torch.autograd.grad(loss, leaves)
    return [rgb.detach(), alpha.detach(), *gradients]


@pytest.mark.parametrize("plate", [False, True], ids=["colour", "plate"])
@pytest.mark.parametrize("name", SCENES)
def test_picture_and_gradients_are_the_oracles(name: str, plate: bool) -> None:
    camera, count, largest = SCENES[name]
    scene = cloud(count, 12, largest=largest)  # no pixel of which lies on a cut
    truth = picture_and_gradients(scene, camera, plate, "oracle", torch.float64)
    found = picture_and_gradients(scene, camera, plate, "numba", torch.float32)
    for what, a, b in zip(NAMES, found, truth, strict=True):
        if what in ("rgb", "alpha"):
            assert (a - b).abs().max() <= 1e-5, what
        else:
            assert (a - b).norm() <= 1e-4 * b.norm(), what


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 200),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    largest=st.floats(0.01, 2.0),
)
def test_any_scene_is_drawn_as_the_oracle_draws_it(
    seed: int, count: int, width: int, height: int, largest: float
) -> None:
    # in float32 a cut (alpha below 1/255, transmittance below 1e-4) now and then falls to the
    # other side; such a pixel may differ, but only by what was cut
    scene = cloud(count, seed, largest=largest)
    camera = Camera(30.0, width / 3, height / 2, width, height)
    truth, _ = rasterize(scene.to(torch.float64), camera, backend="oracle")
    found, _ = rasterize(scene, camera, backend="numba")
    gap = (found - truth).abs().amax(-1)
    assert (gap > 1e-5).sum() <= max(1, 0.002 * gap.numel())
    assert gap.median() <= 1e-6


def test_gradients_are_not_computed_where_none_are_wanted() -> None:
    scene = cloud(20, 0)
    scene.colours.requires_grad_()
    rgb, alpha = rasterize(scene, square_camera())
    (rgb.sum() + alpha.sum()).backward()
    assert scene.colours.grad is not None
    assert all(t.grad is None for name, t in scene.tensors().items() if name != "colours")
    with torch.no_grad():
        assert not rasterize(scene, square_camera())[0].requires_grad


def test_a_loss_of_alpha_alone_reaches_the_gaussians() -> None:
    leaves: list[Tensor] = []
    for backend, dtype in (("oracle", torch.float64), ("numba", torch.float32)):
        scene = cloud(30, 5).to(dtype)
        scene.means.requires_grad_()
        rasterize(scene, square_camera(), backend=backend)[1].sum().backward()  # type: ignore[arg-type]
        assert scene.means.grad is not None
        leaves.append(scene.means.grad)
    torch.testing.assert_close(leaves[1].double(), leaves[0], rtol=1e-4, atol=1e-4)


def test_inputs_need_not_be_contiguous() -> None:
    scene = cloud(30, 6)
    strided = Gaussians(**{k: torch.stack([v, v], -1)[..., 0] for k, v in scene.tensors().items()})
    assert not strided.means.is_contiguous()
    for a, b in zip(
        rasterize(scene, square_camera()), rasterize(strided, square_camera()), strict=True
    ):
        assert torch.equal(a, b)


def test_pictures_and_gradients_are_the_same_to_the_bit_for_any_number_of_threads(
    threads: None,
) -> None:
    camera, scene = Camera(120.0, 50.0, 50.0, 100, 100), cloud(2000, 1)
    results = []
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        results.append(picture_and_gradients(scene, camera, True, "numba", torch.float32))
    for result in results[1:]:
        for what, a, b in zip(NAMES, result, results[0], strict=True):
            assert torch.equal(a, b), what


def test_several_python_threads_may_draw_at_once(threads: None) -> None:
    torch.set_num_threads(2)
    camera = Camera(120.0, 50.0, 50.0, 100, 100)

    def draw(seed: int) -> list[Tensor]:
        return picture_and_gradients(cloud(500, seed), camera, False, "numba", torch.float32)

    alone = [draw(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(draw, range(6)))
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_call_returns_only_when_every_lane_has_finished() -> None:
    started, finished = threading.Barrier(3), []

    def slow_for_helpers(counter: np.ndarray, caller: threading.Thread) -> None:
        started.wait(timeout=30)
        if threading.current_thread() is not caller:
            time.sleep(0.1)
        finished.append(int(counter[0]))

    run_in_lanes(slow_for_helpers, 3, threading.current_thread())
    assert finished == [0, 0, 0]


def test_what_goes_wrong_in_a_lane_reaches_the_caller() -> None:
    started = threading.Barrier(2)

    def fails_for_helpers(counter: np.ndarray, caller: threading.Thread) -> None:
        started.wait(timeout=30)
        if threading.current_thread() is not caller:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        run_in_lanes(fails_for_helpers, 2, threading.current_thread())


FORKING = """
import os, warnings
import torch
from se4lip.head.splat.raster import rasterize
from splat_scenes import cloud, square_camera

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks with threads
torch.set_num_threads(2)
scene = cloud(1500, 0)
before, _ = rasterize(scene, square_camera(64), backend="numba")
child = os.fork()
after, _ = rasterize(scene, square_camera(64), backend="numba")
if child == 0:
    os._exit(0 if torch.equal(before, after) else 1)
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status) or not torch.equal(before, after))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_a_forked_child_draws_too() -> None:
    paths = [path for path in sys.path if path]
    script = f"import sys; sys.path[:0] = {paths!r}\n{FORKING}"
    done = subprocess.run([sys.executable, "-c", script], timeout=120, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


# Sixteen numbers at once


@njit
def _lanes_of_everything(a, b, out):  # type: ignore[no-untyped-def]
    x, y = simd.load(a, 0), simd.load(b, 0)
    half = np.float32(0.5)
    z = (x + y) * half - x * y / (y * y + np.float32(1))
    simd.store(out, 0, z)
    simd.store(out, 16, simd.smaller(x, y))
    simd.store(out, 32, simd.larger(x, half))
    simd.store(out, 48, simd.where_greater(x, y, half, x))
    simd.store(out, 64, simd.spread(half) - simd.load(a, 3))
    return simd.lane_sum(x), simd.lane_max(x)


def test_lanes_compute_what_numpy_computes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 19)).astype(np.float32)
    out = np.empty(80, np.float32)
    total, peak = _lanes_of_everything(a, b, out)
    x, y = a[:16], b[:16]
    wanted = [
        (x + y) * 0.5 - x * y / (y * y + 1),
        np.minimum(x, y),
        np.maximum(x, 0.5),
        np.where(x > y, 0.5, x),
        0.5 - a[3:19],
    ]
    np.testing.assert_allclose(out, np.concatenate(wanted), rtol=1e-6, atol=1e-6)
    assert total == pytest.approx(x.sum(), rel=1e-5) and peak == x.max()


@njit
def _powers(a, out):  # type: ignore[no-untyped-def]
    for k in range(0, len(a), 16):
        simd.store(out, k, simd.exp2(simd.load(a, k)))


def test_exp2_is_exact_to_two_units_in_the_last_place() -> None:
    exponents = np.concatenate(
        [np.linspace(-125.9, 0, 160_000), np.arange(-125, 1), [1e-7, -1e-7]]
    ).astype(np.float32)
    out = np.empty_like(exponents)
    _powers(exponents, out)
    true = np.exp2(exponents.astype(np.float64))
    assert np.abs(out / true - 1).max() < 2.4e-7
