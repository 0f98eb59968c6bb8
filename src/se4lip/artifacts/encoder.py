"""The encoder as a file: saving, loading, and saying which one it is."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from se4lip.artifacts.networks import file_of, load_network, remembered, save_network
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.io.config import from_plain
from se4lip.io.weights import Header, fitting, read_header

ENCODER_KIND = "encoder"
FEATURES_OF = "features_of"  # checksum of the weights that have had this very speech encoder


@dataclass(frozen=True)
class EncoderIdentity:
    """Which encoder made a feature: heads refuse features of another one.

    ``features`` is their kind, a name in `features.catalogue`, or "files" when nobody knows who
    wrote them; then ``sha256``, which is that of the weights, is empty. An encoder whose lips
    alone learned on makes the features of the one that it began with, and goes by its ``sha256``.
    """

    name: str
    sha256: str
    width: int
    features: str = "se4lip"


def shipped_encoder() -> Path:
    """The weights that come with the package (docs/cards/encoder.md)."""
    return Path(str(importlib.resources.files("se4lip") / "weights" / "encoder.safetensors"))


@remembered(shipped_encoder)
def load_encoder(file: Path) -> SE4Lip:
    """Speech and lip encoder of a weights file, the shipped one by default, ready for use.

    Raises:
        InputError: missing, damaged, of another kind, or newer.
    """
    return load_network(file, ENCODER_KIND, SE4Lip, SE4LipConfig)


@remembered(shipped_encoder)
def encoder_identity(file: Path) -> EncoderIdentity:
    """Name and checksum of a weights file's features, read from its header."""
    header = read_header(file, kind=ENCODER_KIND)
    with fitting(file, {}):
        width = from_plain(SE4LipConfig, header.config).speech.embedding
    sha256 = str(header.metadata.get(FEATURES_OF, header.sha256))
    return EncoderIdentity(str(header.metadata.get("name", file.stem)), sha256, width)


def encoder_header(path: Path | None = None) -> Header:
    """What a weights file says of itself, the checksum of all its numbers included.

    Raises: InputError as ``load_encoder``.
    """
    return read_header(file_of(path, shipped_encoder()), kind=ENCODER_KIND)


def save_encoder(path: Path, model: SE4Lip, metadata: Mapping[str, object]) -> None:
    save_network(path, model, ENCODER_KIND, metadata)
