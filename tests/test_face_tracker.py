"""MediaPipe behind the small interface. Needs the model file, which is never committed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from se4lip.face.tracker import MediaPipeTracker
from se4lip.io.files import sha256_of
from se4lip.io.video import read_frames
from se4lip.prepare.dataset import mediapipe_tracker, prepare
from se4lip.types import InputError

SHARED = Path(__file__).parents[2] / "shared"
MODEL = SHARED / "models" / "face_landmarker.task"
RECORDING = SHARED / "data" / "grid_others" / "lbax4n.mpg"

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="MediaPipe is not installed"
)
needs_model = pytest.mark.skipif(
    not MODEL.is_file(), reason="../shared/models/face_landmarker.task is missing"
)
needs_recording = pytest.mark.skipif(
    not RECORDING.is_file(), reason="../shared/data/grid_others is missing"
)


def test_without_mediapipe_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError) as caught:
        MediaPipeTracker("model.task")
    assert str(caught.value) == (
        "finding faces needs MediaPipe, which is not installed: pip install '.[prepare]' in "
        "se4lip's checkout"
    )


@needs_mediapipe
@needs_model
def test_a_picture_without_a_face_has_none():
    tracker = MediaPipeTracker(MODEL, sha256_of(MODEL))
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert tracker.track(noise) == []
    assert tracker.track(np.full((7, 5, 3), 99, np.uint8)) == []
    assert tracker.name.startswith("mediapipe ")
    assert tracker.name.endswith(" face_landmarker 64184e229b26")


@needs_mediapipe
@needs_model
def test_it_is_silent():
    code = f"""
import numpy as np
from se4lip.face.tracker import MediaPipeTracker
tracker = MediaPipeTracker({str(MODEL)!r})
tracker.track(np.zeros((64, 64, 3), np.uint8))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@needs_mediapipe
@needs_model
@needs_recording
def test_a_face_is_found_in_pixels_and_the_same_in_a_strided_picture():
    tracker = MediaPipeTracker(MODEL)
    frame = next(read_frames(RECORDING))
    (face,) = tracker.track(frame)
    x, y = face.landmarks_px[:, 0], face.landmarks_px[:, 1]
    assert 0 < x.min() < x.max() < frame.shape[1]
    assert 0 < y.min() < y.max() < frame.shape[0]
    assert face.landmarks_px[13, 1] > face.landmarks_px[168, 1]  # lips below the nose
    assert face.landmarks_px[1, 2] < face.landmarks_px[127, 2]  # the nose nearer than a temple
    assert ((face.blendshapes >= 0) & (face.blendshapes <= 1)).all()
    np.testing.assert_allclose(np.linalg.det(face.camera_from_face[:3, :3]), 1, rtol=0.1)
    twice = np.repeat(frame, 2, axis=1)[:, ::2]
    assert not twice.flags.c_contiguous
    (again,) = tracker.track(twice)
    np.testing.assert_array_equal(again.landmarks_px, face.landmarks_px)


@needs_mediapipe
@needs_model
@needs_recording
def test_a_real_recording_becomes_a_clip(monkeypatch, tmp_path):
    monkeypatch.setenv("SE4LIP_FACE_LANDMARKER", str(MODEL))
    done = prepare([RECORDING], tmp_path / "set", tracker=mediapipe_tracker)
    assert (done.clips, done.frames, done.skipped) == (1, 75, ())
