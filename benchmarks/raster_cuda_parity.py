"""Holds the gsplat back end to the oracle on a GPU and times it; prints JSON.

    pip install gsplat==1.5.3 && python benchmarks/raster_cuda_parity.py [--out FILE]

The first call builds gsplat with nvcc, which takes some minutes (``MAX_JOBS`` and
``TORCH_CUDA_ARCH_LIST=9.0`` shorten it). gsplat's default build uses ``-use_fast_math``;
``NO_FAST_MATH=1`` before the build gives its accurate one. Exits with 1 when a bound is missed.

Parity is given twice: pictures as the share of pixels further than 1e-4 from the float64 oracle
(some pixels of any scene lie on a cut and fall to the other side in float32) and the largest gap;
gradients as the norm of the difference over the norm. numba stands beside it as the yardstick.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from raster_scene import camera, head

from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import Backend, rasterize
from se4lip.types import Camera

PIXELS_APART, GRADIENT_BOUND = 0.002, 2e-3
INPUTS = (
    *("means", "scales", "quats", "opacities", "colours"),
    *("background", "camera_from_head"),
)


def draw(
    scene: Gaussians, view: Camera, plate: bool, backend: Backend, dtype: torch.dtype, device: str
) -> dict[str, torch.Tensor]:
    """Picture, alpha and all gradients of a fixed random loss, as float64 on the CPU."""
    g = torch.Generator().manual_seed(1)
    shape = (view.height_px, view.width_px, scene.channels)
    weight = torch.randn(shape, generator=g)
    background = torch.rand(shape if plate else (scene.channels,), generator=g)
    turn = torch.tensor([[0.0, -0.02, -0.1], [0.02, 0.0, -0.05], [0.1, 0.05, 0.0]])
    pose = torch.cat((torch.linalg.matrix_exp(turn), torch.tensor([[0.02], [0.01], [0.1]])), dim=1)
    given = (*scene.tensors().values(), background, pose)
    leaves = [t.to(device, dtype).clone().requires_grad_() for t in given]
    rgb, alpha = rasterize(
        Gaussians(*leaves[:5]),
        view,
        leaves[5],
        leaves[6],
        backend=backend,
    )
    loss = (rgb * weight.to(rgb)).sum() + alpha.square().sum()
    gradients = torch.autograd.grad(loss, leaves)
    named = {"rgb": rgb, "alpha": alpha, **dict(zip(INPUTS, gradients, strict=True))}
    return {name: t.detach().cpu().double() for name, t in named.items()}


def parity(found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> dict[str, Any]:
    pictures = {}
    for name in ("rgb", "alpha"):
        gap = (found[name] - truth[name]).abs()
        pictures[name] = {
            "share_beyond_1e-4": float((gap > 1e-4).double().mean()),
            "largest": float(gap.max()),
            "mean": float(gap.mean()),
        }
    gradients = {
        name: float((found[name] - truth[name]).norm() / truth[name].norm().clamp_min(1e-30))
        for name in INPUTS
    }
    good = all(p["share_beyond_1e-4"] <= PIXELS_APART for p in pictures.values()) and all(
        g <= GRADIENT_BOUND for g in gradients.values()
    )
    return {"good": good, "pictures": pictures, "relative_gradient_error": gradients}


def time_ms(scene: Gaussians, view: Camera, backward: bool, rounds: int = 50) -> dict[str, float]:
    leaves = {n: t.cuda().requires_grad_(backward) for n, t in scene.tensors().items()}
    slope = torch.randn(view.height_px, view.width_px, scene.channels, device="cuda")
    took = []
    for _ in range(rounds + 5):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        rgb, _ = rasterize(Gaussians(**leaves), view, backend="gsplat")
        if backward:
            rgb.backward(slope)
        torch.cuda.synchronize()
        took.append(1e3 * (time.perf_counter() - begin))
    took = took[5:]
    return {"least": round(min(took), 3), "median": round(statistics.median(took), 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: this script compares the GPU with the oracle", file=sys.stderr)
        return 2
    import gsplat

    begin = time.perf_counter()
    rasterize(head(10).to("cuda"), camera(16), backend="gsplat")
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gsplat": gsplat.__version__,
        "first_call_s": round(time.perf_counter() - begin, 1),
        "parity": [],
        "speed": [],
    }
    for count, size_px, plate in ((500, 64, False), (5_000, 100, True), (15_000, 256, False)):
        scene, view = head(count), camera(size_px)
        truth = draw(scene, view, plate, "oracle", torch.float64, "cpu")
        numba = draw(scene, view, plate, "numba", torch.float32, "cpu")
        on_gpu = draw(scene, view, plate, "gsplat", torch.float32, "cuda")
        report["parity"].append(
            {
                "gaussians": count,
                "size_px": size_px,
                "plate": plate,
                "gsplat": parity(on_gpu, truth),
                "numba": parity(numba, truth),
            }
        )
    for size_px in (256, 512):
        for count in (5_000, 15_000, 40_000):
            scene, view = head(count), camera(size_px)
            with torch.no_grad():
                forward = time_ms(scene, view, backward=False)
            row = {"gaussians": count, "size_px": size_px, "forward_ms": forward}
            row["both_ms"] = time_ms(scene, view, backward=True)
            report["speed"].append(row)
    report["good"] = all(p["gsplat"]["good"] and p["numba"]["good"] for p in report["parity"])
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text)
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
