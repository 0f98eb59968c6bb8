"""The gsplat back end: against the oracle where there is a GPU, its refusals everywhere."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest
import torch

from se4lip.head.splat import raster_gsplat
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import Backend, choose_backend, rasterize
from se4lip.types import Camera, InputError
from splat_scenes import cloud, square_camera, tilted_pose

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("gsplat") is None,
    reason="needs a CUDA device and the gsplat package",
)


Leaves = list[torch.Tensor]
Draw = Callable[[Leaves, Camera], tuple[torch.Tensor, torch.Tensor]]


def same_picture_and_gradients(theirs: Draw, ours: Draw, count: int, channels: int, plate: bool):
    """Of a cloud before a colour or a plate, seen at a tilt; each draws what it is given."""
    camera = Camera(60.0, 21.5, 18.5, 43, 37)
    scene = cloud(count, 11, channels=channels)
    g = torch.Generator().manual_seed(7)
    weight = torch.randn(37, 43, channels, generator=g)
    background = torch.rand((37, 43, channels) if plate else (channels,), generator=g)
    given = [*scene.tensors().values(), background, tilted_pose()]
    found, expected = (results(draw, given, camera, weight) for draw in (theirs, ours))
    for a, b in zip(found[:2], expected[:2], strict=True):
        gap = (a - b).abs()
        assert (gap > 1e-4).double().mean() <= 0.002, gap.max()
    for a, b in zip(found[2:], expected[2:], strict=True):
        assert (a - b).norm() <= 2e-3 * b.norm()


def results(draw: Draw, given: Leaves, camera: Camera, weight: torch.Tensor) -> Leaves:
    leaves = [t.clone().requires_grad_() for t in given]
    rgb, alpha = draw(leaves, camera)
    loss = (rgb * weight.to(rgb)).sum() + alpha.square().sum()
    gradients = torch.autograd.grad(loss, leaves)
    return [t.detach().cpu().double() for t in (rgb, alpha, *gradients)]


def drawn_by(backend: Backend, dtype: torch.dtype, device: str = "cpu") -> Draw:
    def draw(leaves: Leaves, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
        *parts, background, pose = (t.to(device, dtype) for t in leaves)
        return rasterize(Gaussians(*parts), camera, background, pose, backend=backend)

    return draw


@needs_gpu
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("plate", [False, True], ids=["colour", "plate"])
def test_picture_and_gradients_are_the_oracles(plate: bool, channels: int) -> None:
    theirs = drawn_by("gsplat", torch.float32, "cuda")
    same_picture_and_gradients(theirs, drawn_by("oracle", torch.float64), 300, channels, plate)


@needs_gpu
def test_no_gaussians_and_none_in_sight_leave_the_background() -> None:
    background = torch.rand(3, device="cuda")
    for scene in (cloud(0, 0), cloud(5, 0, depth=-4.0)):
        on_gpu = scene.to("cuda")
        assert choose_backend(on_gpu.means) == "gsplat"
        rgb, alpha = rasterize(on_gpu, square_camera(), background)
        torch.testing.assert_close(rgb, background.expand(17, 17, 3))
        assert (alpha == 0).all()


def reference_gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put gsplat's functions in plain torch, which it tests its kernels by, in their places.

    Only the last of them needs kernels; it is written down here from the comments and the code of
    `RasterizeToPixels3DGSFwd.cu`.
    """
    gsplat = pytest.importorskip("gsplat", reason="needs the gsplat package (no GPU): [gpu]")
    from gsplat.cuda import _torch_impl as plain

    def project(
        means, covars, quats, scales, viewmats, Ks, width, height, *, eps2d, near_plane, opacities
    ):
        assert covars is None
        covars, _ = plain._quat_scale_to_covar_preci(quats, scales, True, False)
        return plain._fully_fused_projection(
            means, covars, viewmats, Ks, width, height, eps2d, near_plane
        )

    monkeypatch.setattr(gsplat, "fully_fused_projection", project)
    monkeypatch.setattr(gsplat, "isect_tiles", plain._isect_tiles)
    monkeypatch.setattr(gsplat, "isect_offset_encode", plain._isect_offset_encode)
    monkeypatch.setattr(gsplat, "rasterize_to_pixels", composite_tiles)


