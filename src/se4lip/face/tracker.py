"""Finding faces: a small interface, and MediaPipe's face landmarker behind it."""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from se4lip.types import InputError


@dataclass(frozen=True)
class Face:
    """One face in one picture; the fields are rows of ``types.FaceTrack``."""

    landmarks_px: Float32[np.ndarray, "478 3"]
    blendshapes: Float32[np.ndarray, " 52"]
    camera_from_face: Float32[np.ndarray, "4 4"]


class Tracker(Protocol):
    """Finds the faces of a picture."""

    @property
    def name(self) -> str:
        """What found the faces, for the record: library, version and model."""
        ...

    def track(self, rgb: UInt8[np.ndarray, "H W 3"]) -> list[Face]:
        """All faces of one picture, the most certain first."""
        ...


class MediaPipeTracker:
    """MediaPipe's face landmarker, each picture by itself, at most two faces.

    Needs the extra ``prepare``; ``model_path`` comes from ``io.models.face_landmarker``,
    and ``model_sha256`` is part of its name.

    Raises:
        InputError: MediaPipe is not installed.
    """

    def __init__(self, model_path: Path | str, model_sha256: str = "") -> None:
        try:
            with _quiet():
                import mediapipe
                from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise InputError(
                "finding faces needs MediaPipe, which is not installed: "
                "pip install '.[prepare]' in se4lip's checkout"
            ) from error
        self._mediapipe: Any = mediapipe
        self._model_sha256 = model_sha256
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model_path)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=2,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        with _quiet():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
            weakref.finalize(self, _close, self._landmarker)
            # The first picture makes it speak once more.
            self.track(np.zeros((64, 64, 3), np.uint8))

    @property
    def name(self) -> str:
        version = self._mediapipe.__version__
        return f"mediapipe {version} face_landmarker {self._model_sha256[:12]}".rstrip()

    def track(self, rgb: UInt8[np.ndarray, "H W 3"]) -> list[Face]:
        height, width = rgb.shape[:2]
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB,
            data=np.ascontiguousarray(rgb),  # it finds no face in a strided array, silently
        )
        found = self._landmarker.detect(image)
        # Depth comes in the unit of x.
        to_px = np.array([width, height, width], np.float32)
        return [
            Face(
                landmarks_px=np.array([(p.x, p.y, p.z) for p in points], np.float32) * to_px,
                blendshapes=np.array([shape.score for shape in shapes], np.float32),
                camera_from_face=np.asarray(matrix, np.float32),
            )
            for points, shapes, matrix in zip(
                found.face_landmarks,
                found.face_blendshapes,
                found.facial_transformation_matrixes,
                strict=True,
            )
        ]


def _close(landmarker: Any) -> None:
    try:
        landmarker.close()
    except RuntimeError:
        # The interpreter ends and its threads are gone. Without this MediaPipe's `__del__` would
        # try again, noisily; the end of the process frees everything.
        landmarker._handle = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what native libraries write to stderr, past Python, while they start."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
