"""``evaluate video`` on drawn faces: what is measured, what is not and why, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from faces import mask
from recordings import record
from se4lip import cli
from se4lip.artifacts.encoder import save_encoder
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.evaluation.video import EvaluateConfig, evaluate_video
from se4lip.face.tracker import Face
from se4lip.io.judges import SYNCNET
from se4lip.metrics import landmarks
from se4lip.metrics.lpips import Lpips
from se4lip.types import InputError

pytestmark = pytest.mark.usefixtures("no_judges")
_FRAMES = 50
_TALK = 0.5 + 0.5 * np.sin(np.arange(_FRAMES) * 0.9)  # how bright the mouth is
_MOUTH = np.s_[88:104, 50:78]


class _BrightMouthTracker:
    """One face of 100 px; a bright mouth is an open one; a green corner hides the face."""

    name = "bright mouths"

    def track(self, rgb: np.ndarray) -> list[Face]:
        if int(rgb[0, 0, 1]) - int(rgb[0, 0, 0]) > 60:
            return []
        opening = rgb[_MOUTH].mean() / 255
        points = mask()
        points[list(landmarks.LIPS), :2] = points[list(landmarks.LIPS), :2] * 0.25 + (0.38, 0.7)
        points[list(landmarks.WIDEST)] = (0, 0.5, 0.2), (1, 0.5, 0.2)
        points[list(landmarks.UPPER_INNER), 1] = 0.7
        points[list(landmarks.LOWER_INNER), 1] = 0.7 + 0.15 * opening
        points[list(landmarks.LOWER_INNER), 0] = points[list(landmarks.UPPER_INNER), 0]
        points[list(landmarks.LOWER_INNER), 2] = points[list(landmarks.UPPER_INNER), 2]
        shapes = np.zeros(52, np.float32)
        shapes[25] = opening
        face = (100 * points + [14, 14, 0]).astype(np.float32)
        return [Face(face, shapes, np.eye(4, dtype=np.float32))]


def _pictures(openings: np.ndarray, hidden: tuple[int, ...] = (), size=(128, 128)) -> list:
    ground = np.random.default_rng(0).integers(60, 120, (size[1] // 8, size[0] // 8, 3), np.uint8)
    pictures = []
    for t, opening in enumerate(openings):
        picture = ground.repeat(8, 0).repeat(8, 1)
        picture[_MOUTH] = round(255 * opening)
        picture[:16, :16] = (20, 200, 20) if t in hidden else (90, 90, 90)
        pictures.append(picture)
    return pictures


def _speech(seconds: float) -> np.ndarray:
    """Bursts of noise between pauses: loud enough to be taken for speech."""
    time = np.arange(round(seconds * 48_000)) / 48_000
    rng = np.random.default_rng(1)
    loud = np.where((time % 1.0 > 0.3) & (time % 1.0 < 0.9), 0.3, 0.0003)
    return (loud * rng.normal(size=len(time))).clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    times = np.arange(_FRAMES) / 25
    sound = _speech(2)
    record(folder / "real.mp4", _pictures(_TALK), times, sound)
    record(folder / "late.mp4", _pictures(np.roll(_TALK, 2)), times, sound)
    record(folder / "mute.mp4", _pictures(_TALK), times)
    record(folder / "silent.mp4", _pictures(_TALK), times, 0 * sound)
    record(folder / "hidden.mp4", _pictures(_TALK, tuple(range(10, 20))), times, sound)
    record(folder / "nobody.mp4", _pictures(_TALK, tuple(range(_FRAMES))), times, sound)
    mostly = tuple(range(20, 50))
    record(folder / "mostly_hidden.mp4", _pictures(_TALK, mostly), times, sound)
    spoken = (*range(10, 23), *range(35, 47))
    record(folder / "speech_hidden.mp4", _pictures(_TALK, spoken), times, sound)
    record(folder / "short.mp4", _pictures(_TALK[:40]), times[:40], sound)
    record(folder / "cut.mp4", _pictures(_TALK[:49]), times[:49], sound)
    record(folder / "wide.mp4", _pictures(_TALK, size=(160, 128)), times, sound)
    torch.manual_seed(0)
    save_encoder(folder / "encoder.safetensors", SE4Lip(SE4LipConfig()).eval(), {})
    return folder


def _judge(folder: Path, predicted: str, reference: str | None = None, **how):
    config = EvaluateConfig(encoder=folder / "encoder.safetensors")
    real = None if reference is None else folder / reference
    tracker = _BrightMouthTracker()
    return evaluate_video(folder / predicted, real, config=config, tracker=tracker, **how)[0]


def test_a_video_is_judged_beside_the_real_one(folder: Path) -> None:
    report = _judge(folder, "late.mp4", "real.mp4")
    assert report.frames == _FRAMES
    expected = np.corrcoef(np.roll(_TALK, 2)[2:], _TALK[2:])[0, 1]
    correlation = report["aperture_correlation"].predicted.number
    assert correlation == pytest.approx(expected, abs=0.05)
    # The lower inner lips, 3 of 40 points, move by 0.15 of a 256-px face times the difference.
    apart = np.abs(np.roll(_TALK, 2) - _TALK).mean() * 0.15 * 256 * 3 / 40
    for key in ("lmd_px256", "lmd_head_aligned_px256"):
        assert report[key].predicted.number == pytest.approx(apart, rel=0.05)
    blendshapes = report["blendshape_error"].predicted.number
    assert blendshapes == pytest.approx(np.abs(np.roll(_TALK, 2) - _TALK).mean() / 27, rel=0.05)
    for key in ("face_seen", "jitter_px256", "silent_motion_px256"):
        figure = report[key]
        assert figure.predicted.number is not None and figure.real is not None
        assert figure.real.number == pytest.approx(figure.predicted.number, rel=0.15)
    for key in ("sync_offset_frames", "sync_confidence", "sync_distance", "sync_lead"):
        assert report[key].predicted.number is not None, report[key].predicted.why


def test_picture_figures_see_the_mouth_apart_from_the_rest(folder: Path) -> None:
    late = _judge(folder, "late.mp4", "real.mp4")
    assert late["psnr_mouth_db"].predicted.number < late["psnr_db"].predicted.number - 3
    assert late["ssim_mouth"].predicted.number < late["ssim"].predicted.number
    same = _judge(folder, "mute.mp4", "real.mp4")
    assert same["psnr_db"].predicted.number is None  # the same pictures, coded alike
    assert same["psnr_db"].predicted.why == "infinite: a picture equals the real one"
    assert same["ssim"].predicted.number == pytest.approx(1)


def test_without_a_reference_only_what_needs_none_is_computed(folder: Path) -> None:
    report = _judge(folder, "late.mp4")
    assert report["psnr_db"].predicted.why == "needs --reference"
    assert report["closure_f1"].predicted.why == (
        "needs the times of the phones: pass --phones FILE"
    )
    assert report["jitter_px256"].predicted.number > 0
    assert all(figure.real is None for figure in report.figures)


def test_a_judge_that_is_not_here_says_what_to_supply(folder: Path) -> None:
    report = _judge(folder, "late.mp4", "real.mp4")
    why = report["lse_c"].predicted.why
    assert why == report["lse_d"].real.why
    assert why == (
        f"syncnet_v2.model is not here: set SE4LIP_SYNCNET to a copy of {SYNCNET.url}, or pass "
        "--fetch"
    )
    assert report["lpips_alex"].predicted.why == (
        "alexnet-owt-7be5be79.pth is not here: set SE4LIP_LPIPS_ALEXNET to a copy of "
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth, or pass --fetch"
    )
    lines = report.missing()
    assert len([line for line in lines if "syncnet_v2.model" in line]) == 1
    assert lines[-1].startswith("not computed: SyncNet: offset, frames; LSE-C, ")


def test_a_judge_with_other_weights_is_used_and_told(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = Lpips("alex").state_dict()
    network = {name: state[name] for name in state if name.startswith("features.")}
    heads = {f"lin{i}.model.1.weight": state[f"heads.{i}.weight"].abs() for i in range(5)}
    files = tmp_path / "network.safetensors", tmp_path / "heads.safetensors"
    save_file(network, files[0])
    save_file(heads, files[1])
    report, _ = evaluate_video(
        folder / "late.mp4",
        folder / "real.mp4",
        config=EvaluateConfig(lpips_backbone=files[0], lpips_heads=files[1]),
        tracker=_BrightMouthTracker(),
    )
    assert report["lpips_alex"].predicted.number > 0
    assert [note.split(" (SHA")[0] for note in report.notes] == [
        f"{files[0]} stands for alexnet-owt-7be5be79.pth but is another file",
        f"{files[1]} stands for alex.pth but is another file",
    ]


def test_a_face_that_vanishes_costs_frames_and_not_the_report(folder: Path) -> None:
    report = _judge(folder, "hidden.mp4", "real.mp4")
    assert report["face_seen"].predicted.number == pytest.approx(0.8)
    assert report["face_seen"].real.number == 1
    assert report["aperture_correlation"].predicted.number > 0.98


def test_where_no_frame_has_a_face_the_pictures_alone_are_compared(folder: Path) -> None:
    nobody = _judge(folder, "nobody.mp4", "real.mp4")
    said = f"no face in any frame of {folder / 'nobody.mp4'}: only the pictures are compared"
    assert nobody.notes == (said,)
    assert nobody["face_seen"].predicted.number == 0
    assert nobody["lmd_px256"].predicted.why == f"no face in {folder / 'nobody.mp4'}"
    assert nobody["sync_lead"].predicted.why == f"no face in {folder / 'nobody.mp4'}"
    assert nobody["ssim_mouth"].predicted.number is not None
    real_hidden = _judge(folder, "real.mp4", "nobody.mp4")
    assert real_hidden["psnr_db"].predicted.number is not None
    assert real_hidden["psnr_mouth_db"].predicted.why == (
        "nothing in these videos to measure it on"
    )


def test_without_a_face_and_without_a_reference_there_is_nothing_to_measure(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no face in any frame of .*nobody\.mp4: give a video of"):
        _judge(folder, "nobody.mp4")


def test_sync_is_read_only_in_sight_of_a_face(folder: Path) -> None:
    why = {
        key: _judge(folder, "mostly_hidden.mp4")[key].predicted.why
        for key in ("sync_lead", "judge_distance")
    }
    told = f"a face is seen in 40% of the frames of {folder / 'mostly_hidden.mp4'}, and sync needs"
    assert all(text.startswith(told) for text in why.values()), why
    # The frames that are gone are those in which somebody speaks: what is left says too little.
    unsaid = _judge(folder, "speech_hidden.mp4")["sync_lead"].predicted.why
    assert unsaid.startswith("too little speech in the sound of")


def test_sound_that_is_missing_or_silent_is_named(folder: Path) -> None:
    mute = _judge(folder, "mute.mp4")
    assert mute["sync_lead"].predicted.why == (
        f"{folder / 'mute.mp4'} has no sound: pass --audio FILE"
    )
    silent = _judge(folder, "silent.mp4")
    assert silent["sync_lead"].predicted.why == (
        f"too little speech in the sound of {folder / 'silent.mp4'} in sight of a face"
    )
    borrowed = _judge(folder, "mute.mp4", "real.mp4")
    assert borrowed.notes == (
        f"{folder / 'mute.mp4'} has no sound: it is judged with that of {folder / 'real.mp4'}",
    )
    given = _judge(folder, "mute.mp4", audio=folder / "real.mp4")
    assert given["sync_lead"].predicted.number == pytest.approx(
        borrowed["sync_lead"].predicted.number, rel=0.2
    )


def test_other_speech_than_the_real_videos_is_silent_where_it_is_silent(tmp_path: Path) -> None:
    """Ours speaks in the first two seconds, the real one in the last two; either rests else."""
    times, noise = np.arange(100) / 25, 0.3 * np.random.default_rng(2).normal(size=4 * 48_000)
    talk = np.where(np.arange(100) < 50, 0.5 + 0.5 * np.sin(np.arange(100)), 0.0)
    first = np.where(np.arange(len(noise)) < 2 * 48_000, noise, 0).clip(-1, 1).astype(np.float32)
    ours = record(tmp_path / "ours.mp4", _pictures(talk), times, first)
    record(tmp_path / "real.mp4", _pictures(talk[::-1]), times, first[::-1].copy())
    save_encoder(tmp_path / "encoder.safetensors", SE4Lip(SE4LipConfig()).eval(), {})
    report = _judge(tmp_path, "ours.mp4", "real.mp4", audio=ours)
    moving = report["silent_moving_share"]
    assert (moving.predicted.number, moving.real.number) == (0, 0)
    (tmp_path / "phones.txt").write_text("0.4 0.48 B\n")
    phones = {"phones": tmp_path / "phones.txt", "audio": ours}
    closes = _judge(tmp_path, "ours.mp4", "real.mp4", **phones)["closure_recall"]
    assert closes.predicted.number is not None
    assert closes.real.why == "says something else than the sound given, whose phones these are"
    closes = _judge(tmp_path, "ours.mp4", "ours.mp4", **phones)["closure_recall"]
    assert closes.real.number is not None
    unsaid = _judge(tmp_path, "ours.mp4", "real.mp4")["silent_moving_share"]
    assert unsaid.predicted.number > 0.4  # it should say what the real one says


def test_sound_in_which_nobody_is_heard_is_told(tmp_path: Path) -> None:
    times, hiss = np.arange(50) / 25, 0.1 * np.random.default_rng(2).normal(size=2 * 48_000)
    record(tmp_path / "even.mp4", _pictures(np.zeros(50)), times, hiss.astype(np.float32))
    save_encoder(tmp_path / "encoder.safetensors", SE4Lip(SE4LipConfig()).eval(), {})
    (note,) = _judge(tmp_path, "even.mp4").notes
    assert note == (
        f"nobody is heard speaking in {tmp_path / 'even.mp4'}, whose sound is too low or too even: "
        "all of it counts as silence"
    )


def test_sound_that_is_over_before_the_video_is_told(folder: Path, tmp_path: Path) -> None:
    record(tmp_path / "half.wav", None, sound=_speech(1), audio_codec="pcm_s16le")
    notes = _judge(folder, "real.mp4", audio=tmp_path / "half.wav").notes
    assert notes == (
        f"{tmp_path / 'half.wav'} lasts 25 frames, {folder / 'real.mp4'} 50: where the sound is "
        "over, nobody speaks",
    )


def test_videos_of_different_length_are_refused_beyond_two_frames(folder: Path) -> None:
    with pytest.raises(InputError) as wrong:
        _judge(folder, "short.mp4", "real.mp4")
    assert str(wrong.value) == (
        f"{folder / 'short.mp4'} has 40 frames, {folder / 'real.mp4'} 50: cut both to the same part"
    )
    report = _judge(folder, "cut.mp4", "real.mp4")
    assert report.frames == 49
    assert report.notes == (
        f"{folder / 'cut.mp4'} has 49 frames, {folder / 'real.mp4'} 50: the first 49 are compared",
    )


def test_videos_of_different_size_are_compared_by_their_lips_alone(folder: Path) -> None:
    report = _judge(folder, "wide.mp4", "real.mp4")
    for key in ("psnr_db", "ssim_mouth", "lpips_alex", "lmd_px256"):
        assert report[key].predicted.why == (
            f"{folder / 'wide.mp4'} is 160x128, {folder / 'real.mp4'} 128x128: "
            "bring both to the same framing"
        )
    assert report["lmd_head_aligned_px256"].predicted.number < 0.1
    assert report["aperture_correlation"].predicted.number > 0.99


def test_closure_is_counted_on_the_phones_given(folder: Path, tmp_path: Path) -> None:
    closed = int(np.argmin(_TALK[10:20])) + 10
    phones = tmp_path / "phones.txt"
    phones.write_text(
        f"# drawn\n\n0.0 {(closed - 1) / 25} SIL\n{(closed - 1) / 25}\t{(closed + 1) / 25}\tM\n"
    )
    report = _judge(folder, "late.mp4", "real.mp4", phones=phones)
    assert report["closure_recall"].real.number == 1
    assert report["closure_recall"].predicted.number == 0  # it closes two frames later


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1 b\n", "line 1 of phone file {} is '0.1 b', but START_S END_S PHONE is needed"),
        ("0 1 a\nx y b\n", "line 2 of phone file {} is 'x y b', but START_S END_S PHONE is needed"),
        ("# nothing\n", "phone file {} names no phone: one a line is needed"),
        ("", "phone file {} is empty (0 bytes): fetch or make it again"),
    ],
)
def test_phone_files_that_are_none_are_refused(
    folder: Path, tmp_path: Path, text: str, message: str
) -> None:
    phones = tmp_path / "phones.txt"
    phones.write_text(text)
    with pytest.raises(InputError) as wrong:
        _judge(folder, "late.mp4", "real.mp4", phones=phones)
    assert str(wrong.value) == message.format(phones)


def _command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(
        "se4lip.commands.evaluate.mediapipe_tracker", lambda model: _BrightMouthTracker()
    )
    return cli.main(["evaluate", "video", *map(str, arguments)])


def test_the_command_prints_strict_json_and_writes_the_sheet(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    files = folder / "mute.mp4", "--reference", folder / "real.mp4"
    flags = "--json", "--sheet", tmp_path / "sheet.png", "--encoder", folder / "encoder.safetensors"
    assert _command(monkeypatch, *files, *flags) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert told["predicted"] == str(folder / "mute.mp4")
    assert told["figures"]["ssim"]["predicted"] == pytest.approx(1)
    assert told["figures"]["psnr_db"] == {
        "label": "PSNR, dB",
        "better": "higher",
        "predicted": None,
        "predicted_not_computed": "infinite: a picture equals the real one",
    }
    assert told["figures"]["jitter_px256"]["real"] > 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_a_table_and_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert _command(monkeypatch, folder / "late.mp4", "--reference", folder / "real.mp4") == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.strip().startswith("frames with a face"))
    assert row.split()[-3:] == ["1", "1", "higher"]
    assert "not computed: LPIPS (alex): alexnet-owt-7be5be79.pth is not here" in out


def test_the_command_ends_with_three_where_only_pictures_could_be_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    nobody = folder / "nobody.mp4"
    assert _command(monkeypatch, nobody, "--reference", folder / "real.mp4") == 3
    assert f"no face in any frame of {nobody}: only the pictures" in capsys.readouterr().out
    assert _command(monkeypatch, nobody) == 2
    assert capsys.readouterr().err.startswith(f"se4lip: no face in any frame of {nobody}: give")


def test_files_that_cannot_be_read_are_one_sentence_and_exit_code_two(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sheet = tmp_path / "sheet.png"
    assert _command(monkeypatch, empty, "--sheet", sheet) == 2
    assert capsys.readouterr().err == (
        f"se4lip: video {empty} is empty (0 bytes): fetch or record it again\n"
    )
    absent = tmp_path / "absent.wav"
    assert _command(monkeypatch, folder / "late.mp4", "--audio", absent, "--sheet", sheet) == 2
    assert "absent.wav" in capsys.readouterr().err
    assert not sheet.exists()
