"""How much a client may ask for: so much a second, and at once no more than five seconds' worth."""

from __future__ import annotations

import time
from collections.abc import Callable

SAVED_S = 5.0  # what is not used is kept for so long: networks and busy machines bring things late


class Allowance:
    """Refilled by ``rate`` a second; time that passes unused is not saved up beyond `SAVED_S`."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._left, self._at = rate * SAVED_S, clock()

    def spend(self, amount: float = 1.0) -> bool:
        """Whether ``amount`` was there to be spent; if not, nothing is."""
        now = self._clock()
        self._left = min(self._rate * SAVED_S, self._left + self._rate * (now - self._at))
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True
