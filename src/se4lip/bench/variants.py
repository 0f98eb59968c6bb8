"""Which encoders the ablation tries (`features.variant` makes them)."""

from __future__ import annotations

import itertools
from dataclasses import replace

from se4lip.features.variant import Variant
from se4lip.features.variant_fronts import Front
from se4lip.features.variant_nets import Net

FRONTS: tuple[Front, ...] = ("stft", "logmel", "mfcc", "raw")
NETS: tuple[Net, ...] = ("gru", "lstm", "tcn", "transformer")
WINDOWS = (3, 5, 7)  # frames
SHIPPED = Variant()


def first_stage() -> list[Variant]:
    """All fronts with all nets at the shipped window; then the shipped encoder with other windows,
    and causal."""
    return [
        *(Variant(front, net) for front, net in itertools.product(FRONTS, NETS)),
        *(Variant(window_frames=n) for n in WINDOWS if n != SHIPPED.window_frames),
        replace(SHIPPED, causal=True),
    ]


def full_cross() -> list[Variant]:
    """Everything with everything."""
    return [Variant(*one) for one in itertools.product(FRONTS, NETS, WINDOWS, (False, True))]
