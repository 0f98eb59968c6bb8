"""The files that export writes: what they say, what is refused, and what users copy."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from se4lip import cli
from se4lip.artifacts.encoder import encoder_identity, load_encoder
from se4lip.encoder.streaming import encode_offline
from se4lip.export import check as export_check
from se4lip.export import files as exporting
from se4lip.export.check import session, trial_sounds
from se4lip.export.encoder import encoder_graph, step_graph
from se4lip.export.files import TOLERANCE, export_onnx
from se4lip.io.audio import write_wav
from se4lip.io.dataset import ClipEntry, Index, SourceEntry, write_clip, write_index
from se4lip.io.weights import save_weights
from se4lip.types import FaceTrack, InputError, Speech
from small_models import small_avatar, small_encoder, small_weights, sound

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_weights(tmp_path_factory.mktemp("weights"))


def test_the_encoder_and_the_head_that_ship_are_exported_within_the_tolerance(tmp_path):
    report = export_onnx(tmp_path, avatar=Path("grid-s1"))
    assert [file.path.name for file in report.files] == [
        "speech-encoder.onnx",
        "speech-step.onnx",
        "head-deformation.onnx",
    ]
    assert report.sha256 == encoder_identity(None).sha256
    for file in report.files:
        assert file.largest_difference <= TOLERANCE
        assert file.path.stat().st_size == file.size_bytes
        onnx.checker.check_model(onnx.load(file.path))


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
    with pytest.raises(InputError, match="has no clip in split 'test': prepare more recordings"):
        export_onnx(tmp_path / "no", weights, int8=True, dataset=data, split="test")
    assert not (tmp_path / "no").exists()


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


def test_an_avatar_adds_its_deformation(weights, tmp_path, monkeypatch):
    avatar = small_avatar()
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
        "pip install '.[onnx]' in se4lip's checkout"
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


def test_a_split_of_no_data_set_is_refused(weights, tmp_path):
    with pytest.raises(InputError, match="--split train is of a data set: add --dataset, or leave"):
        export_onnx(tmp_path / "out", weights, split="train")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(weights, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*: not a directory: choose another"):
        export_onnx(file, weights)


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
