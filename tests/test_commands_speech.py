"""`se4lip encode`, `sync` and `evaluate encoder` as a user meets them, good input and bad."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recordings import flash, record, tone, wav
from se4lip import cli
from se4lip.artifacts.encoder import encoder_identity, save_encoder
from se4lip.commands import speak as speak_command
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoderConfig
from se4lip.io.audio import write_wav
from se4lip.io.feature_notes import Author, author_of
from se4lip.io.video import probe_video
from se4lip.io.weights import save_weights
from se4lip.synthesis.encode_speech import encode, encode_file, encode_to_file
from se4lip.synthesis.inspect_video import inspect_video
from se4lip.types import InputError, Speech


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    config = SE4LipConfig(
        speech=SpeechEncoderConfig(projection=16, hidden=16),
        lips=LipEncoderConfig(channels=(8, 8, 8, 8)),
    )
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_encoder(file, SE4Lip(config), {"name": "small"})
    return file


@pytest.fixture
def speech(tmp_path):
    file = tmp_path / "speech.wav"
    write_wav(file, Speech(tone(1.23, 16_000)))
    return file


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_encode_writes_a_row_for_every_frame(speech, encoder, tmp_path, capsys):
    out = tmp_path / "features.npy"
    code, printed, _ = run(capsys, "encode", speech, "-o", out, "--encoder", encoder, "--json")
    features = np.load(out, allow_pickle=False)
    assert code == 0
    assert (features.shape, features.dtype) == ((31, 512), np.float32)  # ceil(1.23 * 25)
    summary = json.loads(printed)
    assert summary["shape"] == [31, 512]
    assert summary["files"] == [str(out), str(tmp_path / "features.json")]
    assert author_of(out, features) == Author("se4lip", "small", encoder_identity(encoder).sha256)


def test_one_frame_is_told_as_one(encoder, tmp_path, capsys):
    write_wav(tmp_path / "a.wav", Speech(tone(0.01, 16_000)))
    out = tmp_path / "a.npy"
    printed = run(capsys, "encode", tmp_path / "a.wav", "-o", out, "--encoder", encoder)[1]
    assert printed == f"1 frame of 512 features: {out}, {tmp_path / 'a.json'}\n"


def test_several_recordings_are_encoded_and_none_is_lost_for_another(
    speech, encoder, tmp_path, capsys
):
    write_wav(tmp_path / "b.wav", Speech(tone(0.5, 16_000)))
    (tmp_path / "text.wav").write_text("this is no sound " * 100)
    sounds = [speech, tmp_path / "text.wav", tmp_path / "b.wav"]
    arguments = ("encode", *sounds, "-o", tmp_path / "all", "--encoder", encoder)
    code, printed, said = run(capsys, *arguments, "--json")
    found = json.loads(printed)
    assert code == 2
    assert said.startswith(f"skipped: audio {tmp_path / 'text.wav'} cannot be opened")
    assert said.endswith("se4lip: 1 of 3 recordings could not be encoded: see above\n")
    assert [one["shape"] for one in found["written"]] == [[31, 512], [13, 512]]
    assert [one["audio"] for one in found["skipped"]] == [str(tmp_path / "text.wav")]
    names = ["b.json", "b.npy", "speech.json", "speech.npy"]
    assert [file.name for file in sorted((tmp_path / "all").iterdir())] == names
    alone = encode_file(speech, encoder)
    np.testing.assert_array_equal(np.load(tmp_path / "all" / "speech.npy"), alone)
    code, printed, said = run(capsys, *(one for one in arguments if one != sounds[1]))
    assert (code, printed, said) == (0, f"2 recordings encoded: {tmp_path / 'all'}\n", "")


def test_one_recording_may_go_into_a_folder_too(speech, encoder, tmp_path, capsys):
    """As a pattern that matches one file asks for."""
    (tmp_path / "all").mkdir()
    arguments = ("encode", speech, "-o", tmp_path / "all", "--encoder", encoder)
    assert run(capsys, *arguments)[1] == f"1 recording encoded: {tmp_path / 'all'}\n"
    assert np.load(tmp_path / "all" / "speech.npy").shape == (31, 512)
    for folder in (".", "/"):
        with pytest.raises(InputError, match=f"cannot write {folder}: is a directory: choose"):
            encode_to_file(speech, Path(folder), encoder)


@given(  # a live filter of odd rates has 16,000 kernels, which take seconds to make
    rate_hz=st.integers(160, 7_680).map(lambda n: 25 * n),
    frames=st.integers(1, 3),
    more=st.integers(-2, 2),
)
@example(rate_hz=44_100, frames=25, more=1)
@example(rate_hz=48_000, frames=25, more=1)
@settings(max_examples=8, deadline=None)
def test_file_and_memory_have_a_row_for_every_frame_that_has_begun(
    rate_hz, frames, more, encoder, tmp_path_factory
):
    file = tmp_path_factory.mktemp("rate") / "a.wav"
    samples = np.full(rate_hz * frames // 25 + more, 1000, np.int16)
    wav(file, samples, rate_hz)
    begun = -(-len(samples) * 25 // rate_hz)
    assert len(encode_file(file, encoder)) == begun
    assert len(encode(samples / np.float32(32768), rate_hz, str(encoder))) == begun


def test_encode_for_a_system_writes_what_its_loader_takes(speech, encoder, tmp_path, capsys):
    folder = tmp_path / "features"
    arguments = ("encode", speech, "--for", "er-nerf", "-o", folder, "--encoder", encoder)
    assert run(capsys, *arguments)[0] == 0
    (file,) = folder.iterdir()
    assert np.load(file, allow_pickle=False).shape == (31, 2, 1024)
    code, _, said = run(capsys, *arguments)
    assert code == 2
    assert "--overwrite" in said


def test_encode_for_a_system_tells_the_shape_of_each_file(speech, encoder, tmp_path, capsys):
    arguments = ("encode", speech, "--for", "geneface", "-o", tmp_path / "a", "--encoder", encoder)
    code, printed, _ = run(capsys, *arguments, "--json")
    assert code == 0
    told = json.loads(printed)
    shapes = [list(np.load(file, allow_pickle=False).shape) for file in told["files"]]
    assert told["shapes"] == shapes
    assert len({*map(str, shapes)}) > 1
    printed = run(capsys, *arguments, "--overwrite")[1]
    assert all(
        f"{file} {shape}" in printed for file, shape in zip(told["files"], shapes, strict=True)
    )


def test_encode_for_list_names_every_system(capsys):
    from se4lip.dropin import PROFILES

    code, printed, _ = run(capsys, "encode", "--for", "list")
    assert code == 0
    assert all(name in printed for name in PROFILES)


@pytest.mark.parametrize(
    ("arguments", "listed"),
    [
        (("--for",), True),
        (("--for=list",), True),
        (("a.wav", "--for", "list", "-o", "out"), True),
        (("a.wav", "--for", "er-nerf", "-o", "list"), False),
        (("list", "--for", "er-nerf"), False),
        (("a.wav", "-o", "list"), False),
    ],
)
def test_the_list_is_the_value_of_for_and_no_file_name(arguments, listed, capsys):
    code, printed, said = run(capsys, "encode", *arguments)
    assert code == (0 if listed else 2)
    assert ("synctalk" in printed) is listed
    assert listed or re.match("se4lip: (cannot read audio|no output was named)", said)


def test_a_folder_that_is_not_there_is_no_missing_output(tmp_path, capsys):
    gone = tmp_path / "gone"
    code, _, said = run(capsys, "encode", gone, "--for", "er-nerf")
    assert code == 2 and said.startswith(
        f"se4lip: cannot read audio {gone}: no such file or directory"
    )


def test_an_encoder_is_found_by_the_folder_of_its_run(encoder, speech, tmp_path, capsys):
    shutil.copy(encoder, tmp_path / "encoder.safetensors")
    rows = []
    for weights in (tmp_path, encoder):
        assert run(capsys, "encode", speech, "-o", tmp_path / "a.npy", "--encoder", weights)[0] == 0
        rows.append(np.load(tmp_path / "a.npy"))
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("second_one", ["grid-s1", "head.safetensors"])
def test_avatar_and_sound_in_the_wrong_order_are_told(second_one, speech, tmp_path, capsys):
    code, _, said = run(capsys, "speak", speech, second_one, "-o", tmp_path / "out.mp4")
    assert code == 2
    assert said == f"se4lip: {second_one} is an avatar and stands second: give AVATAR, then AUDIO\n"


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """A second of sound, and the shipped encoder's features of it."""
    folder = tmp_path_factory.mktemp("second")
    write_wav(folder / "a.wav", Speech(tone(1.0, 16_000)))
    encode_to_file(folder / "a.wav", folder / "a.npy")
    return folder


