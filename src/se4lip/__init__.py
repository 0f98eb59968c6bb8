"""Speech to lip features, and lip features to talking-head video (after SE4Lip, arXiv 2504.05803).

    encode(samples, sample_rate)       lip features of a recording, [T, 512] at 25 a second
    StreamingEncoder(sample_rate)      the same while somebody speaks
    sync(video)                        how far sound and lips are apart
    speak(avatar, audio, out)          a head says it
    live(avatar, sample_rate)          a head that answers while somebody speaks

Importing this imports nothing else: each name is fetched when it is first used.
"""

import importlib
import os
from typing import Any

# Read by OpenMP when torch loads it. Threads that spin while they wait cost several times the work
# itself on a machine that does anything else (docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_WHERE = {
    "encode": "synthesis.encode_speech",
    "StreamingEncoder": "synthesis.encode_speech",
    "sync": "evaluation.sync_video",
    "speak": "synthesis.speak_audio",
    "live": "synthesis.live_head",
    "LiveConfig": "synthesis.live_head",
    "InputError": "types",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'se4lip' has no attribute {name!r}")
    return getattr(importlib.import_module(f"se4lip.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
