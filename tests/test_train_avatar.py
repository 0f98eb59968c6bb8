"""A talking head of a drawn puppet, from data set to video."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from recordings import tone, wav
from se4lip.artifacts.avatar import load_avatar, save_avatar
from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.audio.voice_activity import speech_frames
from se4lip.evaluation.avatar import frames_learned
from se4lip.face.pose import apply, project_px
from se4lip.features.catalogue import load_features
from se4lip.head.gate import noisy
from se4lip.io.audio import read_speech
from se4lip.io.dataset import open_dataset, set_av_offset
from se4lip.io.video import iter_heard, probe_video, read_frames
from se4lip.io.weights import load_weights, save_weights
from se4lip.mesh import OUTER_LIPS
from se4lip.metrics.landmarks import correlation
from se4lip.synthesis.speak_audio import mouth_codes, speak
from se4lip.train import avatar_again, avatar_wary
from se4lip.train.avatar import train_avatar
from se4lip.train.avatar_again import make_wary, relisten
from se4lip.train.avatar_material import takes_of
from se4lip.train.avatar_noise import NoiseConfig
from se4lip.train.avatar_speech import aperture_cm
from se4lip.types import InputError

RECIPE = puppet.recipe((2, 2, 4, 5, 6), speech_steps=400, picture_steps=150)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatar")
    dataset = puppet.make_dataset(folder)
    said = []
    file = train_avatar(
        dataset, folder / "run", RECIPE, features=folder / "features", report=said.append
    )
    return folder, file, said


def test_the_puppet_opens_its_mouth_when_the_features_say_so(made):
    folder, file, _ = made
    avatar = load_avatar(file)
    opening = puppet.opening_cm(100, 0)
    features = np.load(folder / "features" / "take00.npy")
    with torch.inference_mode():
        codes = avatar.head.speech(torch.from_numpy(features)).numpy()
    gap = aperture_cm(avatar.person.mouth, codes)
    assert correlation(gap[80:], opening[80:]) > 0.95  # the last fifth was kept out of training


def test_another_persons_head_is_not_taken_for_this_ones(made, tmp_path, monkeypatch):
    folder, file, _ = made
    monkeypatch.setattr("se4lip.face.person.Person.has_this_face", lambda *_: False)
    with pytest.raises(InputError, match="is the head of another person than data set"):
        relisten(
            *(folder / "dataset", tmp_path / "run", RECIPE, file),
            features=folder / "features",
            report=lambda text: None,
        )
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_a_face_is_known_again_where_its_camera_is(made):
    folder, file, _ = made
    data, person = open_dataset(folder / "dataset"), load_avatar(file).person
    track = data.clip(data.names[0]).track
    points = track.landmarks_px
    middle = points.mean((0, 1))
    wider = replace(track, landmarks_px=middle + (points - middle) * np.float32([1.2, 1, 1]))
    elsewhere = replace(wider, width_px=2 * track.width_px, height_px=2 * track.height_px)
    known = [person.has_this_face(one, person.head_poses(one)) for one in (track, wider, elsewhere)]
    assert known == [True, False, True]  # nobody can say of another camera's picture


def test_lips_in_other_voices_are_heard_beside_its_own(made, tmp_path):
    folder, file, _ = made
    recipe = replace(RECIPE, speech=replace(RECIPE.speech, steps=20, validate_every=20))
    found = []
    for name, also_heard in (("alone", ()), ("with", [folder / "dataset"])):
        again = relisten(
            *(folder / "dataset", tmp_path / name, recipe, file),
            features=folder / "features",
            also_heard=also_heard,
            report=lambda text: None,
        )
        found.append(load_weights(again, kind="avatar")[0])
    differ = {n for n in found[0] if not torch.equal(found[0][n], found[1][n])}
    assert differ and all(name.startswith("head.speech.") for name in differ)


def test_looks_that_were_learned_before_take_on_what_is_heard_now(made, tmp_path):
    folder, file, _ = made
    shutil.copytree(folder / "run" / "pictures", tmp_path / "pictures")
    again = train_avatar(
        *(folder / "dataset", tmp_path, RECIPE),
        features=folder / "features",
        also_heard=[folder / "dataset"],
        report=lambda text: None,
    )
    before, after = (load_weights(one, kind="avatar")[0] for one in (file, again))
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    assert differ and all(name.startswith("head.speech.") for name in differ)
    told = load_avatar(again).details["also"]
    assert told == {
        "heard": [["dataset", 2]],
        "still": 0,
        "spoken": 0,
        "said": 0,
        "hearing_of": None,
    }


def test_other_looks_may_keep_what_was_heard(made, tmp_path):
    folder, file, _ = made
    pictures = replace(RECIPE.pictures, steps=3, validate_every=3)
    again = train_avatar(
        *(folder / "dataset", tmp_path, replace(RECIPE, pictures=pictures)),
        keep_hearing=file,
        report=lambda text: None,
    )
    before, after = (load_weights(one, kind="avatar")[0] for one in (file, again))
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    assert differ and not any(name.startswith("head.speech.") for name in differ)
    assert not (tmp_path / "speech").exists()
    first, second = load_avatar(file), load_avatar(again)
    assert second.encoder == first.encoder
    assert second.details["also"] == first.details["also"]
    assert second.details["hearing_kept_of"] == first.sha256
    assert second.details["recipe"]["pictures"]["steps"] == 3


def test_what_hearing_was_not_learned_by_is_not_told(made, tmp_path):
    folder, file, _ = made
    pictures = replace(RECIPE.pictures, steps=1, validate_every=1)
    again = train_avatar(
        *(folder / "dataset", tmp_path, replace(RECIPE, pictures=pictures, certainty=7.0)),
        keep_hearing=file,
        report=lambda text: None,
    )
    told = load_avatar(again).details
    assert told["recipe"]["certainty"] == RECIPE.certainty
    anew = relisten(
        folder / "dataset",
        tmp_path / "anew",
        replace(RECIPE, speech=replace(RECIPE.speech, steps=2, validate_every=2), certainty=6.0),
        again,
        features=folder / "features",
        report=lambda text: None,
    )
    told = load_avatar(anew).details
    assert "hearing_kept_of" not in told
    assert told["recipe"]["certainty"] == 6 and told["recipe"]["pictures"]["steps"] == 1


def test_looks_begin_alike_however_hearing_was_learned(made, tmp_path):
    folder, file, _ = made
    pictures = replace(RECIPE.pictures, steps=1, validate_every=1)
    speech = replace(RECIPE.speech, steps=3, validate_every=3)
    recipe = replace(RECIPE, pictures=pictures, speech=speech)
    said = {"report": lambda text: None}
    kept = train_avatar(folder / "dataset", tmp_path / "kept", recipe, keep_hearing=file, **said)
    given = {"features": folder / "features"}
    anew = train_avatar(folder / "dataset", tmp_path / "anew", recipe, **given, **said)
    first, second = (load_weights(one, kind="avatar")[0] for one in (kept, anew))
    differ = {name for name in first if not torch.equal(first[name], second[name])}
    assert differ and all(name.startswith("head.speech.") for name in differ)


def test_another_kept_hearing_is_another_run(made, tmp_path):
    folder, file, _ = made
    pictures = replace(RECIPE.pictures, steps=1, validate_every=1)
    wider = replace(RECIPE.speech, steps=2, validate_every=2)
    other = relisten(
        *(folder / "dataset", tmp_path, replace(RECIPE, speech=wider, hidden=20), file),
        features=folder / "features",
        report=lambda text: None,
    )
    recipe = replace(RECIPE, pictures=pictures)
    said = {"report": lambda text: None}
    run = folder / "dataset", tmp_path / "run", recipe
    train_avatar(*run, keep_hearing=file, **said)
    with pytest.raises(InputError, match=r"is of a run with other .*hidden"):
        train_avatar(*run, keep_hearing=other, **said)


@pytest.mark.parametrize("part", ["speech", "pictures"])
def test_other_options_are_told_before_the_data_are_read(part, made, tmp_path):
    _, file, _ = made
    other = replace(RECIPE, **{part: replace(getattr(RECIPE, part), seed=7)})
    with pytest.raises(InputError, match=rf"with other --{part}\.seed \(0, now 7\): give the same"):
        train_avatar(tmp_path / "gone", file.parent, other)
    if part == "speech":
        with pytest.raises(InputError, match=rf"with other --{part}\.seed \(0, now 7\): give"):
            relisten(tmp_path / "gone", file.parent, other, seen=file)


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_does_not_go_on_with_other_sound(keep, made, tmp_path):
    original, file, _ = made
    folder = shutil.copytree(original, tmp_path / "copy", ignore=shutil.ignore_patterns("run"))
    data = folder / "dataset"
    pictures = replace(RECIPE.pictures, steps=1, validate_every=1)
    speech = replace(RECIPE.speech, steps=1, validate_every=1)
    run = data, tmp_path / "run", replace(RECIPE, pictures=pictures, speech=speech)
    hearing = {"keep_hearing": file} if keep else {"features": folder / "features"}
    more = {"report": lambda text: None, **hearing}
    train_avatar(*run, **more)
    set_av_offset(data, 1.5)  # as many takes of the same names
    with pytest.raises(InputError, match="is of a run with other clips or stored offsets"):
        train_avatar(*run, **more)


def test_hearing_does_not_go_on_for_another_mouth_or_with_other_takes(made, tmp_path):
    folder, file, _ = made
    avatar = load_avatar(file)
    save_avatar(tmp_path / "other.safetensors", replace(avatar, replay=avatar.replay[:1]))
    recipe = replace(RECIPE, speech=replace(RECIPE.speech, steps=2, validate_every=2))

    def hear(seen, **split):
        return relisten(
            *(folder / "dataset", tmp_path / "run", recipe, seen),
            features=folder / "features",
            report=lambda text: None,
            **split,
        )

    hear(file, split="all")
    with pytest.raises(InputError, match="is of a run with other --split: give the same"):
        hear(file)
    with pytest.raises(InputError, match="is of a run with other --seen: give the same"):
        hear(tmp_path / "other.safetensors", split="all")
    hear(file, split="all")


def test_what_was_heard_anew_is_known_for_learned(made, tmp_path):
    folder, file, _ = made
    data = open_dataset(folder / "dataset")
    recipe = replace(RECIPE, speech=replace(RECIPE.speech, steps=1, validate_every=1))
    said = {"features": folder / "features", "report": lambda text: None}
    heard = relisten(folder / "dataset", tmp_path / "a", recipe, file, split="all", **said)
    looks = replace(RECIPE, pictures=replace(RECIPE.pictures, steps=1, validate_every=1))
    kept = train_avatar(
        *(folder / "dataset", tmp_path / "b", looks), keep_hearing=heard, report=lambda text: None
    )
    again = relisten(folder / "dataset", tmp_path / "c", recipe, heard, **said)
    tests = takes_of(data, "test")
    assert sum(map(len, tests)) > 0
    for avatar, share in ((file, 0), (heard, 1), (kept, 1), (again, 0)):
        for take in tests:
            assert frames_learned(load_avatar(avatar), data, take) == share * len(take)


def test_a_head_is_made_wary_of_noise_and_keeps_all_else(made, tmp_path, monkeypatch):
    folder, file, _ = made
    speech = replace(RECIPE.speech, steps=2, validate_every=2)
    noise = NoiseConfig(sounds=9, seconds=1.0)
    said = {"report": lambda text: None}
    hears = relisten(
        *(folder / "dataset", tmp_path / "hears", replace(RECIPE, speech=speech), file),
        features="logmel",
        **said,
    )
    recipe = replace(RECIPE, noise=noise, certainty=2.0, wariness=4.0)
    with pytest.raises(InputError, match=r"^6\.4 s of speech are heard, .* takes 120: give more"):
        make_wary(folder / "dataset", tmp_path / "wary", recipe, hears, hears, **said)
    for module in (avatar_wary, avatar_again):
        monkeypatch.setattr(module, "LEAST_ROWS", 100)  # the puppet is soon done
    with pytest.raises(InputError, match=r"^0 sounds that nobody speaks are heard, which teach"):
        few = replace(recipe, noise=NoiseConfig(sounds=1, seconds=1.0))
        make_wary(folder / "dataset", tmp_path / "wary", few, hears, hears, **said)
    wary = make_wary(folder / "dataset", tmp_path / "wary", recipe, hears, hears, **said)
    before, after = (load_weights(one, kind="avatar")[0] for one in (hears, wary))
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    names = ["certainty", "wariness", "noise_weight", "noise_bias"]
    assert differ == {f"head.speech.{name}" for name in names}
    avatar = load_avatar(wary)
    assert avatar.encoder == load_avatar(hears).encoder
    told = avatar.details["recipe"]
    assert (told["wariness"], told["noise"]["sounds"], told["speech"]["steps"]) == (4, 9, 2)
    # A hiss is noise, and what the puppet says is none.
    hiss = np.random.default_rng(0).normal(size=32_000).astype(np.float32) / 10
    window, listen = avatar.head.speech, load_features("logmel")
    talk = open_dataset(folder / "dataset").clip("take00").speech.samples
    with torch.inference_mode():
        rows = [window.normalised(torch.from_numpy(listen(one))) for one in (hiss, talk)]
        hissed, spoken = (noisy(one @ window.noise_weight + window.noise_bias) for one in rows)
    assert (hissed[25:] > 0.5).all() and spoken.mean() < 0.2


@pytest.mark.parametrize(("scale", "origin"), [(1e6, 0.0), (1e-8, 0.0), (1.0, 1e4)])
def test_features_of_any_scale_and_origin_are_heard_alike_once_saved(scale, origin, made, tmp_path):
    _, file, _ = made
    avatar = load_avatar(file)
    window = avatar.head.speech
    window.feature_scale.mul_(scale)
    window.feature_mean.copy_(window.feature_mean / scale + origin)
    save_avatar(tmp_path / "a.safetensors", avatar)
    found = load_avatar(tmp_path / "a.safetensors").head.speech
    assert torch.equal(found.feature_scale, window.feature_scale)
    assert torch.equal(found.feature_mean, window.feature_mean)


def test_noise_of_files_cannot_be_known(made, tmp_path):
    folder, file, _ = made
    with pytest.raises(InputError, match="hears files in features, of named clips alone"):
        make_wary(folder / "dataset", tmp_path, RECIPE, file, file, report=lambda text: None)


def test_what_a_stranger_heard_is_not_kept(made, tmp_path):
    folder, file, _ = made
    avatar = load_avatar(file)
    mouth = replace(avatar.person.mouth, basis_cm=1.1 * avatar.person.mouth.basis_cm)
    stranger = replace(avatar, person=replace(avatar.person, mouth=mouth))
    save_avatar(tmp_path / "stranger.safetensors", stranger)
    with pytest.raises(
        InputError,
        match=r"^the mouth codes of .*stranger.safetensors do not mean this mouth: give the rec",
    ):
        train_avatar(
            *(folder / "dataset", tmp_path / "out", RECIPE),
            keep_hearing=tmp_path / "stranger.safetensors",
            report=lambda text: None,
        )


def test_people_whom_nobody_filmed_teach_when_the_mouth_moves(made, tmp_path):
    folder, file, _ = made
    speech = replace(RECIPE.speech, steps=150, validate_every=150)
    recipe = replace(RECIPE, speech=speech, voices=0, noise=NoiseConfig(sounds=9, seconds=1.0))
    # A voice unlike the puppet's, and like the rooms in which its mouth is to rest.
    bursts = np.repeat(np.arange(12) % 2, 6400) * np.random.default_rng(0).normal(size=12 * 6400)
    talk = wav(tmp_path / "talk.wav", (0.1 * bursts).astype(np.float32), 16_000)
    talk.with_suffix(".phones").write_text("0.45 0.6 b\n0.6 0.75 a\n")
    found, said = [], []
    for name, also_spoken in (("alone", ()), ("with", [talk])):
        again = relisten(
            *(folder / "dataset", tmp_path / name, recipe, file),
            features="logmel",
            also_spoken=also_spoken,
            report=said.append,
        )
        found.append(again)
    assert [load_avatar(file).details["also"]["said"] for file in found] == [0, 1]
    assert sum("speech that nobody filmed, 1 of them with phones" in line for line in said) == 1
    # By the log odds that somebody speaks: swapped with --also-still they would fall.
    features = torch.from_numpy(load_features("logmel")(read_speech(talk).samples))
    alone, taught = (load_avatar(file).head.speech for file in found)
    with torch.inference_mode():
        heard = torch.from_numpy(speech_frames(read_speech(talk).samples))
        before, after = (w.codes_and_heed(features)[1][heard].mean() for w in (alone, taught))
    assert after > before


@pytest.mark.parametrize("given", ["also_still", "also_spoken"])
def test_recordings_are_refused_where_features_are_files(made, tmp_path, given):
    folder, file, _ = made
    talk = wav(tmp_path / "talk.wav", puppet.sound(puppet.opening_cm(50, 3)), 16_000)
    with pytest.raises(
        InputError,
        match=f"^--{given.replace('_', '-')} cannot be heard, for the features given are files",
    ):
        relisten(
            *(folder / "dataset", tmp_path / "out", RECIPE, file),
            features=folder / "features",
            report=lambda text: None,
            **{given: [talk]},
        )


def test_it_sways_by_how_far_its_poses_lie_from_their_mean(made):
    """Over all takes codes are of mean 0 and spread 1; what is replayed is a part of them."""
    avatar = load_avatar(made[1])
    codes = avatar.head.sway(torch.from_numpy(avatar.replay.camera_from_head))
    assert codes.mean(0).abs().max() < 0.5
    assert (codes.std(0) > 0.5).all() and codes.std(0).max() < 1.5


def test_an_open_mouth_is_drawn_darker_than_a_closed_one(made):
    _, file, _ = made
    avatar = load_avatar(file)
    mouth = avatar.person.mouth
    codes = mouth.encode(puppet.points_cm(np.array([0.0, 1.4])))
    gap = aperture_cm(mouth, codes)
    assert gap[1] - gap[0] > 1.0
    placed = apply(avatar.replay.camera_from_head[:1], mouth.shape_cm[list(OUTER_LIPS)])
    x, y = project_px(avatar.person.camera, placed[0]).mean(0).astype(int)
    pictures = avatar.head.pictures(torch.from_numpy(codes), avatar.replay[[0, 0]])
    closed, opened = (p[y : y + 8, x - 4 : x + 5].mean() for p in pictures)
    assert opened < closed - 20  # of 255


def test_the_avatar_looks_like_the_puppet(made):
    _, _, said = made
    line = next(text for text in reversed(said) if "psnr_db" in text)
    psnr_db = float(line.split("psnr_db")[1].split()[0])
    assert psnr_db > 24  # 17 before training


def test_a_saved_avatar_draws_the_same_picture(made, tmp_path):
    _, file, _ = made
    first = load_avatar(file)
    save_avatar(tmp_path / "again.safetensors", first)
    second = load_avatar(tmp_path / "again.safetensors")
    codes = torch.zeros(2, 3)
    a, b = (np.stack(list(x.head.pictures(codes, x.replay[:2]))) for x in (first, second))
    np.testing.assert_array_equal(a, b)
    assert second.person.mouth.width == 3


def test_training_again_goes_on_from_its_checkpoints(made):
    folder, file, _ = made
    before = file.read_bytes()
    said = []
    again = train_avatar(
        folder / "dataset", folder / "run", RECIPE, features=folder / "features", report=said.append
    )
    assert again.read_bytes() == before
    assert any("going on at step 150 of 150" in text for text in said)


def test_it_speaks(made, tmp_path):
    folder, file, _ = made
    sound, out = wav(tmp_path / "a.wav", tone(4.0, 48_000), 48_000), tmp_path / "said.mp4"
    done = speak(
        file,
        sound,
        out,
        size_px=96,
        features=folder / "features" / "take01.npy",
    )
    info = probe_video(out)
    assert (info.width_px, info.height_px, info.has_sound) == (96, 96, True)
    heard = next(iter_heard(out, rate_hz=None))
    assert heard.sample_rate_hz == 48_000  # it is heard at 16 kHz, and written as it came
    assert done.frames == len(list(read_frames(out))) == 100
    shares = ("speech to mouth codes", "waiting for pictures", "writing the video")
    assert set(done.profile_s) == {*shares}


def test_features_of_an_unknown_encoder_need_a_file(made, tmp_path):
    folder, file, _ = made
    with pytest.raises(InputError, match="trained on files in features, not on an encoder's"):
        speak(file, folder / "videos" / "take01.mp4", tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


def test_features_of_another_encoder_are_refused_by_name(made):
    avatar = load_avatar(made[1])
    ours = replace(avatar, encoder=EncoderIdentity("one", "a" * 64, 3))
    ours.check_encoder(EncoderIdentity("renamed", "a" * 64, 3))
    with pytest.raises(
        InputError,
        match=r"features of encoder 'one' \(3 wide, sha256 aaaaaaaaaaaa\), and these are",
    ):
        ours.check_encoder(EncoderIdentity("two", "b" * 64, 3))


@pytest.mark.parametrize("size_px", [0, 63, 5000])
def test_an_impossible_size_is_refused(made, tmp_path, size_px):
    folder, file, _ = made
    with pytest.raises(InputError, match=f"a picture of {size_px} px was asked for: give --size"):
        speak(file, folder / "videos" / "take01.mp4", tmp_path / "x.mp4", size_px=size_px)


def test_a_file_of_other_weights_is_no_avatar(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, kind="encoder", config={})
    with pytest.raises(InputError, match="holds encoder weights, needed are avatar weights"):
        load_avatar(tmp_path / "w.safetensors")


def test_an_avatar_that_lacks_a_tensor_is_damaged(made, tmp_path):
    tensors, header = load_weights(made[1], kind="avatar")
    del tensors["replay.eyes"]
    file = tmp_path / "cut.safetensors"
    save_weights(file, tensors, kind="avatar", config=header.config)
    with pytest.raises(InputError, match=r"cut\.safetensors lacks 'replay\.eyes': make it again"):
        load_avatar(file)


@pytest.mark.parametrize("sizes", [[1] * 100, [7, 50, 1, 42], [100], [0, 30, 70]])
def test_codes_of_pieces_are_those_of_the_whole(made, sizes):
    folder, file, _ = made
    head = load_avatar(file).head
    features = np.load(folder / "features" / "take00.npy")
    pieces = np.split(features, np.cumsum(sizes)[:-1])
    streamed = torch.cat(list(mouth_codes(head, pieces)))
    with torch.inference_mode():
        whole = head.speech(torch.from_numpy(features))
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=1e-5)