def said_by_head(capsys, second, features, *flags):
    speak = ("speak", "grid-s1", second / "a.wav", "-o", features.parent / "said.mp4")
    return run(capsys, *speak, "--size", 65, "--features", features, "--json", *flags)


def test_a_head_takes_features_of_its_own_encoder(second, tmp_path, capsys):
    code, printed, _ = said_by_head(capsys, second, second / "a.npy")
    report = json.loads(printed)
    assert (code, report["frames"]) == (0, 25)
    info = probe_video(second / "said.mp4")
    assert (info.width_px, info.height_px) == (66, 66) == (report["size_px"],) * 2
    assert {"avatar", "encoder", "features"} == inspect_video(second / "said.mp4").parts.keys()


def test_a_head_refuses_features_of_others_and_of_nobody(second, encoder, tmp_path, capsys):
    other, random = tmp_path / "other.npy", tmp_path / "rnd.npy"
    encode_to_file(second / "a.wav", other, encoder)
    np.save(random, np.random.default_rng(0).normal(size=(25, 512)).astype(np.float32))
    code, _, said = said_by_head(capsys, second, other)
    assert code == 2
    assert "trained on features of encoder 'se4lip-grid-s1' (" in said
    assert "and these are of encoder 'small' (" in said
    code, _, said = said_by_head(capsys, second, random)
    assert code == 2
    assert said.startswith(f"se4lip: nobody knows whose features {random} holds")
    assert not (tmp_path / "said.mp4").exists()
    assert said_by_head(capsys, second, random, "--unchecked")[0] == 0
    signed_for = inspect_video(tmp_path / "said.mp4").parts
    assert {"avatar", "features"} == signed_for.keys()  # and no encoder, which did not make them
    code, _, said = run(capsys, "speak", "grid-s1", "a.wav", "-o", "a.mp4", "--unchecked")
    assert (code, said.startswith("se4lip: ")) == (2, True)


