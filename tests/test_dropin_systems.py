"""Every profile against its system's own loader, whose rules are re-stated here and cited.

Citations are `repository: file (commit)`. The re-statements are ours; where a loader has a quirk
(pads that fall short, lengths less one), the quirk is kept, because it is what files must survive.
"""

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from se4lip.dropin import PROFILES, describe, feature_files
from se4lip.dropin.profiles import SLACK_FRAMES
from se4lip.io import feature_files as storage
from se4lip.types import InputError

WINDOW_NETS = ["rad-nerf", "er-nerf", "synctalk", "talkinggaussian", "instag", "gaussiantalker"]
PICTURE_NETS = ["synctalk-2d", "ultralight"]


def features(frames: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(frames, 512))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def exported(name: str, heard: int, frames: int | None = None, stem: str = "aud") -> dict:
    files = feature_files(PROFILES[name], features(heard), stem=stem, frames=frames)
    return {file.name: file.array for file in files}


def rows_around(array: np.ndarray, index: int, before: int, after: int) -> np.ndarray:
    """Rows [index - before, index + after), zeros outside, but never more zeros than rows read.

    get_audio_features(att_mode=2) of ashawkey/RAD-NeRF: nerf/utils.py; ZiqiaoPeng/SyncTalk:
    nerf_triplane/utils.py; Fictionarry/TalkingGaussian: utils/audio_utils.py; cvlab-kaist/
    GaussianTalker: scene/utils.py. The pads are `zeros_like(rows[:missing])`, hence the quirk.
    """
    low, high = index - before, index + after
    rows = array[max(low, 0) : min(high, len(array))]
    if low < 0:
        rows = np.concatenate((np.zeros_like(rows[:-low]), rows))
    if high > len(array):
        rows = np.concatenate((rows, np.zeros_like(rows[: high - len(array)])))
    return rows


