"""Speech features of every kind: one clock, one shape, no unpickling, clear refusals."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.audio.timebase import frame_count
from se4lip.features.acoustic import LogMel, Mfcc
from se4lip.features.ave import Ave, AveEncoder
from se4lip.features.base import Timing, in_pieces
from se4lip.features.catalogue import KINDS, Se4lip, load_features
from se4lip.features.mel import mel_filters
from se4lip.features.recognisers import (
    DEEPSPEECH,
    PHONEME,
    Recogniser,
    convolved_network,
    convolved_timing,
    deepspeech_network,
    phoneme_network,
)
from se4lip.features.whisper import Whisper, WhisperConfig, WhisperEncoder
from se4lip.io.ctranslate2 import read_ctranslate2
from se4lip.types import SAMPLES_PER_FRAME, InputError

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)  # wav2vec 2.0 and HuBERT


class Convolutions(nn.Module):
    """The front of wav2vec 2.0 and HuBERT with random weights, called as transformers' models."""

    def __init__(self) -> None:
        super().__init__()
        layers, before = [], 1
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            layers += [nn.Conv1d(before, 16, kernel, stride), nn.GELU()]
            before = 16
        self.layers = nn.Sequential(*layers)

    def forward(self, sound):
        self.last_hidden_state = self.layers(sound[:, None]).mT
        return self


def identity(name, width):
    return EncoderIdentity(name, "0" * 64, width, name)


def whisper():
    torch.manual_seed(0)
    network = WhisperEncoder(WhisperConfig(width=32, layers=1, heads=4)).eval()
    for block in network.blocks:  # attention looks everywhere: what is tested is what lies in place
        nn.init.zeros_(block.out.weight)
    return Whisper("whisper-tiny.en", network, "0" * 64)


def ave():
    torch.manual_seed(1)
    return Ave(AveEncoder().eval(), "0" * 64)


def convolved():
    torch.manual_seed(2)
    timing = convolved_timing(KERNELS, STRIDES)
    return Recogniser(
        convolved_network(Convolutions(), normalise=False), timing, identity("wav2vec2-base", 32)
    )


def deepspeech():
    # Of nineteen rows the graph's first layers weigh the middle most; here they see nothing else.
    weights = np.random.default_rng(3).normal(size=(26, 29)).astype(np.float32)
    network = deepspeech_network(lambda rows: rows.reshape(-1, 19, 26)[:, 9] @ weights)
    return Recogniser(network, DEEPSPEECH, identity("deepspeech", 58))


def phoneme():
    """hama's timing: a centred spectrogram every 160 samples, of which every second column."""

    def log_posteriors(samples):
        around = np.pad(samples, 200)
        columns = np.lib.stride_tricks.sliding_window_view(around, 400)[::160]
        power = np.abs(np.fft.rfft(columns * np.hanning(400), 400))[:, :191] ** 2
        return np.log(power + 1e-8)[::2].astype(np.float32)

    return Recogniser(phoneme_network(log_posteriors), PHONEME, identity("phoneme", 382))


MADE = {
    "logmel": LogMel,
    "mfcc": Mfcc,
    "whisper": whisper,
    "ave": ave,
    "wav2vec2": convolved,
    "deepspeech": deepspeech,
    "phoneme": phoneme,
}


def response(kind, at, samples=32 * SAMPLES_PER_FRAME):
    """How much each frame's row changes when 5 ms of noise sound at sample ``at``."""
    rng = np.random.default_rng(7)
    quiet = rng.normal(0, 1e-4, samples).astype(np.float32)
    click = quiet.copy()
    click[at - 40 : at + 40] += rng.normal(0, 0.3, 80).astype(np.float32)
    return np.linalg.norm(kind(click) - kind(quiet), axis=1)


@pytest.mark.parametrize("name", MADE)
def test_a_click_lands_in_the_frame_that_shows_it(name):
    """Wherever in the frame, but for its edges, where 5 ms belong to two frames."""
    kind = MADE[name]()
    for eighth in (1, 4, 7):
        at = 16 * SAMPLES_PER_FRAME + eighth * SAMPLES_PER_FRAME // 8
        found = response(kind, at) ** 2
        found[found < 0.01 * found.max()] = 0
        centre = (found * np.arange(len(found))).sum() / found.sum()
        assert abs(centre - (at / SAMPLES_PER_FRAME - 0.5)) < 0.5, (eighth, centre)


