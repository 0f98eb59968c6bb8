"""Networks as weights files: one way to save and to load them, and a memory of those loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import nn

from se4lip.io.config import from_plain, to_plain
from se4lip.io.weights import fitting, load_weights, save_weights

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T", covariant=True)


def load_network(file: Path, kind: str, network: Callable[[Any], N], config: type) -> N:
    """The ``network`` of a weights file, built by its ``config`` and ready for use.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    tensors, header = load_weights(file, kind=kind)
    with fitting(file, tensors):
        built = network(from_plain(config, header.config))
        built.load_state_dict({name: value.float() for name, value in tensors.items()})
    return built.eval().requires_grad_(False)


def save_network(path: Path, network: nn.Module, kind: str, metadata: Mapping[str, object]) -> None:
    """Write it in half precision: its rounding is far below what training leaves open."""
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    save_weights(path, tensors, kind=kind, config=to_plain(network.config), metadata=metadata)


class Remembered(Protocol[T]):
    """``load`` of a file, the shipped one by default."""

    def __call__(self, path: Path | str | None = None) -> T: ...


def file_of(given: Path | str | None, shipped: Path) -> Path:
    """The weights file ``given``, that in the folder of the run which wrote it, or the ``shipped``
    one, whose name they share."""
    if not given:
        return shipped
    in_run = Path(given) / shipped.name
    return in_run if in_run.is_file() else Path(given)


def remembered(shipped: Callable[[], Path]) -> Callable[[Callable[[Path], T]], Remembered[T]]:
    """Load once for each state of a file: one that was written anew is read anew."""

    def decorated(load: Callable[[Path], T]) -> Remembered[T]:
        @functools.lru_cache(maxsize=2)
        def known(file: Path, state: tuple[int, ...]) -> T:
            return load(file)

        @functools.wraps(load)
        def remembering(path: Path | str | None = None) -> T:
            file = file_of(path, shipped())
            try:
                found = file.stat()
            except OSError:
                return load(file)  # which has the sentence for it
            return known(file, (found.st_mtime_ns, found.st_size, found.st_dev, found.st_ino))

        return remembering

    return decorated
