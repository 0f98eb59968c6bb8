"""Which processor trains, and how several processes find each other."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, distributed

from se4lip.types import InputError

Precision = Literal["auto", "float32", "bfloat16"]


def chosen_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; under ``torchrun`` each process takes its own.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            "cuda was asked for, but torch finds no CUDA device here: give --device cpu"
        )
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # many names are known, few of them lead to numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"there is no device {name!r}: give auto, cpu or cuda") from error
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the other processes of ``torchrun``, if it started this one."""
    if _world() == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def arithmetic(precision: Precision, device: torch.device) -> torch.dtype | None:
    """What matrices are multiplied in; None is float32.

    ``auto`` is bfloat16 where the processor has tiles for it. On those without, convolutions in
    bfloat16 run backward at a quarter of the speed of float32 (docs/log.md).
    """
    tiles = device.type == "cuda" or torch.cpu._is_amx_tile_supported()
    half = precision == "bfloat16" or (precision == "auto" and tiles)
    return torch.bfloat16 if half else None


def is_chief() -> bool:
    """True in the one process that writes files and prints, also when the others have parted."""
    return _world() == 1 or int(os.environ.get("RANK", "0")) == 0


def _world() -> int:
    """How many processes ``torchrun`` started. Queues set one of the two names as well."""
    return int(os.environ.get("WORLD_SIZE") or 1) if os.environ.get("RANK") else 1


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, [processes * rows, ...], differentiable.

    Every process must call it, with as many rows as the others.
    """
    return _Gathered.apply(rows) if distributed.is_initialized() else rows


class _Gathered(torch.autograd.Function):
    """Each process's loss depends on the rows of all, so a row's gradient is the sum over them.

    The sum is taken of the whole and then cut: gloo cannot scatter what it sums.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole)
        return whole[distributed.get_rank() * ctx.count :][: ctx.count]


def machine(device: torch.device) -> str:
    """What a card says about where something was trained."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    processor = name or platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"