@pytest.mark.parametrize(("rows", "good"), [(22, False), (23, True), (27, True), (28, False)])
def test_features_must_be_as_long_as_their_sound(rows, good, second, tmp_path, capsys):
    features = tmp_path / "f.npy"
    np.save(features, np.zeros((rows, 512), np.float32))
    code, _, said = said_by_head(capsys, second, features, "--unchecked")
    assert code == (0 if good else 2)
    assert good or said == (
        f"se4lip: feature file {features} holds {rows} rows, but {second / 'a.wav'} lasts 25 "
        "frames: give features of this sound, 25 rows a second\n"
    )


def test_the_bar_of_speak_moves_with_the_video(second, tmp_path, capsys, monkeypatch):
    shares = []

    @contextlib.contextmanager
    def progress(title):
        yield print, shares.append

    write_wav(tmp_path / "b.wav", Speech(tone(2.0, 16_000)))
    monkeypatch.setattr(speak_command, "progress", progress)
    speak = ("speak", "grid-s1", tmp_path / "b.wav", "-o", tmp_path / "b.mp4", "--size", 64)
    assert run(capsys, *speak)[0] == 0
    assert shares == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.wav", "-o", "f.npy"), "cannot read audio"),
        ((), "no sound was named: give one audio or video file, or several"),
        (("speech.wav",), "no output was named: give -o FEATURES.npy, or -o FOLDER for several"),
        (("speech.wav", "--for", "er-nerf"), "no output was named: give -o FOLDER"),
        (("speech.wav", "nan.wav", "-o", "f.npy"), "f.npy is one file: give -o FOLDER"),
        (("speech.wav", "nan.wav", "--for", "er-nerf", "-o", "f"), "and --for takes one: give"),
        (
            ("speech.wav", "a/speech.wav", "-o", "f"),
            "speech.wav and a/speech.wav would both be written to speech.npy: give them one by one",
        ),
        (("speech.wav", "nan.wav", "-o", "f", "--encoder", "text.wav"), "no safetensors file"),
        (("speech.wav", "-o", "f", "--for", "skynet"), "no system 'skynet' is known: one of"),
        (("empty.wav", "-o", "f.npy"), "empty (0 bytes)"),
        (("text.wav", "-o", "f.npy"), "damaged, cut short or no audio file"),
        (("mute.mp4", "-o", "f.npy"), "has no sound: give a file with an audio track"),
        (("nan.wav", "-o", "f.npy"), "NaN"),
        (("speech.wav", "-o", "speech.wav/f.npy"), "cannot write"),
        (
            ("speech.wav", "-o", "f.npy", "--overwrite"),
            "--overwrite is of files for another system",
        ),
        (("speech.wav", "-o", "f.npy", "--encoder", "other.safetensors"), "holds avatar weights"),
        (("speech.wav", "-o", "f.npy", "--encoder", "text.wav"), "no safetensors file"),
        (("speech.wav", "-o", "f.npy", "--encoder", "newer.safetensors"), "update se4lip"),
    ],
)
def test_what_cannot_be_encoded_is_one_sentence_and_leaves_nothing(
    arguments, sentence, speech, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound " * 100)
    record(tmp_path / "mute.mp4", flash(np.arange(10) / 25, 0.2), np.arange(10) / 25)
    broken = tone(0.5, 16_000)
    broken[100] = np.nan
    record(tmp_path / "nan.wav", None, sound=broken, rate_hz=16_000, audio_codec="pcm_f32le")
    weights = {"weight": torch.zeros(2)}
    save_weights(tmp_path / "other.safetensors", weights, kind="avatar", config={})
    save_weights(tmp_path / "newer.safetensors", weights, kind="encoder", config={}, version=99)
    before = sorted(tmp_path.iterdir())
    code, printed, said = run(capsys, "encode", *arguments)
    assert (code, printed) == (2, "")
    assert said.startswith("se4lip: ")
    assert said.count("\n") == 1
    assert sentence in said
    assert sorted(tmp_path.iterdir()) == before


def test_silence_is_encoded_and_stays_finite(encoder, tmp_path, capsys):
    file, out = tmp_path / "silence.wav", tmp_path / "features.npy"
    write_wav(file, Speech(np.zeros(16_000, np.float32)))
    assert run(capsys, "encode", file, "-o", out, "--encoder", encoder)[0] == 0
    assert np.isfinite(np.load(out)).all()


def test_a_folder_that_is_no_data_set_is_told_so(encoder, tmp_path, capsys):
    for verb in (("evaluate", "encoder"), ("sync",)):
        code, _, said = run(capsys, *verb, tmp_path, "--encoder", encoder)
        assert code == 2
        assert str(tmp_path) in said