class AudioNet(nn.Module):
    """[8, C, W] -> [8, 32] -> [1, 32] by attention. Sources as in test_dropin_layouts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width, 32, 32, 64, 64]
        self.convolutions = nn.Sequential()
        for wide_in, wide_out in pairwise(channels):
            self.convolutions.append(nn.Conv1d(wide_in, wide_out, 3, stride=2, padding=1))
            self.convolutions.append(nn.LeakyReLU(0.02))
        self.embed = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.02), nn.Linear(64, 32))
        self.attend = nn.Sequential()
        for wide_in, wide_out in [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]:
            self.attend.append(nn.Conv1d(wide_in, wide_out, 3, padding=1))
            self.attend.append(nn.LeakyReLU(0.02))
        self.weigh = nn.Sequential(nn.Linear(8, 8), nn.Softmax(dim=1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.embed(self.convolutions(rows[:, :, 0:16]).squeeze(-1))[None]
        weight = self.weigh(self.attend(x.permute(0, 2, 1)).view(1, 8)).view(1, 8, 1)
        return (weight * x).sum(dim=1)


def drive_audio_net(rows: np.ndarray, width: int) -> torch.Tensor:
    torch.manual_seed(0)
    return AudioNet(width)(torch.from_numpy(rows).float().permute(0, 2, 1))


def flag(command: str, name: str) -> str:
    found = re.search(rf"(?<!\S){name}[ =](\S+)", command)
    assert found, f"{name} is missing from {command}"
    return found[1]


# --- Which file, and how wide, does the typed flag select? ---------------------------------------


def nerf_choice(asr_model: str, *, hubert: bool) -> tuple[str, int]:
    """ashawkey/RAD-NeRF: nerf/provider.py, nerf/network.py; with hubert: Fictionarry/ER-NeRF and
    ZiqiaoPeng/SyncTalk: nerf_triplane/provider.py, nerf_triplane/network.py."""
    if "esperanto" in asr_model:
        return "aud_eo.npy", 44
    if "deepspeech" in asr_model:
        return "aud_ds.npy", 29
    if hubert and "hubert" in asr_model:
        return "aud_hu.npy", 1024
    return "aud.npy", 32


@pytest.mark.parametrize("name", ["rad-nerf", "er-nerf", "synctalk"])
def test_nerf_flags_select_the_file_written_and_its_width(name):
    profile = PROFILES[name]
    asr_model = flag(profile.train[0], "--asr_model")
    file, width = nerf_choice(asr_model, hubert=name != "rad-nerf")
    (array,) = [exported(name, 30)[file]]
    assert array.ndim == 3 and array.shape[2] == width
    # Test and driving build the network by the same flag, so it must be typed there too.
    assert flag(profile.drive[0], "--asr_model") == asr_model
    assert flag(profile.drive[0], "--aud") == file.replace("aud", "<stem>", 1)


def test_synctalk_versions_that_make_up_the_name_find_the_file():
    """ZiqiaoPeng/SyncTalk: nerf_triplane/provider.py (01eb9a3): `aud.split('.')[0] + '_hu.npy'`."""
    made_up = ["demo/hello", "wav"][0] + "_hu.npy"
    assert made_up == "demo/" + next(iter(exported("synctalk", 30, stem="hello")))
    assert ["", "/demo/hello", "wav"][0] + "_hu.npy" == "_hu.npy"  # what the caveat warns of
    assert "not even ./" in PROFILES["synctalk"].caveat


@pytest.mark.parametrize(
    ("name", "postfixes"),
    [
        # Fictionarry/TalkingGaussian: scene/dataset_readers.py (453f218); scripts/train_xx_hu.sh
        ("talkinggaussian", {"deepspeech": "_ds", "esperanto": "_eo", "hubert": "_hu"}),
        # Fictionarry/InsTaG as in LiCan-monster/CV-InsTaG: scene/dataset_readers.py (d4a1f11)
        ("instag", {"deepspeech": "", "esperanto": "_eo", "hubert": "_hu"}),
        # the reader of its pre-training, as in Foxhead-Studio/InsTaG (163310b)
        ("instag", {"deepspeech": "_ds", "esperanto": "_eo", "hubert": "_hu"}),
    ],
)
def test_gaussian_flags_select_the_file_written_and_its_width(name, postfixes):
    extractor = flag(PROFILES[name].drive[0], "--audio_extractor")
    width = {"deepspeech": 29, "esperanto": 44, "hubert": 1024}[extractor]  # scene/motion_net.py
    assert exported(name, 30)[f"aud{postfixes[extractor]}.npy"].shape == (30, 2, width)
    assert flag(PROFILES[name].drive[0], "--audio") == f"<stem>{postfixes[extractor]}.npy"
    assert any(extractor in line or "train_xx_hu" in line for line in PROFILES[name].train)


@pytest.mark.parametrize("name", PICTURE_NETS)
def test_picture_flags_select_the_file_written(name):
    """anliyuan/Ultralight-Digital-Human: datasetsss.py; SyncTalk_2D: datasetsss_328.py."""
    chosen = {"hubert": "aud_hu.npy", "wenet": "aud_wenet.npy", "ave": "aud_ave.npy"}
    for command in (*PROFILES[name].train, PROFILES[name].drive[-1]):
        assert chosen[flag(command, "--asr")] in exported(name, 30, 30)


# --- NeRFs and Gaussians: eight rows through AudioNet ---------------------------------------------


@pytest.mark.parametrize("name", WINDOW_NETS)
@pytest.mark.parametrize("heard", [4, 5, 29])
def test_every_frame_of_every_window_net_gets_eight_rows(name, heard):
    """Below 4 frames the pads fall short of 8 rows, and the attention's view(1, 8) fails."""
    (array,) = exported(name, heard).values()
    for index in range(heard):
        rows = rows_around(array, index, 4, 4)
        assert rows.shape == (8, *array.shape[1:])
        assert np.isfinite(drive_audio_net(rows, array.shape[2]).detach().numpy()).all()
    np.testing.assert_array_equal(rows_around(array, 2, 4, 4)[4], array[2])


