"""The gsplat back end: against the oracle where there is a GPU, its refusals everywhere."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from se4lip.head.splat import raster_gsplat
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import choose_backend, rasterize
from se4lip.types import Camera, InputError
from splat_scenes import cloud, square_camera, tilted_pose

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("gsplat") is None,
    reason="needs a CUDA device and the gsplat package",
)


@needs_gpu
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("plate", [False, True], ids=["colour", "plate"])
def test_picture_and_gradients_are_the_oracles(plate: bool, channels: int) -> None:
    camera = Camera(60.0, 21.5, 18.5, 43, 37)
    scene = cloud(300, 11, channels=channels)
    g = torch.Generator().manual_seed(7)
    weight = torch.randn(37, 43, channels, generator=g)
    background = torch.rand((37, 43, channels) if plate else (channels,), generator=g)
    given = (*scene.tensors().values(), background, tilted_pose())
    results = {}
    for backend, dtype, device in (
        ("oracle", torch.float64, "cpu"),
        ("gsplat", torch.float32, "cuda"),
    ):
        leaves = [t.to(device, dtype).clone().requires_grad_() for t in given]
        rgb, alpha = rasterize(
            Gaussians(*leaves[:5]),
            camera,
            leaves[5],
            leaves[6],
            backend=backend,  # type: ignore[arg-type]
        )
        loss = (rgb * weight.to(rgb)).sum() + alpha.square().sum()
        gradients = torch.autograd.grad(loss, leaves)
        results[backend] = [t.detach().cpu().double() for t in (rgb, alpha, *gradients)]
    for a, b in zip(results["gsplat"][:2], results["oracle"][:2], strict=True):
        gap = (a - b).abs()
        assert (gap > 1e-4).double().mean() <= 0.002, gap.max()
    for a, b in zip(results["gsplat"][2:], results["oracle"][2:], strict=True):
        assert (a - b).norm() <= 2e-3 * b.norm()


@needs_gpu
def test_no_gaussians_and_none_in_sight_leave_the_background() -> None:
    background = torch.rand(3, device="cuda")
    for scene in (cloud(0, 0), cloud(5, 0, depth=-4.0)):
        on_gpu = scene.to("cuda")
        assert choose_backend(on_gpu.means) == "gsplat"
        rgb, alpha = rasterize(on_gpu, square_camera(), background)
        torch.testing.assert_close(rgb, background.expand(17, 17, 3))
        assert (alpha == 0).all()


def test_a_missing_gsplat_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(InputError) as refused:
        raster_gsplat._require_gsplat()
    assert str(refused.value) == (
        "gsplat is not installed, and Gaussians on a CUDA device need it: "
        "pip install 'se4lip[gpu]', or move them to the CPU"
    )


def fake_gsplat(version: str, compiled: object) -> dict[str, ModuleType]:
    names = ("gsplat", "gsplat.cuda", "gsplat.cuda._backend")
    modules = {name: ModuleType(name) for name in names}
    modules["gsplat"].__version__ = version  # type: ignore[attr-defined]
    modules["gsplat.cuda._backend"]._C = compiled  # type: ignore[attr-defined]
    return modules


@pytest.mark.parametrize(
    ("version", "compiled", "message"),
    [
        (
            "1.6.0",
            SimpleNamespace(),
            "gsplat 1.6.0 is installed, but se4lip's picture is that of gsplat 1.5.x: "
            "pip install 'gsplat==1.5.3'",
        ),
        (
            "1.5.3",
            None,
            "gsplat could not build its kernels: install the CUDA toolkit (nvcc) of torch's CUDA "
            f"version, {torch.version.cuda}",
        ),
    ],
)
def test_a_gsplat_that_would_draw_otherwise_or_not_at_all_is_turned_away(
    version: str, compiled: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in fake_gsplat(version, compiled).items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(InputError) as refused:
        raster_gsplat._require_gsplat()
    assert str(refused.value) == message
