"""Any sample rate to 16 kHz, live: a filter that reaches 5 ms ahead and whose whole state can be
seen.

Files go through soxr (``io.audio``). Its streaming mode holds back 20 to 118 ms, measured, which
would spend a live head's whole budget of delay; hence these few lines.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from jaxtyping import Float32

from se4lip.jit import compiled
from se4lip.types import HIGHEST_HZ, LOWEST_HZ, SAMPLE_RATE_HZ, InputError

REACH_S = 0.005  # of the filter, to either side: 80 zero crossings at 8 kHz
_KAISER_BETA = 9.0  # stop band below -90 dB
_LARGEST_TABLE = 2_500_000  # weights, 10 MB: enough for every multiple of 25 Hz
_MOST_ROWS = 2048  # of other rates' tables, between whose rows weights are blended
_PASS = 0.95  # of the lower Nyquist frequency; the transition ends there or just above


@dataclass(frozen=True)
class ResampleState:
    """Input samples that later output still needs, and how much came and went."""

    rate_hz: int
    tail: Float32[np.ndarray, " R"]
    taken: int = 0  # input samples so far
    given: int = 0  # output samples so far


def start_resampling(rate_hz: int) -> ResampleState:
    """Raises: InputError if ``rate_hz`` is no whole number that sound has."""
    if not isinstance(rate_hz, Real) or not 0 < rate_hz < math.inf or rate_hz != int(rate_hz):
        raise InputError(
            f"sample rate {rate_hz} Hz is not a whole positive number: pass the true rate"
        )
    if rate_hz < LOWEST_HZ:
        raise InputError(
            f"sample rate {rate_hz} Hz is below {LOWEST_HZ} Hz, and no speech has less than some "
            "thousand: pass the true rate"
        )
    if rate_hz > HIGHEST_HZ:
        raise InputError(
            f"sample rate {rate_hz} Hz is above {HIGHEST_HZ} Hz, the highest that can be taken: "
            "resample to 48000 Hz first"
        )
    rate_hz = int(rate_hz)
    return ResampleState(rate_hz, np.zeros(_reach(rate_hz), np.float32))


def resample(
    state: ResampleState, samples: Float32[np.ndarray, " S"], last: bool = False
) -> tuple[ResampleState, Float32[np.ndarray, " R"]]:
    """All 16 kHz samples that ``samples`` decide, and the state behind them.

    ``last`` ends the sound: silence follows it, and the output is as long as the input
    (``ceil(taken * 16000 / rate)`` samples in all). Chunking never changes a bit of the output.
    """
    taken = state.taken + len(samples)
    if state.rate_hz == SAMPLE_RATE_HZ:
        passed = ResampleState(state.rate_hz, state.tail, taken, taken)
        return passed, samples.astype(np.float32, copy=False)
    reach = _reach(state.rate_hz)
    known = np.concatenate((state.tail, samples.astype(np.float32, copy=False)))
    if last:
        known = np.concatenate((known, np.zeros(reach + 1, np.float32)))
        until = -(-taken * SAMPLE_RATE_HZ // state.rate_hz)
    else:  # output n needs input up to n * rate / 16000 + reach
        until = max(state.given, ((taken - reach) * SAMPLE_RATE_HZ - 1) // state.rate_hz + 1)
    origin = taken - len(samples) - len(state.tail)  # input index of known[0]
    out = np.empty(until - state.given, np.float32)
    _interpolate(known, origin, state.given, state.rate_hz, reach, _kernels(state.rate_hz), out)
    keep = max(0, until * state.rate_hz // SAMPLE_RATE_HZ - reach - origin)
    # A copy, so that the state does not keep the whole chunk alive through a view.
    return ResampleState(state.rate_hz, known[keep:].copy(), taken, until), out


def _reach(rate_hz: int) -> int:
    """Inputs to either side: none is later than `REACH_S` after its output."""
    return max(1, int(REACH_S * rate_hz))


def _phases(rate_hz: int) -> int:
    """How many places between two inputs the table knows: all that an output can have, or fewer.

    Rates come from strangers' files, and 191,999 Hz would ask for 123 MB. What is blended between
    the rows of a smaller table is wrong by 1e-7 of a weight's size at most.
    """
    exact = SAMPLE_RATE_HZ // math.gcd(rate_hz, SAMPLE_RATE_HZ)
    row = 2 * _reach(rate_hz)
    return exact if exact * row <= _LARGEST_TABLE else min(_MOST_ROWS, _LARGEST_TABLE // row)


@functools.lru_cache(maxsize=16)
def _kernels(rate_hz: int) -> Float32[np.ndarray, "P K"]:
    """The low-pass filter, a Kaiser-windowed sinc, at ``P`` places from one input to the next.

    Row ``p`` holds the weights for an output ``p / (P - 1)`` after an input sample: of the inputs
    from ``reach - 1`` before that sample to ``reach`` behind it. 161 rows at 44.1 kHz.
    """
    phases, reach = _phases(rate_hz), _reach(rate_hz)
    cutoff = _PASS * min(1.0, SAMPLE_RATE_HZ / rate_hz)
    at = np.arange(1 - reach, reach + 1) - np.arange(phases + 1)[:, None] / phases
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (at / reach) ** 2, 0, 1)))
    return (cutoff * np.sinc(cutoff * at) * window / np.i0(_KAISER_BETA)).astype(np.float32)


@functools.partial(compiled, fastmath=True, inline="always")
def _weighed(known, start, kernel):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for tap in range(len(kernel)):
        total += known[start + tap] * kernel[tap]
    return total


@functools.partial(compiled, fastmath=True)
def _interpolate(  # type: ignore[no-untyped-def]
    known, origin, first, rate_hz, reach, kernels, out
):
    phases = len(kernels) - 1
    for n in range(len(out)):
        # Whole numbers, so that hours of sound do not drift.
        position = (first + n) * rate_hz
        centre = position // SAMPLE_RATE_HZ
        place = (position - centre * SAMPLE_RATE_HZ) * phases
        row = place // SAMPLE_RATE_HZ
        start = centre - reach + 1 - origin
        total = _weighed(known, start, kernels[row])
        share = np.float32((place - row * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
        if share > 0:
            total += share * (_weighed(known, start, kernels[row + 1]) - total)
        out[n] = total
