"""Exported graphs: torch's numbers for any length, batch and chunking, or no file at all."""

import ast
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from se4lip import cli, export_check
from se4lip import export as exporting
from se4lip.artifacts.avatar import Avatar
from se4lip.artifacts.encoder import (
    EncoderIdentity,
    encoder_identity,
    load_encoder,
    save_encoder,
)
from se4lip.audio.spectrogram import SpectrogramConfig
from se4lip.audio.timebase import Window
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.encoder.streaming import encode_offline
from se4lip.export import export_onnx
from se4lip.export_check import deform_both, encode_with, session, stream_with, trial_sounds
from se4lip.export_encoder import encoder_graph, step_graph
from se4lip.export_head import deformation_graph
from se4lip.head.base import Motion
from se4lip.head.splat.gaussians import RawGaussians
from se4lip.head.splat.head import SplatHead, SplatHeadConfig
from se4lip.io.audio import write_wav
from se4lip.io.dataset import ClipEntry, Index, SourceEntry, write_clip, write_index
from se4lip.io.weights import save_weights
from se4lip.types import Camera, FaceTrack, InputError, Speech

ROOT = Path(__file__).parents[1]
SMALL = SpeechEncoderConfig(projection=16, hidden=16)  # a shipped one is 256 of each
WARM_UP = {"warm_up_frames": "1"}


def small_encoder(config=SMALL, seed=0):
    torch.manual_seed(seed)
    encoder = SpeechEncoder(config)
    with torch.no_grad():  # as after training: another channel and spread for every bin
        encoder.mean.uniform_(-4, -1.5)
        encoder.scale.uniform_(0.3, 1)
    return encoder.eval().requires_grad_(False)


