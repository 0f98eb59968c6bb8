"""The encoder as a file: saving, loading, and saying which one it is."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.io.config import from_plain, to_plain
from se4lip.io.weights import fitting, load_weights, read_header, save_weights

ENCODER_KIND = "encoder"


@dataclass(frozen=True)
class EncoderIdentity:
    """Which encoder made a feature: heads refuse features of another one.

    ``features`` is their kind, a name in `features.catalogue`, or "files" when nobody knows who
    wrote them; then ``sha256``, which is that of the weights, is empty.
    """

    name: str
    sha256: str
    width: int
    features: str = "se4lip"


def shipped_encoder() -> Path:
    """The weights that come with the package (docs/cards/encoder.md)."""
    return Path(str(importlib.resources.files("se4lip") / "weights" / "encoder.safetensors"))


@functools.lru_cache(maxsize=2)
def load_encoder(path: Path | None = None) -> SE4Lip:
    """Speech and lip encoder of a weights file, the shipped one by default, ready for use.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    file = path or shipped_encoder()
    tensors, header = load_weights(file, kind=ENCODER_KIND)
    with fitting(file, tensors):
        model = SE4Lip(from_plain(SE4LipConfig, header.config))
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.eval().requires_grad_(False)


def save_encoder(path: Path, model: SE4Lip, metadata: Mapping[str, object]) -> None:
    """Write ``model`` in half precision: its rounding is far below what training leaves open."""
    tensors = {name: value.half() for name, value in model.state_dict().items()}
    save_weights(path, tensors, kind=ENCODER_KIND, config=to_plain(model.config), metadata=metadata)


@functools.lru_cache(maxsize=2)
def encoder_identity(path: Path | None = None) -> EncoderIdentity:
    """Name and checksum of a weights file, read from its header."""
    file = path or shipped_encoder()
    header = read_header(file, kind=ENCODER_KIND)
    with fitting(file, {}):
        width = from_plain(SE4LipConfig, header.config).speech.embedding
    return EncoderIdentity(str(header.metadata.get("name", file.stem)), header.sha256, width)
