"""A data set of another frame rate is refused: its lips would part from its sound unnoticed."""

import json

import numpy as np
import pytest

from se4lip.dropin import PROFILES, feature_files
from se4lip.io import feature_files as storage
from se4lip.types import InputError


def exported(name: str, heard: int, frames: int) -> dict:
    rows = np.random.default_rng(0).normal(size=(heard, 512))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return {f.name: f.array for f in feature_files(PROFILES[name], rows, frames=frames)}


def test_a_30_fps_data_set_is_refused_in_numbers():
    with pytest.raises(InputError) as error:
        exported("talkinggaussian", 250, 300)
    assert str(error.value) == (
        "the data set has 300 frames but its sound lasts 10.00 s, which makes 30.0 frames a second "
        "where TalkingGaussian needs 25: make the data set again from a video of that rate, with "
        "sound as long as its pictures"
    )


@pytest.mark.parametrize("seconds", [5, 10, 60, 300])
@pytest.mark.parametrize("rate", [15, 20, 23.976, 24, 29.97, 30, 50])
@pytest.mark.parametrize("name", sorted(PROFILES))
def test_another_frame_rate_is_refused_by_every_system(name, rate, seconds):
    frames = round(rate * seconds)
    if name == "ultralight" and rate == 20:
        pytest.skip("its other file is for 20 frames a second")
    with pytest.raises(InputError, match=rf"makes {frames / seconds:.1f} frames a second where"):
        exported(name, 25 * seconds, frames)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_sound_and_pictures_of_a_long_recording_may_part_by_a_hundredth(name):
    for frames in (7425, 7575):
        assert exported(name, 7500, frames)


@pytest.mark.parametrize("name", ["er-nerf", "ad-nerf", "geneface"])
@pytest.mark.parametrize(("pictures", "refused"), [(250, False), (240, True), (200, True)])
def test_frames_without_a_face_count_by_their_pictures(name, pictures, refused, tmp_path):
    """Preparations list the frames in which they found a face and keep the pictures of all."""
    (tmp_path / "aud.wav").write_bytes(b"RIFF")
    (tmp_path / "ori_imgs").mkdir()
    for number in range(pictures):
        (tmp_path / "ori_imgs" / f"{number}.jpg").touch()
    (tmp_path / "ori_imgs" / "0.lms").touch()
    for split, numbers in {"train": range(150), "val": range(150, 180)}.items():
        frames = [{"img_id": number, "aud_id": number} for number in numbers]
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps({"frames": frames}))
    place = storage.place_in_dataset(PROFILES[name], tmp_path)
    assert place.frames == pictures
    if refused:
        with pytest.raises(InputError, match=rf"has {pictures} frames but its sound lasts 10"):
            exported(name, 250, place.frames)
    else:
        assert all(len(array) >= 250 for array in exported(name, 250, place.frames).values())
