"""Learned weights on disk: safetensors with one JSON header, never a pickle.

The header is a JSON object under the safetensors metadata key ``se4lip``:

    format    "se4lip-weights"
    kind      what the tensors are, such as "speech-encoder"
    version   of that kind; a reader refuses what is newer than itself
    config    the configuration the weights were made with
    sha256    of all tensors, so that a flipped bit is found
    metadata  anything else worth keeping (data, licence, command, figures)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from se4lip.io.files import existing_file, sha256_of, write_bytes
from se4lip.types import InputError

__all__ = ["Header", "fitting", "load_weights", "read_header", "save_weights", "sha256_of"]

_FORMAT = "se4lip-weights"


@dataclass(frozen=True)
class Header:
    """What a weight file says of itself; see the module's text."""

    kind: str
    version: int
    config: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def save_weights(
    path: Path | str,
    tensors: Mapping[str, torch.Tensor],
    *,
    kind: str,
    config: Mapping[str, Any],
    version: int = 1,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tensors and header to ``path``, whole or not at all. Equal input gives equal bytes.

    Raises:
        InputError: ``path`` cannot be written.
    """
    # A clone each: safetensors refuses tensors that share memory, such as tied weights.
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    header = {
        "format": _FORMAT,
        "kind": kind,
        "version": version,
        "config": dict(config),
        "sha256": _digest(plain),
        "metadata": dict(metadata or {}),
    }
    write_bytes(path, safetensors.torch.save(plain, {"se4lip": json.dumps(header)}))


def load_weights(
    path: Path | str, kind: str, version: int = 1
) -> tuple[dict[str, torch.Tensor], Header]:
    """Tensors on the CPU and the header of a file of ``kind``, up to ``version`` understood.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    file = existing_file(path, "weight file")
    content = file.read_bytes()
    header = _header(file, content)
    _check_kind(file, header, kind, version)
    tensors = safetensors.torch.load(content)
    if _digest(tensors) != header.sha256:
        raise InputError(f"weight file {file} is damaged, its checksum is wrong: fetch it again")
    return tensors, header


@contextlib.contextmanager
def fitting(path: Path | str, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Around the making of a model from what ``load_weights`` gave: what does not fit is told.

    Raises:
        InputError: numbers that are not finite, missing or surplus tensors, shapes or a
            configuration that do not fit.
    """
    try:
        spoilt = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    except RuntimeError as error:  # NotImplementedError too: of numbers that nobody here writes
        raise InputError(
            f"weight file {path} holds numbers of a kind that se4lip does not write: fetch it again"
        ) from error
    if spoilt:
        raise InputError(
            f"weight file {path} holds NaN or infinite numbers (in {spoilt[0]}), the training "
            "that wrote it went wrong: make it again"
        )
    try:
        yield
    except InputError as error:
        raise InputError(f"weight file {path}: {error}") from error
    except KeyError as error:
        raise InputError(f"weight file {path} lacks {error}: make it again, or fetch it") from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"weight file {path} lacks parts, or they do not fit together: make it again, or "
            "fetch it"
        ) from error


def read_header(path: Path | str, kind: str | None = None, version: int = 1) -> Header:
    """The header alone; of ``kind`` and up to ``version``, unless any will do.

    Raises:
        InputError: missing, damaged, no weight file, of another kind, or newer.
    """
    file = existing_file(path, "weight file")
    header = _header(file, file.read_bytes())
    if kind is not None:
        _check_kind(file, header, kind, version)
    return header


def _check_kind(file: Path, header: Header, kind: str, version: int) -> None:
    if header.kind != kind:
        raise InputError(
            f"{file} holds {header.kind} weights, needed are {kind} weights: give a file of those"
        )
    if header.version > version:
        raise InputError(
            f"{file} holds {kind} weights of version {header.version}, this se4lip reads up to "
            f"{version}: update se4lip"
        )


def _header(file: Path, content: bytes) -> Header:
    if content.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        raise InputError(
            f"weight file {file} is a pickle or an archive of one, which may run any program when "
            "it is loaded: give a .safetensors file that se4lip has written"
        )
    try:
        safetensors.deserialize(content)
        size = int.from_bytes(content[:8], "little")
        found = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get("se4lip")
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(
            f"weight file {file} is damaged, cut short or no safetensors file: fetch it again"
        ) from error
    try:
        header = json.loads(found)
        if header["format"] != _FORMAT:
            raise ValueError
        return Header(
            kind=str(header["kind"]),
            version=int(header["version"]),
            config=dict(header["config"]),
            metadata=dict(header.get("metadata", {})),
            sha256=str(header["sha256"]),
        )
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{file} is a safetensors file without a se4lip header: give a file se4lip has written"
        ) from error


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes, because NumPy does not know bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
