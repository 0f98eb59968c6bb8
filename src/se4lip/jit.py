"""numba, compiled once for a machine where the machine lets us remember it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(kernel: Callable[..., Any], **options: Any) -> Any:
    """``kernel`` by `numba.njit`, without the interpreter's lock, cached on disk.

    Where neither the package's folder nor the user's can be written (a container, a system's user)
    it is compiled anew by every process, which takes seconds to a minute; ``NUMBA_CACHE_DIR`` names
    a place.
    """
    try:
        return njit(nogil=True, cache=True, **options)(kernel)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        return njit(nogil=True, **options)(kernel)
