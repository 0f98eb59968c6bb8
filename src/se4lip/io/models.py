"""Where MediaPipe's face landmarker is found: an argument, the environment, a cache, a download."""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path

from se4lip.io.files import atomic, existing_file, sha256_of
from se4lip.types import InputError

FACE_LANDMARKER_URL = (
    "https://storage.googleapis.com/mediapipe-models/"
    "face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
FACE_LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
FACE_LANDMARKER_VARIABLE = "SE4LIP_FACE_LANDMARKER"
_SUPPLY = (
    f"pass --face-landmarker FILE or set {FACE_LANDMARKER_VARIABLE} to a copy of "
    f"{FACE_LANDMARKER_URL}"
)


def cache_folder() -> Path:
    """Where downloads are kept: ``SE4LIP_CACHE``, else the platform's cache folder."""
    chosen = os.environ.get("SE4LIP_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "se4lip"
    if sys.platform == "win32":
        elsewhere, usual = os.environ.get("LOCALAPPDATA"), Path("AppData", "Local")
    else:
        elsewhere, usual = os.environ.get("XDG_CACHE_HOME"), Path(".cache")
    return (Path(elsewhere) if elsewhere else _home() / usual) / "se4lip"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # a container's user without a name
        raise InputError(
            "this user has no home folder to keep files in: set SE4LIP_CACHE to a folder"
        ) from error


def face_landmarker(path: Path | str | None = None, *, url: str = FACE_LANDMARKER_URL) -> Path:
    """The checked ``face_landmarker.task``: ``path``, else ``SE4LIP_FACE_LANDMARKER``, else cached.

    Downloaded into the cache from ``url`` when nothing is there.

    Raises:
        InputError: not to be had, or not the file with ``FACE_LANDMARKER_SHA256``.
    """
    named = path or os.environ.get(FACE_LANDMARKER_VARIABLE)
    if named:
        return _checked(existing_file(named, "face landmarker"))
    cached = cache_folder() / "face_landmarker.task"
    if not cached.is_file():
        _download(url, cached)
    return _checked(cached)


def _download(url: str, goal: Path) -> None:
    try:
        with atomic(goal) as part:
            with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            _checked(part, f"the download of {url}")
    except OSError as error:  # URLError and time-outs are OSErrors
        raise InputError(
            f"the face landmarker model cannot be downloaded ({error}): {_SUPPLY}"
        ) from error


def _checked(path: Path, name: str | None = None) -> Path:
    found = sha256_of(path)
    if found != FACE_LANDMARKER_SHA256:
        raise InputError(
            f"{name or f'face landmarker {path}'} has SHA-256 {found[:12]}..., needed "
            f"{FACE_LANDMARKER_SHA256[:12]}...: {_SUPPLY}"
        )
    return path
