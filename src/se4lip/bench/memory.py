"""What an experiment has heard and computed before, so that a killed one goes on where it was.

Rows are kept by what made them: the features' identity and a checksum of the very samples. Figures
are kept by a key that names everything that decides them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.audio.augment import SpeechAugmentConfig
from se4lip.audio.revoice import in_another_voice
from se4lip.features.base import Rows, Samples, SpeechFeatures, hear_all
from se4lip.io.files import read_array, read_json, write_array, write_json

_TOGETHER = 32  # clips that are heard before they are stored


class Memory:
    """Arrays and figures under one folder. It may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(
        self,
        kind: SpeechFeatures,
        clips: Sequence[Samples],
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> list[Rows]:
        """Features of each clip, of those not yet heard many at once."""
        files = [self._place(kind, samples) for samples in clips]
        missing = [i for i, file in enumerate(files) if not file.exists()]
        for first in range(0, len(missing), _TOGETHER):
            now = missing[first : first + _TOGETHER]
            for i, found in zip(now, hear_all(kind, [clips[i] for i in now]), strict=True):
                write_array(files[i], found.astype(np.float16))
            on_progress((first + len(now)) / len(missing))
        return [read_array(file, "remembered features").astype(np.float32) for file in files]

    def voice(self, samples: Samples, config: SpeechAugmentConfig, seed: int) -> Samples:
        """The clip in another voice (`audio.revoice`), as 16-bit sound."""
        key = _digest(samples.tobytes(), repr(config).encode(), str(seed).encode())
        file = self.folder / "voices" / f"{key}.npy"
        if not file.exists():
            found = in_another_voice(samples, config, seed)
            write_array(file, np.round(found * 32767).astype(np.int16))
        return read_array(file, "remembered voice").astype(np.float32) / 32767

    def figures(self, make: Callable[[], dict[str, Any]], *key: Any) -> dict[str, Any]:
        """A JSON object made once. ``key`` are JSON values."""
        text = json.dumps(key, sort_keys=True, default=str)
        file = self.folder / "figures" / f"{_digest(text.encode())}.json"
        if not file.exists():
            write_json(file, {"key": text, "value": make()})
        return read_json(file, "remembered figures")["value"]

    def _place(self, kind: SpeechFeatures, samples: Samples) -> Path:
        identity = kind.identity
        name = f"{identity.features}-{identity.sha256[:12]}"
        return self.folder / "rows" / name / f"{_digest(samples.tobytes())}.npy"


def memory_name(key: Sequence[Any], name: str) -> str:
    """A folder name that no other key has."""
    text = json.dumps(key, sort_keys=True, default=str)
    return f"{name}-{_digest(text.encode())[:12]}"


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]
