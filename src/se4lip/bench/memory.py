"""What an experiment has heard and computed before, so that a killed one goes on where it was.

Rows are kept by what made them: the features' identity and a checksum of the very samples. Figures
are kept by a key that names everything that decides them, digests of what was asked among it, and a
number that is raised by hand when their code changes. What no key can name, the rest of the code
and the machine, stands beside each figure and is told (`told`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.audio.augment import SpeechAugmentConfig
from se4lip.audio.revoice import in_another_voice
from se4lip.bench.record import provenance
from se4lip.features.base import Rows, Samples, SpeechFeatures, hear_all
from se4lip.io.files import read_array, read_json, write_array, write_json

_TOGETHER = 32  # clips that are heard before they are stored


class Memory:
    """Arrays and figures under one folder. It may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, list[Any]] = {}

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
            write_json(file, {"key": text, "made": provenance(), "value": make()})
        found = read_json(file, "remembered figures")
        made = found.get("made", {"commit": "not recorded"})
        self._made.setdefault(json.dumps(made, sort_keys=True), [made, 0])[1] += 1
        return found["value"]

    def told(self) -> list[tuple[dict[str, Any], int]]:
        """The circumstances in which the figures asked for so far were made, and how many were."""
        return [(made, count) for made, count in self._made.values()]

    def _place(self, kind: SpeechFeatures, samples: Samples) -> Path:
        identity = kind.identity
        name = f"{identity.features}-{identity.sha256[:12]}"
        return self.folder / "rows" / name / f"{_digest(samples.tobytes())}.npy"


def memory_name(key: Sequence[Any], name: str) -> str:
    """A folder name that no other key has."""
    text = json.dumps(key, sort_keys=True, default=str)
    return f"{name}-{_digest(text.encode())[:12]}"


def digest_of(*values: Any) -> str:
    """A checksum of arrays, and of anything else as JSON; dataclasses field by field."""
    return _digest(*_bytes(values))


def _bytes(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, (list, tuple)):
        yield f"{len(value)}".encode()
        for inner in value:
            yield from _bytes(inner)
    elif is_dataclass(value) and any(
        isinstance(getattr(value, field.name), np.ndarray) for field in fields(value)
    ):
        yield from _bytes([getattr(value, field.name) for field in fields(value)])
    else:
        plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        yield json.dumps(plain, sort_keys=True, default=str).encode()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]
