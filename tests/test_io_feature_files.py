"""Feature files on disk: places found, frames counted, nothing overwritten unasked or torn."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from se4lip.dropin import PROFILES, feature_files
from se4lip.io.feature_files import place_in_dataset, write
from se4lip.types import InputError


def dataset(folder, train_ids, val_ids, aud_shift=0):
    (folder / "aud.wav").write_bytes(b"RIFF")
    for split, ids in [("train", train_ids), ("val", val_ids)]:
        frames = [{"img_id": i, "aud_id": i + aud_shift, "transform_matrix": []} for i in ids]
        text = json.dumps({"focal_len": 1000.0, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)
    return folder


def pictures(folder, name, count):
    (folder / "aud.wav").write_bytes(b"RIFF")
    (folder / name).mkdir()
    for i in range(count):
        (folder / name / f"{i}.jpg").touch()
    (folder / name / "0.lms").touch()
    return folder


def unit_features(frames):
    rows = np.random.default_rng(0).normal(size=(frames, 512))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("shift", [0, 2])
def test_frames_run_to_the_largest_number_that_any_loader_indexes_by(tmp_path, shift):
    folder = dataset(tmp_path, [0, 1, 5, 40], [41, 47], aud_shift=shift)
    place = place_in_dataset(PROFILES["talkinggaussian"], folder)
    assert (place.frames, place.audio) == (48 + shift, folder / "aud.wav")


@pytest.mark.parametrize(
    ("name", "where"),
    [("ultralight", "full_body_img"), ("synctalk-2d", "full_body_img"), ("mimictalk", "gt_imgs")],
)
def test_frames_are_the_pictures_where_no_list_numbers_them(tmp_path, name, where):
    assert place_in_dataset(PROFILES[name], pictures(tmp_path, where, 30)).frames == 30


def test_a_data_set_gets_the_files_its_loader_looks_for(tmp_path):
    profile = PROFILES["instag"]
    place = place_in_dataset(profile, dataset(tmp_path, range(40), range(40, 44)))
    written = write(feature_files(profile, unit_features(43), frames=place.frames), place.folder)
    assert written == [tmp_path / "aud_hu.npy"]
    assert np.load(tmp_path / "aud_hu.npy").shape == (44, 2, 1024)


def test_an_audio_file_gets_files_named_after_it(tmp_path):
    profile = PROFILES["ultralight"]
    write(feature_files(profile, unit_features(20), stem="hello"), tmp_path / "new" / "folder")
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["hello_hu.npy", "hello_wenet.npy"]


def test_files_that_are_there_stay_unless_told_otherwise(tmp_path):
    old = tmp_path / "aud_esperanto.npy"
    old.write_bytes(b"wav2vec")
    files = feature_files(PROFILES["geneface"], unit_features(10))
    with pytest.raises(InputError) as error:
        write(files, tmp_path)
    assert str(error.value) == (
        f"{tmp_path} already holds aud_esperanto.npy, perhaps another extractor's: "
        "move it away, or overwrite it with --overwrite"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["aud_esperanto.npy"]
    assert old.read_bytes() == b"wav2vec"
    write(files, tmp_path, overwrite=True)
    assert np.load(old).shape == (10, 16, 44)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path):
    old = tmp_path / "aud_hu.npy"
    old.write_bytes(b"hubert")
    objects = SimpleNamespace(name="aud_hu.npy", array=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="objects would have to be pickled"):
        write([objects], tmp_path, overwrite=True)
    assert old.read_bytes() == b"hubert"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_without_sound_is_no_data_set(tmp_path):
    with pytest.raises(InputError) as error:
        place_in_dataset(PROFILES["er-nerf"], tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds no aud.wav, so it is no ER-NeRF data set: "
        "run ER-NeRF's preparation first, or give an audio file"
    )


def test_an_unfinished_data_set_is_refused(tmp_path):
    (tmp_path / "aud.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"cannot read the AD-NeRF frame list .*transforms_train"):
        place_in_dataset(PROFILES["ad-nerf"], tmp_path)
    with pytest.raises(InputError, match=r"gt_imgs holds no pictures: run GeneFace\+\+'s prepara"):
        place_in_dataset(PROFILES["genefaceplusplus"], tmp_path)
    pictures_of_none = tmp_path / "full_body_img"
    pictures_of_none.mkdir()
    with pytest.raises(InputError, match="full_body_img holds no pictures"):
        place_in_dataset(PROFILES["ultralight"], tmp_path)


@pytest.mark.parametrize(
    "content", [[], {}, {"frames": [{"img_id": None}]}, {"frames": [{"img_id": 1e400}]}, 3]
)
def test_a_frame_list_of_another_kind_is_refused(tmp_path, content):
    dataset(tmp_path, [0], [1])
    (tmp_path / "transforms_val.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="lists no frames with img_id and aud_id: run SyncTalk's"):
        place_in_dataset(PROFILES["synctalk"], tmp_path)


def test_a_short_video_may_have_no_frame_to_validate_on(tmp_path):
    dataset(tmp_path, [0, 1, 2], [])
    assert place_in_dataset(PROFILES["synctalk"], tmp_path).frames == 3