def test_our_own_row_hears_three_frames_before_its_time_and_two_after():
    kind = Se4lip()
    for eighth in (1, 4, 7):
        at = 16 * SAMPLES_PER_FRAME + eighth * SAMPLES_PER_FRAME // 8
        # The running channel mean remembers a click for seconds, but only a little.
        found = response(kind, at)
        strong = np.flatnonzero(found > 0.4 * found.max())
        assert strong[0] >= 15 and strong[-1] <= 19
        assert np.flatnonzero(found > 0)[0] == 15, "nothing is heard before it can be"


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("samples", [1, 640, 641, 5000])
def test_a_row_for_every_frame(name, samples):
    kind = MADE[name]()
    sound = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    found = kind(sound)
    assert found.shape == (frame_count(samples), found.shape[1])
    assert found.dtype == np.float32 and np.isfinite(found).all()
    if name != "whisper":  # a small one; and the fronts above have other widths
        assert found.shape[1] == kind.identity.width


@settings(max_examples=60, deadline=None)
@given(
    hop=st.sampled_from([80, 160, 320, 640]),
    first=st.integers(0, 1000),
    samples=st.integers(1, 9000),
)
def test_rows_lie_evenly_inside_their_frame(hop, first, samples):
    """The row of an ideal network is the time it is about: closed form of where it must be."""
    timing = Timing(hop, first, reach=first + hop)
    sound = np.zeros(samples, np.float32)

    def network(padded):
        count = (len(padded) - first + hop - 1) // hop
        return (first + hop * np.arange(max(0, count)) - timing.lead)[:, None]

    found = timing.framed(network, sound)
    middles = hop // 2 + hop * np.arange(found.size)
    np.testing.assert_array_equal(found.ravel(), middles)


@pytest.mark.parametrize("samples", [1000, 16_000, 16_001, 50_000, 160_000])
def test_long_sound_in_pieces_gives_the_rows_of_the_whole(samples):
    def network(sound):  # each row sees 2,000 samples to either side
        seen = np.pad(sound, 2000).cumsum()
        seen = np.pad(seen, (1, 0))
        rows = len(sound) // 320
        starts = np.arange(rows) * 320
        return (seen[starts + 4000] - seen[starts])[:, None]

    sound = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    pieces = in_pieces(network, 320, piece_s=1.0, context_s=0.2)
    np.testing.assert_allclose(pieces(sound), network(sound), atol=1e-2)


def test_400_samples_every_320_is_what_wav2vec_sees():
    assert convolved_timing(KERNELS, STRIDES) == Timing(hop=320, first=200, reach=400)


