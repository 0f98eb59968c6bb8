"""`se4lip encode`, `sync` and `evaluate encoder` as a user meets them, good input and bad."""

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recordings import flash, record, tone, wav
from se4lip import cli
from se4lip.artifacts.encoder import save_encoder
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoderConfig
from se4lip.encode_speech import encode, encode_file
from se4lip.io.audio import write_wav
from se4lip.io.weights import save_weights
from se4lip.types import Speech


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
    assert json.loads(printed)["shape"] == [31, 512]


@given(rate_hz=st.integers(4_000, 192_000), frames=st.integers(1, 3), more=st.integers(-2, 2))
@example(rate_hz=44_100, frames=25, more=1)
@example(rate_hz=48_000, frames=25, more=1)
@settings(max_examples=15, deadline=None)
def test_file_and_memory_have_a_row_for_every_frame_that_has_begun(
    rate_hz, frames, more, encoder, tmp_path_factory
):
    file = tmp_path_factory.mktemp("rate") / "a.wav"
    samples = np.full(rate_hz * frames // 25 + more, 1000, np.int16)
    wav(file, samples, rate_hz)
    begun = -(-len(samples) * 25 // rate_hz)
    assert len(encode_file(file, encoder)) == begun
    assert len(encode(samples / np.float32(32768), rate_hz, encoder)) == begun


def test_encode_for_a_system_writes_what_its_loader_takes(speech, encoder, tmp_path, capsys):
    folder = tmp_path / "features"
    arguments = ("encode", speech, "--for", "er-nerf", "-o", folder, "--encoder", encoder)
    assert run(capsys, *arguments)[0] == 0
    (file,) = folder.iterdir()
    assert np.load(file, allow_pickle=False).shape == (31, 2, 1024)
    code, _, said = run(capsys, *arguments)
    assert code == 2
    assert "--overwrite" in said


def test_encode_for_list_names_every_system(capsys):
    from se4lip.dropin import PROFILES

    code, printed, _ = run(capsys, "encode", "--for", "list")
    assert code == 0
    assert all(name in printed for name in PROFILES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.wav", "-o", "f.npy"), "cannot read audio"),
        (("speech.wav",), "no output was named: give -o FEATURES.npy, or -o FOLDER with --for"),
        (("speech.wav", "-o", "f", "--for", "skynet"), "no system 'skynet' is known: one of"),
        (("empty.wav", "-o", "f.npy"), "empty (0 bytes)"),
        (("text.wav", "-o", "f.npy"), "damaged, cut short or no audio file"),
        (("mute.mp4", "-o", "f.npy"), "has no sound: give a file with an audio track"),
        (("nan.wav", "-o", "f.npy"), "NaN"),
        (("speech.wav", "-o", "speech.wav/f.npy"), "cannot write"),
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
