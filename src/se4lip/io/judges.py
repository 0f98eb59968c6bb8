"""Weights of published judges, which their authors' terms keep out of this package.

Each is a file that the user names, or sets in an environment variable, or that lies in the cache
under its own name; it is fetched only when asked for. What lies in the cache is checked; what a
user names may be a conversion: ``deviation`` says so, and the report repeats it.
"""

from __future__ import annotations

import os
import pickle
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from se4lip.io.files import atomic, existing_file, sha256_of
from se4lip.io.models import cache_folder
from se4lip.types import InputError


@dataclass(frozen=True)
class PublishedFile:
    """``sha256`` may be its beginning only, where that is all its publisher says."""

    name: str
    url: str
    sha256: str
    variable: str

    @property
    def how_to_supply(self) -> str:
        return f"set {self.variable} to a copy of {self.url}"


SYNCNET = PublishedFile(
    "syncnet_v2.model",
    "http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
    "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    "SE4LIP_SYNCNET",
)
LPIPS_BACKBONES = {
    "alex": PublishedFile(
        "alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be79",  # torchvision writes the beginning into the name
        "SE4LIP_LPIPS_ALEXNET",
    ),
    "vgg": PublishedFile(
        "vgg16-397923af.pth",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af",
        "SE4LIP_LPIPS_VGG16",
    ),
}
_HEADS_URL = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
)
LPIPS_HEADS = {
    "alex": PublishedFile(
        "alex.pth",
        _HEADS_URL + "alex.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "SE4LIP_LPIPS_ALEX_HEADS",
    ),
    "vgg": PublishedFile(
        "vgg.pth",
        _HEADS_URL + "vgg.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "SE4LIP_LPIPS_VGG_HEADS",
    ),
}


def find_published(
    file: PublishedFile,
    path: Path | None = None,
    fetch: bool = False,
    otherwise: str = "pass --fetch",
) -> Path:
    """Where ``file`` is: ``path``, else its variable, else the cache, else fetched into the cache.

    ``otherwise`` is what else a user of the command can do.

    Raises:
        InputError: it is not there (and ``fetch`` not asked for), or not the published one.
    """
    named = path or os.environ.get(file.variable)
    if named:
        return existing_file(named, file.name)
    cached = cache_folder() / file.name
    if not cached.is_file():
        if not fetch:
            raise InputError(f"{file.name} is not here: {file.how_to_supply}, or {otherwise}")
        _fetch(file, cached)
    _checked(cached, file)
    return cached


def deviation(file: PublishedFile, path: Path) -> str:
    """A sentence that tells a copy with another checksum from the published file, else ""."""
    found = sha256_of(path)
    if found.startswith(file.sha256):
        return ""
    return (
        f"{path} stands for {file.name} but is another file (SHA-256 {found[:12]}..., published "
        f"{file.sha256[:12]}...): its figures are comparable only if it is a conversion"
    )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Named tensors of a safetensors file or of a PyTorch state file, on the CPU.

    The latter is read by PyTorch's restricted reader, which makes tensors and runs nothing.

    Raises:
        InputError: missing, damaged, or holding anything but tensors.
    """
    file = existing_file(path, "weight file")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, it then refuses
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise InputError(
            f"weight file {file} is damaged or holds more than tensors: fetch it again, or convert "
            "its state to safetensors"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        raise InputError(f"weight file {file} holds no state of named tensors: give a state file")
    return {name: value.detach() for name, value in found.items()}


def _fetch(file: PublishedFile, goal: Path) -> None:
    try:
        with atomic(goal) as part:
            with urllib.request.urlopen(file.url, timeout=60) as answer, part.open("wb") as out:
                while block := answer.read(1 << 20):
                    out.write(block)
            _checked(part, file)
    except OSError as error:  # URLError and time-outs are OSErrors
        raise InputError(
            f"{file.name} cannot be fetched ({error}): {file.how_to_supply}"
        ) from error


def _checked(path: Path, file: PublishedFile) -> None:
    found = sha256_of(path)
    if not found.startswith(file.sha256):
        raise InputError(
            f"{file.name} has SHA-256 {found[:12]}..., needed {file.sha256[:12]}...: remove {path} "
            f"and {file.how_to_supply}"
        )
