"""Control-C and SIGTERM wait for the end of a training step, so that what was learned is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def put_off() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether somebody asked to stop within this block; they are obeyed
    when it ends, or at once when they ask again.

    In threads other than the main one nobody asks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []

    def note(signum: int, frame: object) -> None:
        asked.append(signum)
        if len(asked) > 1:
            restore()
            signal.raise_signal(signum)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for one, handler in before.items():
            if handler is not None:  # set by nobody that Python knows of
                signal.signal(one, handler)

    for one in before:
        signal.signal(one, note)
    try:
        yield lambda: bool(asked)
    finally:
        restore()
        if len(asked) == 1:
            signal.raise_signal(asked[0])
