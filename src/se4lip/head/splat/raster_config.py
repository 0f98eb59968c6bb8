"""What all back ends draw by: the constants of `raster`'s picture, all of them gsplat 1.5.3's."""

from __future__ import annotations

from dataclasses import dataclass

from se4lip.types import InputError

ALPHA_MAX = 0.999
ALPHA_MIN = 1 / 255
TRANSMITTANCE_MIN = 1e-4
FRUSTUM_MARGIN = 0.3


@dataclass(frozen=True)
class RasterConfig:
    """``eps2d_px2``: variance added to every projected Gaussian, a low-pass of 0.55 px.
    ``near``: smallest drawn depth, in the unit of the means."""

    eps2d_px2: float = 0.3
    near: float = 0.01

    def __post_init__(self) -> None:
        if not (self.eps2d_px2 > 0 and self.near > 0):
            raise InputError(f"{self} needs both values above zero")