def test_fewer_than_four_frames_break_the_window_nets_and_are_refused():
    assert len(rows_around(np.ones((3, 2, 1024)), 0, 4, 4)) != 8
    with pytest.raises(InputError) as error:
        exported("er-nerf", 3)
    assert str(error.value) == (
        "only 3 frames, but ER-NeRF reads 8 at a time and fails below 4: give at least 0.16 s"
    )


@pytest.mark.parametrize("name", ["rad-nerf", "er-nerf", "synctalk", "gaussiantalker"])
def test_clamping_loaders_find_a_row_of_its_own_for_every_frame(name):
    """`features[min(aud_id, N - 1)]` for the frames of the split, then windows among those.

    ashawkey/RAD-NeRF, Fictionarry/ER-NeRF, ZiqiaoPeng/SyncTalk: provider.py; cvlab-kaist/
    GaussianTalker: scene/talking_dataset_readers.py (which needs three axes, else it raises).
    """
    frames = 44
    (array,) = exported(name, 42, frames).values()
    assert array.ndim == 3
    val = range(frames // 11 * 10, frames)  # process.py: the first 10/11 train
    stacked = np.stack([array[min(aud_id, len(array) - 1)] for aud_id in val])
    assert len(array) >= frames  # so that the clamp never comes into play
    assert drive_audio_net(rows_around(stacked, 3, 4, 4), array.shape[2]).shape == (1, 32)


@pytest.mark.parametrize("name", ["talkinggaussian", "instag"])
@pytest.mark.parametrize("missing", [0, 1, SLACK_FRAMES])
def test_loaders_that_index_by_img_id_see_the_last_frame(name, missing):
    """`if img_id > N: break`: with N rows, frame N passes that check and is read off the end.

    Fictionarry/TalkingGaussian: scene/dataset_readers.py (453f218); InsTaG likewise.
    """
    last = 60
    (array,) = exported(name, last + 1 - missing, last + 1).values()
    assert not last > len(array)
    assert rows_around(array, last, 4, 4)[4].any()
    one_short = array[:last]  # what the check lets through: the frame's own row is zeros
    assert not last > len(one_short)
    assert not rows_around(one_short, last, 4, 4)[4].any()


def test_instag_loops_its_frames_over_longer_sound_and_stops_with_it():
    """InsTaG scene/dataset_readers.py: frames *= N // len(frames) + 1; break at idx >= N."""
    (array,) = exported("instag", 70).values()
    frames = list(range(30)) * (len(array) // 30 + 1)
    read = [index for index in range(len(frames)) if index < len(array)]
    assert read[-1] == 69
    # Before it breaks it reads the window of index N.
    assert rows_around(array, len(array), 4, 4).shape == (8, 2, 1024)


def test_gaussiantalker_drives_with_the_files_named_in_its_data_folder():
    command = PROFILES["gaussiantalker"].drive[0]
    name = flag(command, "--custom_aud").replace("<stem>", "hello")
    array = exported("gaussiantalker", 20, stem="hello")[name]
    assert array.shape == (20, 16, 29)  # render.py, scene/talking_dataset_readers.py


# --- AD-NeRF and GeneFace ------------------------------------------------------------------------


def test_ad_nerf_trains_and_drives():
    """YudongGuo/AD-NeRF: NeRFs/TorsoNeRF/load_audface.py, NeRFs/HeadNeRF/run_nerf_helpers.py."""
    array = exported("ad-nerf", 30, 33)["aud.npy"]
    auds = np.array([array[min(aud_id, len(array) - 1)] for aud_id in range(33)]).astype(np.float32)
    assert auds.shape == (33, 16, 29)
    assert drive_audio_net(rows_around(auds, 32, 4, 4), 29).shape == (1, 32)
    # load_test_data: one row a pose from aud_start on, and an end when the rows end.
    driving = exported("ad-nerf", 12, stem="hello")["hello.npy"]
    assert [min(i, len(driving) - 1) for i in range(12)] == list(range(12))
    assert flag(PROFILES["ad-nerf"].drive[0], "--aud_file") == "<stem>.npy"


def geneface_window(conditions: np.ndarray, index: int) -> np.ndarray:
    """get_win_conds of yerfor/GeneFace: data_gen/nerf/binarizer.py: clamped, 8 rows or fail."""
    rows = rows_around(conditions, min(max(index, 0), len(conditions) - 1), 4, 4)
    assert len(rows) == 8
    return rows


@pytest.mark.parametrize("coefficients", [25, 30, 34])
def test_geneface_binarizes_whatever_number_of_faces_it_fitted(coefficients):
    """yerfor/GeneFace: data_gen/nerf/binarizer.py pads with zeros [n, 16, C] or cuts."""
    files = exported("geneface", 30, 32)
    for name, width in [("aud_deepspeech.npy", 29), ("aud_esperanto.npy", 44)]:
        array = files[name]
        missing = coefficients - len(array)
        if missing > 0:
            array = np.concatenate((array, np.zeros([missing, 16, width])))
        array = array[:coefficients]
        window = geneface_window(array, coefficients - 1)
        assert window.shape == (8, 16, width)
        assert drive_audio_net(window, width).shape == (1, 32)


@pytest.mark.parametrize("mel_rows", [56, 60, 64])
@pytest.mark.parametrize("faces", [28, 30, 32])
def test_geneface_postnet_pairs_two_hubert_rows_with_every_face(mel_rows, faces):
    """yerfor/GeneFace: tasks/postnet/dataset_utils.py cuts or pads by the length of the mel."""
    hubert = exported("geneface", 32, faces)["aud_hubert.npy"]
    if mel_rows > 2 * faces:
        hubert = hubert[: 2 * faces]
    elif mel_rows < 2 * faces:
        hubert = np.pad(hubert, ((0, 2 * faces - mel_rows), (0, 0)))
    train = faces // 11 * 10
    assert len(hubert[: 2 * train]) == 2 * train
    assert len(hubert[2 * train : 2 * faces]) == 2 * (faces - train)


def test_geneface_adnerf_drives_with_the_file_named():
    """yerfor/GeneFace: inference/nerfs/adnerf_infer.py, base_nerf_infer.py (infer_cond_name)."""
    command = PROFILES["geneface"].drive[0]
    name = re.search(r"infer_cond_name=(\S+)", command)[1].replace("<stem>", "hello")
    array = exported("geneface", 12, stem="hello")[name]
    assert all(geneface_window(array, i).shape == (8, 16, 29) for i in range(12))


@pytest.mark.parametrize("name", ["genefaceplusplus", "mimictalk"])
def test_genefaceplusplus_stores_an_even_number_of_half_frames(name):
    """yerfor/GeneFacePlusPlus: data_gen/runs/binarizer_nerf.py; two rows a face when training."""
    hubert = exported(name, 31, 33)["aud_hubert.npy"]
    assert hubert.shape == (66, 1024)
    # inference/genefacepp_infer.py, get_hubert: padded to a multiple of 8, then t_x // 2 pictures.
    assert np.pad(hubert, ((0, -len(hubert) % 8), (0, 0))).shape[0] // 2 >= 33


# --- Picture networks: rows reshaped into pictures ------------------------------------------------


@pytest.mark.parametrize(
    ("before", "shape"), [(8, (32, 32, 32)), (4, (16, 32, 32))], ids=["aff08d2", "080bce6"]
)
def test_ultralight_reshapes_hubert_rows_into_pictures(before, shape):
    """anliyuan/Ultralight-Digital-Human: datasetsss.py read 16 rows in aff08d2, 8 in 080bce6."""
    array = exported("ultralight", 25, 25)["aud_hu.npy"].astype(np.float32)
    for index in range(len(array)):
        assert rows_around(array, index, before, before).reshape(shape).shape == shape


@pytest.mark.parametrize(
    ("before", "shape"), [(8, (256, 16, 32)), (4, (128, 16, 32))], ids=["aff08d2", "080bce6"]
)
def test_ultralight_reshapes_wenet_rows_into_pictures(before, shape):
    array = exported("ultralight", 50, 40)["aud_wenet.npy"].astype(np.float32)
    assert len(array) == 40
    for index in range(len(array)):
        assert rows_around(array, index, before, before).reshape(shape).shape == shape


def test_ultralight_counts_its_moments_in_every_version():
    """datasetsss.py, __len__: aff08d2, 156eef1, and 080bce6, which fails on any rows."""
    pictures = 25
    array = exported("ultralight", pictures, pictures)["aud_hu.npy"]
    assert array.shape[0] - 1 <= pictures
    mended = array.shape[0] if array.shape[0] < pictures else pictures
    assert mended == pictures
    with pytest.raises(ValueError, match="ambiguous"):
        bool(array[0] < pictures)
    assert "self.audio_feats.shape[0]<len" in PROFILES["ultralight"].caveat


@pytest.mark.parametrize("before", [8, 4], ids=["c34b99d", "080bce6"])
def test_ultralight_drives_on_the_rows_it_trained_on(before):
    """inference.py, get_audio_features: a loop over all rows; 02a9877 loads no file of ours."""
    trained, driven = exported("ultralight", 25, 25), exported("ultralight", 25, stem="hi")
    for index in range(25):
        rows = rows_around(driven["hi_hu.npy"], index, before, before)
        assert rows.shape == (2 * before, 2, 1024)
        same = rows_around(trained["aud_hu.npy"], index, before, before)
        np.testing.assert_array_equal(rows, same)
    assert all("--audio_feat" in line for line in PROFILES["ultralight"].drive)


def test_ultralight_gets_the_file_of_its_frame_rate_only():
    """data_utils/process.py: hubert wants 25 fps, wenet 20, else it raises."""
    assert list(exported("ultralight", 250, 250)) == ["aud_hu.npy"]
    for heard, frames in ((10, 9), (12, 11), (20, 18), (30, 27)):  # either would fit as well
        assert list(exported("ultralight", heard, frames)) == ["aud_hu.npy"]
    assert list(exported("ultralight", 250, 200)) == ["aud_wenet.npy"]
    assert list(exported("ultralight", 250, stem="hi")) == ["hi_hu.npy", "hi_wenet.npy"]


def test_synctalk_2d_reshapes_rows_into_pictures():
    """ILG2021/SyncTalk_2D: datasetsss_328.py (30dda11), syncnet_328.py (16e5ed1)."""
    array = exported("synctalk-2d", 30, 30)["aud_ave.npy"].astype(np.float32)
    for index in range(len(array)):
        assert rows_around(array, index, 8, 8).reshape(32, 16, 16).shape == (32, 16, 16)


@pytest.mark.parametrize("name", PICTURE_NETS)
@pytest.mark.parametrize("surplus", [-SLACK_FRAMES, -1, 0, 1, SLACK_FRAMES])
def test_picture_loaders_never_ask_for_a_picture_that_is_not_there(name, surplus):
    """`__len__` is rows - 1 and index i reads picture i.jpg (aff08d2; syncnet*.py everywhere)."""
    pictures = 60
    for array in exported(name, pictures + surplus, pictures).values():
        assert len(array) == pictures
        assert len(array) - 1 - 1 < pictures


@pytest.mark.parametrize("name", PICTURE_NETS)
def test_fewer_than_eight_frames_break_the_picture_nets_and_are_refused(name):
    assert len(rows_around(np.ones((7, 512)), 0, 8, 8)) != 16
    assert len(rows_around(np.ones((8, 512)), 0, 8, 8)) == 16
    with pytest.raises(
        InputError, match=r"only 7 frames, but .* fails below 8: give at least 0.32"
    ):
        exported(name, 7)
    with pytest.raises(
        InputError, match=r"lists 7 frames, .* prepare it again, for its sound lasts 8"
    ):
        exported(name, 8, 7)


# --- All of them ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(PROFILES)),
    st.integers(8, 60),
    st.integers(-SLACK_FRAMES, SLACK_FRAMES),
)
def test_any_data_set_within_four_frames_of_its_sound_is_served(name, heard, surplus):
    profile, frames = PROFILES[name], max(8, heard + surplus)
    for layout in profile.layouts:
        rows = exported(name, heard, frames).get("aud" + layout.suffix)
        if rows is None:  # of another frame rate, and another layout fits better
            assert len({each.video_rate_hz for each in profile.layouts}) > 1
            continue
        wanted = layout.rows_per_frame * (frames if profile.exact else max(heard, frames))
        assert rows.shape == (wanted, *layout.row_shape)
        assert rows.dtype == np.float32 and rows.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_training_and_driving_see_the_same_numbers(name):
    """A frame far from the ends of a data set has the same row when its sound is exported alone."""
    dataset, alone = exported(name, 60, 60), exported(name, 60, stem="aud")
    for file, array in dataset.items():
        np.testing.assert_array_equal(array[:60], alone[file][:60])


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_files_load_without_pickle(name, tmp_path):
    files = feature_files(PROFILES[name], features(20))
    for path in storage.write(files, tmp_path):
        with path.open("rb") as opened:
            version = np.lib.format.read_magic(opened)
            assert version == (1, 0)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(opened)
        assert not fortran and dtype == np.float32 and not dtype.hasobject
        assert np.load(path, allow_pickle=False).shape == shape


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((20, 256), np.float32), r"shape \[20, 256\] and dtype float32, but \[T, 512\]"),
        (np.zeros((20, 512)), r"dtype float64, but \[T, 512\] float32 is needed: make them with"),
        (np.zeros(512, np.float32), r"shape \[512\]"),
        (np.full((20, 512), np.nan, np.float32), "hold NaN or infinite numbers: encode the recor"),
    ],
)
def test_features_of_another_kind_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        feature_files(PROFILES["er-nerf"], bad)