def test_mel_filters_are_librosas():
    golden = json.loads((Path(__file__).parent / "golden" / "mel.json").read_text())
    for one in golden["filters"]:
        filters, fft, low, high = one["case"]
        wanted = np.zeros((filters, fft // 2 + 1))
        wanted[one["band"], one["bin"]] = one["weight"]
        np.testing.assert_allclose(mel_filters(filters, fft, low, high), wanted, atol=3e-7)


def test_log_mel_of_a_tone_is_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    rows = LogMel()(tone).reshape(-1, 80)[8:-8]
    assert set(rows.argmax(1)) == {26}  # Slaney: 1 kHz is mel 15 of 45.245, 80 bands and two ends
    assert math.floor(15 / 45.245 * 81 - 0.5) == 26


def test_ave_has_the_published_shape():
    """Names and sizes of `audio_encoder` in SyncTalk's network.py."""
    state = AveEncoder().state_dict()
    assert state["0.conv_block.0.weight"].shape == (32, 1, 3, 3)
    assert state["12.conv_block.0.weight"].shape == (512, 512, 1, 1)
    assert len([name for name in state if name.endswith("conv_block.0.weight")]) == 13
    published = {f"audio_encoder.{name}": value for name, value in state.items()}
    again = AveEncoder.from_published(published).state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())
    with pytest.raises(InputError, match="not those of SyncTalk's audio encoder"):
        AveEncoder.from_published({"0.conv_block.0.weight": torch.zeros(3)})


# --- Whisper's file ------------------------------------------------------------------------------


def ctranslate2_file(variables, kind=b"WhisperSpec", version=6):
    def text(value):
        return struct.pack("<H", len(value) + 1) + value + b"\0"

    types = {"float32": 0, "int16": 2, "float16": 4}
    parts = [struct.pack("<I", version), text(kind), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        parts += [
            text(name.encode()),
            struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape),
            struct.pack("<BI", types[array.dtype.name], array.nbytes),
            array.tobytes(),
        ]
    return b"".join(
        [*parts, struct.pack("<I", 1), text(b"alias"), text(next(iter(variables)).encode())]
    )


def published_whisper(width=32, layers=2):
    rng = np.random.default_rng(0)

    def some(*shape):
        return (rng.normal(size=shape) / 8).astype(np.float16)

    found = {
        "encoder/conv1/weight": some(width, 80, 3),
        "encoder/conv1/bias": some(width),
        "encoder/conv2/weight": some(width, width, 3),
        "encoder/conv2/bias": some(width),
        "encoder/num_heads": np.int16(4).reshape(()),
        "encoder/position_encodings/encodings": some(1500, width),
        "encoder/layer_norm/gamma": some(width),
        "encoder/layer_norm/beta": some(width),
    }
    for i in range(layers):
        part = f"encoder/layer_{i}"
        for name, rows, columns in (
            ("self_attention/linear_0", 3 * width, width),
            ("self_attention/linear_1", width, width),
            ("ffn/linear_0", 4 * width, width),
            ("ffn/linear_1", width, 4 * width),
        ):
            found[f"{part}/{name}/weight"] = some(rows, columns)
            found[f"{part}/{name}/bias"] = some(rows)
        for name in ("self_attention", "ffn"):
            found[f"{part}/{name}/layer_norm/gamma"] = some(width)
            found[f"{part}/{name}/layer_norm/beta"] = some(width)
    return found


def test_a_ctranslate2_file_becomes_a_whisper_encoder():
    variables = published_whisper()
    content = ctranslate2_file(variables)
    read = read_ctranslate2(content)
    assert set(read) == {*variables, "alias"}
    for name, array in variables.items():
        np.testing.assert_array_equal(read[name].numpy(), array)
    encoder = WhisperEncoder.from_ctranslate2(read)
    assert encoder.config == WhisperConfig(width=32, layers=2, heads=4)
    block = encoder.blocks[1]
    np.testing.assert_array_equal(
        block.narrow.weight.numpy(),
        variables["encoder/layer_1/ffn/linear_1/weight"].astype(np.float32),
    )
    with pytest.raises(InputError, match="not those of a Whisper encoder"):
        WhisperEncoder.from_ctranslate2({n: v for n, v in read.items() if "conv2" not in n})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no CTranslate2 model, or damaged or cut short"),
        (b"\x80\x04\x95" + b"x" * 100, "no CTranslate2 model, or damaged or cut short"),
        (ctranslate2_file(published_whisper())[:-9000], "no CTranslate2 model, or damaged"),
        (
            ctranslate2_file({"a": np.zeros(1, np.float32)}, kind=b"TransformerSpec"),
            "hold 'TransformerSpec' of CTranslate2's format 6, but WhisperSpec of format 5 or 6",
        ),
    ],
    ids=["empty", "pickle", "cut", "other"],
)
def test_other_files_are_no_whisper(content, message):
    with pytest.raises(InputError, match=message):
        read_ctranslate2(content)


# --- refusals ------------------------------------------------------------------------------------


def test_unknown_features_are_named_with_those_there_are():
    with pytest.raises(InputError, match="no features 'wav2lip'; one of se4lip, logmel, mfcc, "):
        load_features("wav2lip")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ave", "audio_visual_encoder.pth is not here: set SE4LIP_AVE"),
        ("deepspeech", "deepspeech-0_1_0-b90017e8.pb is not here: set SE4LIP_DEEPSPEECH"),
    ],
)
def test_absent_weights_are_named_with_where_to_get_them(name, message, tmp_path, monkeypatch):
    monkeypatch.setenv("SE4LIP_CACHE", str(tmp_path))
    for variable in ("SE4LIP_AVE", "SE4LIP_DEEPSPEECH"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match=message) as told:
        load_features(name)
    assert str(told.value).endswith("to `train avatar` or `speak` with --feature-weights")


def test_absent_packages_are_named_with_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("whisper-tiny.en", "whisper-base", "phoneme"):
        with pytest.raises(InputError, match=r"not here: pip install '\.\[rivals\]'"):
            load_features(name)


def test_transformers_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match=r"need transformers: pip install '\.\[hubert\]'"):
        load_features("hubert-large")


def test_every_kind_says_where_its_weights_come_from():
    assert {"se4lip", "logmel", "mfcc", "whisper-base", "phoneme", "hubert-large"} <= set(KINDS)
    assert all(kind.weights for kind in KINDS.values())


@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base", "phoneme"])
def test_packaged_weights_hear(name):
    try:
        kind = load_features(name)
    except InputError as error:
        pytest.skip(str(error))
    sound = np.random.default_rng(0).normal(0, 0.05, 20_000).astype(np.float32)
    found = kind(sound)
    assert found.shape == (32, kind.identity.width)
    assert np.isfinite(found).all() and found.std() > 0.1
