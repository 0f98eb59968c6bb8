"""A talking head of a drawn puppet as a radiance field: from data set to file to video."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.artifacts.avatar import load_avatar, save_avatar
from se4lip.cli import main
from se4lip.export.files import export_onnx
from se4lip.face.pose import apply, project_px
from se4lip.head.nerf.head import NerfHead
from se4lip.io.dataset import open_dataset
from se4lip.io.video import probe_video
from se4lip.io.weights import load_weights, save_weights
from se4lip.mesh import OUTER_LIPS
from se4lip.synthesis.speak_audio import speak
from se4lip.train.avatar import AvatarRecipe, train_avatar
from se4lip.train.avatar_again import relisten
from se4lip.train.avatar_material import MaterialConfig
from se4lip.train.avatar_nerf import NerfRecipe, relative_ray_rate
from se4lip.train.avatar_speech import aperture_cm
from se4lip.types import InputError

RECIPE = AvatarRecipe(
    material=MaterialConfig(size_px=112, pictures=60, mouth_codes=3, replay_s=4.0),
    nerf=NerfRecipe(texels_per_px=0.6, curves=3, patch_px=24, survey_every=20),
    hidden=16,
)
RECIPE = replace(
    RECIPE,
    speech=replace(RECIPE.speech, steps=200, validate_every=200),
    nerf=replace(RECIPE.nerf, pictures=replace(RECIPE.nerf.pictures, steps=60, validate_every=60)),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nerf")
    dataset = puppet.make_dataset(folder)
    said = []
    file = train_avatar(
        dataset,
        folder / "run",
        RECIPE,
        features=folder / "features",
        report=said.append,
        renderer="nerf",
    )
    return folder, file, said


def test_the_file_says_what_draws_it(made):
    _, file, _ = made
    _, header = load_weights(file, kind="avatar")
    assert header.config["renderer"] == "nerf"
    avatar = load_avatar(file)
    assert isinstance(avatar.head, NerfHead)
    assert avatar.renderer == "nerf"


def test_an_open_mouth_is_drawn_darker_than_a_closed_one(made):
    folder, file, _ = made
    avatar = load_avatar(file)
    person, track = avatar.person, open_dataset(folder / "dataset").clip("take00").track
    codes = person.mouth_codes(track, person.head_poses(track))
    gap = aperture_cm(person.mouth, codes)
    assert np.ptp(gap) > 0.3
    placed = apply(avatar.replay.camera_from_head[:1], person.mouth.shape_cm[list(OUTER_LIPS)])
    x, y = project_px(person.camera, placed[0]).mean(0).astype(int)
    chosen = torch.from_numpy(codes[[gap.argmin(), gap.argmax()]])
    pictures = avatar.head.pictures(chosen, avatar.replay[[0, 0]])
    closed, opened = (p[y - 2 : y + 4, x - 4 : x + 5].mean() for p in pictures)
    assert opened < closed - 20  # of 255


def test_what_sways_with_its_pose_is_around_the_face(made):
    avatar = load_avatar(made[1])
    codes = avatar.head.sway(torch.from_numpy(avatar.replay.camera_from_head))
    assert codes.mean(0).abs().max() < 0.5
    assert (codes.std(0) > 0.5).all() and codes.std(0).max() < 1.5
    share = avatar.head.shell.sway_share
    rows, columns = share.shape[-2:]
    middle = share[..., rows // 2 - 1 : rows // 2 + 2, columns // 2 - 1 : columns // 2 + 2]
    assert middle.max() < 0.05
    assert share[..., 0, :].min() > 0.9


def test_the_avatar_looks_like_the_puppet(made):
    line = next(text for text in reversed(made[2]) if "psnr_db" in text)
    assert float(line.split("psnr_db")[1].split()[0]) > 24


def test_a_saved_avatar_draws_the_same_picture(made, tmp_path):
    first = load_avatar(made[1])
    save_avatar(tmp_path / "again.safetensors", first)
    second = load_avatar(tmp_path / "again.safetensors")
    codes = torch.zeros(2, 3)
    a, b = (np.stack(list(x.head.pictures(codes, x.replay[:2]))) for x in (first, second))
    np.testing.assert_array_equal(a, b)


def test_training_again_goes_on_from_its_checkpoints(made):
    folder, file, _ = made
    before, said = file.read_bytes(), []
    again = train_avatar(
        folder / "dataset",
        folder / "run",
        RECIPE,
        features=folder / "features",
        report=said.append,
        renderer="nerf",
    )
    assert again.read_bytes() == before
    assert any("going on at step 60 of 60" in text for text in said)


def test_another_renderer_is_another_run(made):
    folder, _, _ = made
    with pytest.raises(InputError, match="is of a run with other renderer: give"):
        train_avatar(
            folder / "dataset",
            folder / "run",
            RECIPE,
            features=folder / "features",
            report=lambda text: None,
        )


def test_it_hears_anew_and_keeps_its_looks(made, tmp_path):
    folder, file, _ = made
    again = relisten(
        folder / "dataset",
        tmp_path,
        RECIPE,
        file,
        features=folder / "features",
        report=lambda text: None,
    )
    before, after = (load_weights(path, kind="avatar")[0] for path in (file, again))
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert not {name for name in changed if not name.startswith("head.speech.")}
    assert isinstance(load_avatar(again).head, NerfHead)


def test_it_speaks(made, tmp_path):
    folder, file, _ = made
    done = speak(
        file,
        folder / "videos" / "take01.mp4",
        tmp_path / "said.mp4",
        size_px=96,
        features=folder / "features" / "take01.npy",
    )
    assert probe_video(tmp_path / "said.mp4").width_px == 96
    assert done.frames == 100


def test_it_takes_shortcuts_when_told_to(made, tmp_path):
    folder, file, _ = made
    said = folder / "videos" / "take01.mp4", tmp_path / "said.mp4"
    features = folder / "features" / "take01.npy"
    avatar = load_avatar(file)
    speak(avatar, *said, features=features, shortcut="half-resolution")
    assert avatar.head.shortcut == "half-resolution"
    with pytest.raises(InputError, match="'cached-density' is for radiance fields, and this"):
        speak("grid-s1", *said, features=features, shortcut="cached-density")


def test_it_is_no_onnx_graph(made, tmp_path):
    with pytest.raises(InputError, match=r"is a radiance field, whose drawing is no ONNX graph"):
        export_onnx(tmp_path / "out", avatar=made[1])
    assert not (tmp_path / "out").exists()


def test_an_unknown_renderer_is_refused(made, tmp_path):
    tensors, header = load_weights(made[1], kind="avatar")
    config = header.config | {"renderer": "voxels"}
    save_weights(tmp_path / "new.safetensors", tensors, kind="avatar", config=config)
    with pytest.raises(InputError, match="a renderer 'voxels', which is unknown here: update"):
        load_avatar(tmp_path / "new.safetensors")


def test_an_unknown_renderer_cannot_be_asked_for(tmp_path, capsys):
    assert main(["train", "avatar", str(tmp_path), "-o", "x", "--renderer", "mesh"]) == 2


def test_every_part_learns_at_its_own_rate():
    assert relative_ray_rate("field.table") == 5
    assert relative_ray_rate("field.out.weight") == 2
    assert relative_ray_rate("backdrop.plate_look") == 0.5
    assert relative_ray_rate("backdrop.plate") == 2