def test_no_features_at_all_are_refused():
    with pytest.raises(InputError, match="only 0 frames"):
        exported("geneface", 0, 10)


def test_the_twelve_systems_are_listed_with_what_to_type():
    assert list(PROFILES) == [
        *["rad-nerf", "er-nerf", "synctalk", "talkinggaussian", "instag", "gaussiantalker"],
        *["ad-nerf", "geneface", "genefaceplusplus", "mimictalk", "synctalk-2d", "ultralight"],
    ]
    listed = describe(PROFILES).split("\n\n")
    for profile, text in zip(PROFILES.values(), listed, strict=True):
        assert text.startswith(f"{profile.name}  ({profile.title})\n  writes  <stem>")
        for line in (*profile.train, *profile.drive):
            assert f" {line}\n" in text
        assert " ".join(profile.caveat.split()[:3]) in text
        assert all(layout.suffix in text for layout in profile.layouts)
        assert re.match(r"[\w-]+/[\w-]+: ", profile.loader)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_guide_has_a_row_for_the_system_with_its_files(name):
    guide = (Path(__file__).parent.parent / "docs" / "drop-in.md").read_text()
    (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{name}` ")]
    for layout in PROFILES[name].layouts:
        shape = ", ".join(map(str, layout.row_shape))
        count = "2N" if layout.rows_per_frame == 2 else "N"
        assert f"`aud{layout.suffix}` [{count}, {shape}]" in row


def test_profiles_are_data_that_io_reads_by_two_names():
    """io may not import dropin: it sees a title, and where the frames are numbered."""
    kind = SimpleNamespace(title="Any", frames_from="transforms")
    with pytest.raises(InputError, match="it is no Any data set"):
        storage.place_in_dataset(kind, "nowhere")