def composite_tiles(
    means2d, conics, colors, opacities, width, height, tile_size, isect_offsets, flatten_ids
):
    """Pixels of every tile through its Gaussians, nearest first, for one camera."""
    assert means2d.shape[0] == conics.shape[0] == colors.shape[0] == opacities.shape[0] == 1
    rows, columns = isect_offsets.shape[1:]
    bounds = [*isect_offsets.flatten().tolist(), len(flatten_ids)]
    picture = []
    for tile in range(rows * columns):
        y, x = torch.meshgrid(torch.arange(tile_size), torch.arange(tile_size), indexing="ij")
        at = torch.stack((x, y), -1).view(-1, 2) + 0.5
        at = at + tile_size * torch.tensor([tile % columns, tile // columns])
        through, done = torch.ones(len(at)), torch.zeros(len(at), dtype=torch.bool)
        colour = torch.zeros(len(at), colors.shape[-1])
        for i in flatten_ids[bounds[tile] : bounds[tile + 1]].tolist():
            away, (a, b, c) = means2d[0, i] - at, conics[0, i]
            sigma = 0.5 * (a * away[:, 0] ** 2 + c * away[:, 1] ** 2) + b * away[:, 0] * away[:, 1]
            alpha = (opacities[0, i] * torch.exp(-sigma)).clamp(max=0.999)
            hit = (sigma >= 0) & (alpha >= 1 / 255) & ~done
            after = through * (1 - alpha)
            done = done | (hit & (after <= 1e-4))
            share = torch.where(hit & ~done, alpha * through, 0.0)
            colour = colour + share[:, None] * colors[0, i]
            through = torch.where(hit & ~done, after, through)
        picture.append(torch.cat((colour, 1 - through[:, None]), -1))
    whole = torch.stack(picture).view(rows, columns, tile_size, tile_size, -1)
    whole = whole.transpose(1, 2).reshape(rows * tile_size, columns * tile_size, -1)
    whole = whole[None, :height, :width]
    return whole[..., :-1], whole[..., -1:]


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("plate", [False, True], ids=["colour", "plate"])
def test_gsplats_own_reference_draws_the_oracles_picture(
    plate: bool, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be known of the call without a GPU: its arguments are those gsplat asks for, and
    its pictures, upright and in the right place, are ours."""
    reference_gsplat(monkeypatch)
    monkeypatch.setattr(raster_gsplat, "require_cuda", lambda means: None)
    monkeypatch.setattr(raster_gsplat, "require_gsplat", lambda: None)
    theirs, ours = (drawn_by(name, torch.float32) for name in ("gsplat", "oracle"))
    same_picture_and_gradients(theirs, ours, 60, channels, plate)


def test_a_missing_gsplat_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(InputError) as refused:
        raster_gsplat.require_gsplat()
    assert str(refused.value) == (
        "gsplat is not installed, and Gaussians on a CUDA device need it: "
        "pip install '.[gpu]' in se4lip's checkout, or move them to the CPU"
    )


def fake_gsplat(version: str, compiled: object) -> dict[str, ModuleType]:
    names = ("gsplat", "gsplat.cuda", "gsplat.cuda._backend")
    modules = {name: ModuleType(name) for name in names}
    modules["gsplat"].__version__ = version  # type: ignore[attr-defined]
    modules["gsplat.cuda._backend"]._C = compiled  # type: ignore[attr-defined]
    return modules


def test_whatever_stops_its_build_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unbuilt(ModuleType):
        @property
        def _C(self) -> object:
            raise OSError("CUDA_HOME is not set\nand more")

    modules = fake_gsplat("1.5.3", None) | {"gsplat.cuda._backend": Unbuilt("gsplat.cuda._backend")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(InputError) as refused:
        raster_gsplat.require_gsplat()
    assert str(refused.value) == (
        "gsplat could not build its kernels (CUDA_HOME is not set): install the CUDA toolkit "
        f"(nvcc) of torch's CUDA version, {torch.version.cuda}"
    )


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
        raster_gsplat.require_gsplat()
    assert str(refused.value) == message