def sound(samples, seed=0):
    random = np.random.default_rng(seed)
    loudness = 0.2 * np.repeat(random.random(samples // 1600 + 1) ** 3, 1600)[:samples]
    return (loudness * random.standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return small_encoder()


@pytest.fixture(scope="module")
def whole(encoder):
    return session(encoder_graph(encoder).model({}))


@pytest.fixture(scope="module")
def step(encoder):
    return session(step_graph(encoder).model(WARM_UP))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    lips = LipEncoderConfig(channels=(8, 8, 8, 8), contour_hidden=8)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_encoder(file, SE4Lip(SE4LipConfig(speech=SMALL, lips=lips)), {"name": "small"})
    return file


def at_rest(step, batch=1):
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    return {v.name: np.zeros((batch, *v.shape[1:]), kinds[v.type]) for v in step.get_inputs()[1:]}


# --- the numbers ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12_000), min_size=1, max_size=3))
def test_both_graphs_give_torchs_features_for_any_batch_of_any_lengths(
    encoder, whole, step, lengths
):
    sounds = [sound(length, seed) for seed, length in enumerate(lengths)]
    for found in (encode_with(whole, sounds), stream_with(step, sounds)):
        for features, samples in zip(found, sounds, strict=True):
            expected = encode_offline(encoder, samples, 16_000)
            np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def test_a_minute_is_within_the_tolerance_from_its_first_frame_to_its_last(encoder, whole, step):
    samples = sound(60 * 16_000)
    expected = encode_offline(encoder, samples, 16_000)
    assert len(expected) == 1500
    for found in (encode_with(whole, [samples]), stream_with(step, [samples])):
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_steps_of_any_number_of_frames_make_the_same_stream(step, chunks):
    frames = sound(sum(chunks) * 640).reshape(1, -1, 640)
    at_once = step.run(None, {"frames": frames, **at_rest(step)})
    state, parts, at = at_rest(step), [], 0
    for chunk in chunks:
        features, *following = step.run(None, {"frames": frames[:, at : at + chunk], **state})
        state = dict(zip(state, following, strict=True))
        parts.append(features)
        at += chunk
    np.testing.assert_allclose(np.concatenate(parts, axis=1), at_once[0], rtol=0, atol=1e-6)
    for name, one, other in zip(state, state.values(), at_once[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-4, err_msg=name)


def test_the_fourier_basis_is_rounded_once(encoder):
    """An angle in float32 made quiet sounds beside loud ones five times less true."""
    model = onnx.load_from_string(encoder_graph(encoder).model({}))
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    (stored,) = (w for w in model.graph.initializer if w.name == conv.input[1])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    exact = np.fft.rfft(np.diag(window / 100), n=512).T  # a full-scale sine has power 1
    error = numpy_helper.to_array(stored)[:, 0] - np.concatenate((exact.real, -exact.imag))
    assert np.abs(error).max() < 2**-24 * 0.01


def test_two_minutes_of_a_steady_tone_do_not_drift(encoder, step):
    """What a running mean in float32 fails: it stands still before it has arrived."""
    tone = (0.1 * np.sin(np.arange(640 * 250) * (2 * np.pi * 300 / 16_000))).astype(np.float32)
    frames, state = tone.reshape(1, -1, 640), at_rest(step)
    for _ in range(12):  # ten seconds each
        features, *following = step.run(None, {"frames": frames, **state})
        state = dict(zip(state, following, strict=True))
    expected = encode_offline(encoder, np.tile(tone, 12), 16_000)[-250:-1]
    np.testing.assert_allclose(features[0, 1:], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": Window(5, 0)},
        {"window": Window(5, 1)},
        {"window": Window(3, 2)},
        {"bidirectional": False},
        {"layers": 2, "hidden": 12},
        {"spectrogram": SpectrogramConfig(window_samples=512)},
        {"spectrogram": SpectrogramConfig(window_samples=320, fft_samples=320, floor_db=-60)},
    ],
    ids=str,
)
def test_every_configuration_of_the_encoder_is_exported(changes):
    encoder = small_encoder(replace(SMALL, **changes))
    sounds = [sound(20_000), sound(641, 1)]
    whole = session(encoder_graph(encoder).model({}))
    warm_up = {"warm_up_frames": str(max(0, encoder.config.window.lookahead_frames - 1))}
    step = session(step_graph(encoder).model(warm_up))
    for found in (encode_with(whole, sounds), stream_with(step, sounds)):
        for features, samples in zip(found, sounds, strict=True):
            expected = encode_offline(encoder, samples, 16_000)
            np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def test_the_live_feature_of_a_frame_needs_the_next_frame_and_no_more(step):
    """The look-ahead of 80 ms: frame t is decided by the sound before t/25 s + 80 ms."""
    frames = sound(20 * 640).reshape(1, -1, 640)
    changed = frames.copy()
    changed[:, 12:] = 0.5
    before, after = (step.run(None, {"frames": x, **at_rest(step)})[0] for x in (frames, changed))
    np.testing.assert_array_equal(before[:, :12], after[:, :12])
    assert np.abs(before[:, 12] - after[:, 12]).max() > 1e-3


def test_a_row_whose_state_is_zeroed_starts_anew(step):
    frames = np.stack([sound(10 * 640, seed).reshape(10, 640) for seed in (1, 2)])
    _, *following = step.run(None, {"frames": frames, **at_rest(step, 2)})
    state = dict(zip(at_rest(step), following, strict=True))
    for value in state.values():
        value[1] = 0
    again = step.run(None, {"frames": frames, **state})[0]
    fresh = step.run(None, {"frames": frames[1:], **at_rest(step)})[0]
    np.testing.assert_allclose(again[1], fresh[0], rtol=0, atol=1e-6)
    assert np.abs(again[0] - fresh[0]).max() > 1e-3


# --- the head -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def avatar():
    torch.manual_seed(0)
    raw = RawGaussians(
        means=torch.randn(40, 3),
        log_scales=torch.randn(40, 3) - 2,
        quats=torch.randn(40, 4),
        opacity_logits=torch.randn(40),
        colours=torch.rand(40, 3),
    )
    camera = Camera(100.0, 16.0, 16.0, 32, 32)
    head = SplatHead(SplatHeadConfig(camera, (0, 5, 14, 22, 30, 40), 8, 3, 2, 2, 4), raw)
    for value in head.parameters():
        value.data.add_(0.2 * torch.randn_like(value))
    for branch in (head.interior, head.face, head.eyes, head.look):
        branch.origin.normal_()
        branch.share.uniform_()
    head.speech.feature_mean.normal_()
    random = np.random.default_rng(0)
    poses = np.zeros((9, 3, 4), np.float32)
    eyes, look = random.standard_normal((2, 9, 2)).astype(np.float32)
    replay = Motion(poses, poses, eyes, look)
    identity = EncoderIdentity("small", "0" * 64, 8)
    return Avatar(head.eval().requires_grad_(False), None, replay, identity, {"name": "somebody"})


@pytest.fixture(scope="module")
def deformation(avatar):
    return session(deformation_graph(avatar.head).model({}))


def test_the_heads_gaussians_are_torchs(deformation, avatar):
    for found, expected in zip(*deform_both(deformation, avatar), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert np.ptp(expected, axis=0).max() > 0.01  # something moves


def test_what_never_changes_in_a_head_comes_along(deformation, avatar):
    inputs = {
        "features": np.zeros((1, 1, 8), np.float32),
        "eyes": avatar.replay.eyes[None, :1],
        "look": avatar.replay.look[None, :1],
        "first": np.array([0]),
    }
    quats, share = deformation.run(["quats", "head_share"], inputs)
    np.testing.assert_array_equal(quats, avatar.head.raw["quats"].numpy())
    np.testing.assert_array_equal(share, avatar.head.head_share.clamp(0, 1).numpy())


def test_nine_rows_before_a_frame_and_seven_after_it_decide_its_gaussians(deformation, avatar):
    """What docs/export.md tells a live program to give."""
    random = np.random.default_rng(0)
    features = random.standard_normal((1, 40, 8)).astype(np.float32)
    frame = 20

    def means(rows, first):
        motion = {"eyes": avatar.replay.eyes[None, :1], "look": avatar.replay.look[None, :1]}
        inputs = {"features": rows, "first": np.array([first]), **motion}
        return deformation.run(["means"], inputs)[0]

    alone = means(features[:, frame - 9 : frame + 8], 9)
    np.testing.assert_allclose(alone, means(features, frame), rtol=0, atol=1e-5)
    for row in (frame - 9, frame + 7):
        changed = features.copy()
        changed[:, row] += 3
        assert np.abs(means(changed, frame) - alone).max() > 1e-6


# --- the files ------------------------------------------------------------------------------------


def test_the_files_say_what_they_are(weights, tmp_path):
    export_onnx(tmp_path, weights, int8=True)
    kinds = {
        "speech-encoder": "float32",
        "speech-step": "float32",
        "speech-encoder-int8": "int8",
        "speech-step-int8": "int8",
    }
    assert {file.stem for file in tmp_path.iterdir()} == set(kinds)
    for name, kind in kinds.items():
        model = onnx.load(tmp_path / f"{name}.onnx")
        assert {entry.key: entry.value for entry in model.metadata_props} == {
            "name": "small",
            "sha256": encoder_identity(weights).sha256,
            "sample_rate_hz": "16000",
            "frame_rate_hz": "25",
            "look_ahead_ms": "80",
            "warm_up_frames": "1",
            "weights": kind,
            "opset": "17",
        }
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
        inputs = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in model.graph.input
        }
        if "step" in name:
            assert inputs == {
                "frames": ["batch", "frames", 640],
                "sound": ["batch", 320],
                "columns": ["batch", 14, 16],
                "channel_sum": ["batch", 257],
                "channel_weight": ["batch", 1],
            }
            assert [value.name for value in model.graph.output] == [
                "features",
                *(f"next_{state}" for state in list(inputs)[1:]),
            ]
        else:
            assert inputs == {"samples": ["batch", "samples"]}


def test_equal_weights_make_equal_files(weights):
    first, second = (encoder_graph(load_encoder(weights).speech).model({}) for _ in range(2))
    assert first == second


def test_eight_bits_take_less_room_and_turn_features_a_little(weights, tmp_path):
    report = export_onnx(tmp_path, weights, int8=True)
    files = {file.path.stem: file for file in report.files}
    for kind in ("speech-encoder", "speech-step"):
        full, eight = files[kind], files[f"{kind}-int8"]
        saved = sum(p.numel() for n, p in weight_matrices(load_encoder(weights).speech)) * 3
        assert full.size_bytes - eight.size_bytes > 0.7 * saved  # names and scales cost some
        assert full.largest_difference <= 1e-5
        assert 1e-5 < eight.largest_difference < 0.05
        assert 0.99 < eight.least_cosine <= eight.mean_cosine < 1
        assert full.least_cosine == pytest.approx(1, abs=1e-6)


def weight_matrices(encoder):
    for name, value in encoder.named_parameters():
        if value.ndim == 2 and "norm" not in name:
            yield name, value


def test_the_cost_of_eight_bits_is_counted_on_a_data_set(weights, tmp_path, capsys):
    data = tmp_path / "set"
    frames = 60
    random = np.random.default_rng(0)
    track = FaceTrack(
        landmarks_px=random.uniform(0, 90, (frames, 478, 3)).astype(np.float32),
        blendshapes=np.zeros((frames, 52), np.float32),
        camera_from_face=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        width_px=100,
        height_px=100,
    )
    lips = random.integers(0, 255, (frames, 96, 96, 3), np.uint8)
    write_clip(data, "a", 5 * sound(frames * 640), lips, track, {"source": "a.mp4"})
    clips = (ClipEntry("a", 0, frames),)
    write_index(data, Index({}, (SourceEntry("a", "a.mp4", "..", 1, "0", clips),)))
    report = export_onnx(tmp_path / "out", weights, int8=True, dataset=data)
    assert [cost.context_frames for cost in report.offset_cost] == [5, 15]
    for cost in report.offset_cost:
        assert cost.questions > 20
        assert 0 <= cost.float32 <= 1
        assert abs(cost.float32 - cost.int8) < 0.2


def test_another_encoder_in_the_place_of_the_8_bit_one_is_noticed(weights, tmp_path):
    """The features counted are the file's: `OnnxSpeech` gives what torch gives, clip or no clip."""
    speech = load_encoder(weights).speech
    graph = export_check.OnnxSpeech(session(encoder_graph(speech).model({})))
    samples = torch.from_numpy(sound(5_000))
    for frames in (3, 8, 12):  # less sound than heard, all of it, and silence behind it
        expected = speech.features(samples, frames)
        torch.testing.assert_close(graph.features(samples, frames), expected, rtol=0, atol=1e-5)


def test_trial_sounds_are_loud_and_quiet_and_of_two_lengths():
    noise, speech = trial_sounds()
    assert len(noise) % 640 and len(noise) < len(speech)
    level = np.sqrt(np.square(speech.reshape(-1, 640)).mean(1))
    assert level.max() > 50 * level.min() > 0
    assert max(np.abs(noise).max(), np.abs(speech).max()) < 1


# --- the command ----------------------------------------------------------------------------------


def test_the_command_prints_its_figures(weights, tmp_path, capsys):
    assert cli.main(["export", "-o", str(tmp_path), "--encoder", str(weights), "--int8"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"speech-step\.onnx: \d\.\d MB, within \d\.\de-0[678] of torch\n", printed)
    assert re.search(r"speech-step-int8\.onnx: .*, cosine 0\.9\d+, at least 0\.9\d+\n", printed)
    assert cli.main(["export", "-o", str(tmp_path), "--encoder", str(weights), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["encoder"], report["opset"]) == ("small", 17)
    assert [Path(file["path"]).name for file in report["files"]] == [
        "speech-encoder.onnx",
        "speech-step.onnx",
    ]


def test_an_avatar_adds_its_deformation(weights, avatar, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "load_avatar", lambda path: avatar)
    report = export_onnx(tmp_path, weights, avatar=Path("somebody.safetensors"))
    file = report.files[-1]
    assert (file.path.name, file.largest_difference <= 1e-5) == ("head-deformation.onnx", True)
    model = onnx.load(file.path)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "name": "somebody",
        "encoder": "small",
        "encoder_sha256": "0" * 64,
        "frame_rate_hz": "25",
        "opset": "17",
    }


def test_a_graph_that_says_something_else_is_refused_and_nothing_is_written(
    weights, tmp_path, monkeypatch
):
    other = small_encoder(seed=1)
    monkeypatch.setattr(exporting, "step_graph", lambda encoder, int8: step_graph(other, int8))
    with pytest.raises(InputError) as error:
        export_onnx(tmp_path / "out", weights)
    assert re.fullmatch(
        r"speech-step\.onnx differs from torch by \d\.\de[+-]\d\d, where at most 1e-05 is allowed, "
        "so nothing was written: update onnxruntime",
        str(error.value),
    )
    assert not (tmp_path / "out").exists()


def test_eight_bits_that_turn_features_away_are_refused(weights, tmp_path, monkeypatch):
    def coarse(encoder, int8):
        return step_graph(small_encoder(seed=1) if int8 else encoder, int8)

    monkeypatch.setattr(exporting, "step_graph", coarse)
    with pytest.raises(InputError, match=r"speech-step-int8\.onnx differs .* at most 1e-02"):
        export_onnx(tmp_path, weights, int8=True)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_packages_it_says_what_to_install(package, weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        export_onnx(tmp_path, weights)
    assert str(error.value) == (
        f"export needs onnx and onnxruntime, and {package} is not installed: "
        "pip install 'se4lip[onnx]'"
    )


def test_what_is_no_encoder_is_one_sentence(tmp_path, capsys):
    text, head = tmp_path / "text", tmp_path / "head.safetensors"
    text.write_text("not weights")
    save_weights(head, {}, kind="avatar", config={})
    for file, sentence in (
        (tmp_path / "none", f"cannot read weight file {tmp_path / 'none'}: no such file or direc"),
        (text, f"weight file {text} is damaged, cut short or no safetensors file: fetch it again"),
        (head, f"{head} holds avatar weights, needed are encoder weights"),
    ):
        out = tmp_path / "out"
        assert cli.main(["export", "-o", str(out), "--encoder", str(file)]) == 2
        assert capsys.readouterr().err.startswith(f"se4lip: {sentence}")
        assert not out.exists()


def test_a_data_set_without_eight_bits_is_a_question_nobody_asked(weights, tmp_path):
    with pytest.raises(InputError) as error:
        export_onnx(tmp_path, weights, dataset=tmp_path)
    assert str(error.value) == "a data set measures what 8-bit weights cost: add --int8"


def test_a_folder_that_cannot_be_written_is_one_sentence(weights, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*: not a directory: choose another"):
        export_onnx(file, weights)


# --- what users copy ------------------------------------------------------------------------------


def test_the_example_needs_onnxruntime_and_numpy_alone(weights, tmp_path):
    example = ROOT / "examples" / "encode_with_onnxruntime.py"
    code = example.read_text()
    assert len(code.splitlines()) <= 30
    imported = {
        alias.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"sys", "wave", "numpy", "onnxruntime"}
    assert "from " not in code.split('"""')[2]
    export_onnx(tmp_path, weights)
    samples = sound(30_000)
    write_wav(tmp_path / "talk.wav", Speech(samples))
    arguments = [tmp_path / "speech-encoder.onnx", tmp_path / "talk.wav", tmp_path / "out.npy"]
    subprocess.run([sys.executable, example, *arguments], check=True, capture_output=True)
    pcm = np.rint(samples * 32768).clip(-32768, 32767).astype(np.float32) / 32768
    expected = encode_offline(load_encoder(weights).speech, pcm, 16_000)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=0, atol=1e-5)
    write_wav(tmp_path / "fast.wav", Speech(samples, 44_100))
    arguments[1] = tmp_path / "fast.wav"
    refused = subprocess.run(
        [sys.executable, example, *arguments], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "is not 16-bit sound at 16000 Hz: convert it with ffmpeg" in refused.stderr


def test_the_live_lines_of_the_document_work(weights, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)
    export_onnx(tmp_path / "models", weights)
    monkeypatch.chdir(tmp_path)
    heard, samples = [], sound(25 * 640)
    exec(code, {"sound": samples, "hear": heard.append})
    expected = encode_offline(load_encoder(weights).speech, samples, 16_000)
    np.testing.assert_allclose(np.stack(heard[1:]), expected, rtol=0, atol=1e-5)
