"""Tensors of a CTranslate2 model file, the form in which packages carry Whisper. Nothing is run.

The file, little-endian: binary version, name and revision of the model's kind, the number of
variables; of each its name, rank, shape, type and bytes; then aliases, names of variables that are
others. Strings have a length of two bytes and end with a zero.

Source: OpenNMT/CTranslate2, src/models/model.cc (binary version 6).
"""

from __future__ import annotations

import math
import struct

import numpy as np
import torch

from se4lip.types import InputError

_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_VERSIONS = (5, 6)


def read_ctranslate2(content: bytes, kind: str = "WhisperSpec") -> dict[str, torch.Tensor]:
    """Variables by name.

    Raises:
        InputError: damaged, cut short, or not a model of this kind.
    """
    reader = _Reader(content)
    try:
        version, found = reader.number("I"), reader.text()
        if version not in _VERSIONS or found != kind:
            raise InputError(
                f"the weights hold {found!r} of CTranslate2's format {version}, but {kind} of "
                f"format {' or '.join(map(str, _VERSIONS))} is needed: convert them anew"
            )
        reader.number("I")  # revision of the kind: the encoder's names have never changed
        variables = {}
        for _ in range(reader.number("I")):
            name = reader.text()
            shape = [reader.number("I") for _ in range(reader.number("B"))]
            dtype = np.dtype(_TYPES[reader.number("B")])
            size = reader.number("I")
            if size != math.prod(shape) * dtype.itemsize:
                raise ValueError(name)
            array = np.frombuffer(reader.take(size), dtype).reshape(shape)
            variables[name] = torch.from_numpy(array.copy())
        for _ in range(reader.number("I")):
            alias = reader.text()
            variables[alias] = variables[reader.text()]
    except (struct.error, ValueError, KeyError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "the weights are no CTranslate2 model, or damaged or cut short: fetch them again"
        ) from error
    return variables


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, size: int) -> bytes:
        part = self.content[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("cut short")
        self.at += size
        return part

    def number(self, kind: str) -> int:
        layout = f"<{kind}"
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode()
