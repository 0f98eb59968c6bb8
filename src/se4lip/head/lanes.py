"""Several threads at once, in a compiled kernel or in a picture each: how heads use a CPU.

The kernels are compiled with ``nogil`` and take their work items from a shared counter, so plain
Python threads are enough and no OpenMP or TBB layer is involved. That is deliberate: of numba's
own layers, one crashes when two Python threads call at once and another kills a forked child.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any, TypeVar, no_type_check

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from se4lip import jit

T = TypeVar("T")
R = TypeVar("R")


def lane_count() -> int:
    """How many threads draw: as many as torch computes with, so that one knob sets both. Within
    `in_order` it is one, for there every thread has a picture of its own."""
    return 1 if getattr(_within, "in_order", False) else torch.get_num_threads()


def lanes_for(items: int) -> int:
    """How many threads draw where there are so many work items: none is woken for nothing."""
    return min(lane_count(), items)


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as a kernel reads it."""
    return tensor.detach().contiguous().numpy()


_within = threading.local()
_MOST_AHEAD = 8


def in_order(draw: Callable[[T], R], given: Iterable[T]) -> Iterator[R]:
    """``draw`` of each of ``given``, in their order: in each lane another one, which takes less
    time than all lanes in each, for what a lane does alone no other waits for.

    The first is drawn by all lanes, and makes what the others may share. Then a few are drawn ahead
    of the one that is asked for: each costs a picture's memory. An error in drawing comes where its
    picture would.
    """
    rows, process = iter(given), os.getpid()
    ahead = min(lane_count(), os.cpu_count() or 1, _MOST_AHEAD)
    yield from map(draw, itertools.islice(rows, None if ahead < 2 else 1))
    pool = _pool(process)
    drawn: deque[tuple[T, Future[R]]] = deque()
    try:
        while True:
            for row in itertools.islice(rows, ahead + 1 - len(drawn)):
                drawn.append((row, pool.submit(_alone, draw, row)))
            if not drawn:
                return
            if os.getpid() != process:  # a forked child has none of these threads
                yield from map(draw, itertools.chain([row for row, _ in drawn], rows))
                return
            yield drawn.popleft()[1].result()
    finally:  # nobody asks for the rest
        for _, one in drawn:
            one.cancel()


def _alone(draw: Callable[[T], R], row: T) -> R:
    _within.in_order = True
    try:
        return draw(row)
    finally:
        _within.in_order = False


@functools.lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The helper threads of a process; a forked child has a new number and so gets its own."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="se4lip-raster")


def run_in_lanes(kernel: Callable[..., None], lanes: int, *arguments: Any) -> None:
    """Calls ``kernel(counter, *arguments)`` once in each lane and waits for all of them.

    ``counter`` is one int64 zero, from which the lanes `claim` their work items. The calling thread
    is a lane itself, so a helper that wakes late, or never, only leaves it more to do.
    """
    counter = np.zeros(1, np.int64)
    if lanes <= 1:
        kernel(counter, *arguments)
        return
    pool = _pool(os.getpid())
    helpers = [pool.submit(kernel, counter, *arguments) for _ in range(lanes - 1)]
    kernel(counter, *arguments)
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def compiler(*sources: ModuleType, **options: Any) -> Callable[[Callable[..., None]], Any]:
    """A decorator: `jit.compiled`, cached on disk until the kernel's file or ``sources`` change, or
    the modules of ours that these name.

    numba's own cache watches no file but the kernel's, though constants and functions of others
    are compiled in; the cache file's name, made of the kernel's, tells it of the rest.
    """

    def compiled(kernel: Callable[..., None]) -> Any:
        kernel.__qualname__ += f"_{stamp_of((*sources, sys.modules[kernel.__module__]))}"
        return jit.compiled(kernel, **options)

    return compiled


def stamp_of(sources: Iterable[ModuleType]) -> str:
    """A hash of what is written in modules and in those of ours that they name, and so on.

    Not when they were written: a copy keeps that, or makes it the same for all. What is shipped
    without its text goes by the version of the package.
    """
    found: dict[str, str] = {}
    waiting = [*sources]
    while waiting:
        module = waiting.pop()
        if module.__name__ not in found:
            try:
                found[module.__name__] = inspect.getsource(module)
            except OSError:
                found[module.__name__] = importlib.metadata.version("se4lip")
            named = (one for one in vars(module).values() if isinstance(one, ModuleType))
            waiting += [one for one in named if one.__name__.startswith("se4lip.")]
    return hashlib.sha256("".join(found[name] for name in sorted(found)).encode()).hexdigest()[:16]


@intrinsic
@no_type_check
def claim(typing_context: Any, counter: Any) -> Any:
    """The next work item: returns ``counter[0]`` and adds one to it, atomically."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(counter), generate
