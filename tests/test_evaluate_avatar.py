"""``evaluate avatar`` on a drawn puppet, whose tracker sees what the test wants it to see."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import puppet
from se4lip import cli
from se4lip.artifacts.avatar import load_avatar
from se4lip.artifacts.encoder import save_encoder
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.evaluation.avatar import curves, drawn_on, evaluate_avatar, frames_learned
from se4lip.evaluation.rendered_takes import Rendered
from se4lip.evaluation.video import EvaluateConfig
from se4lip.face.tracker import Face
from se4lip.io.dataset import open_dataset
from se4lip.metrics.report import FIGURES
from se4lip.train.avatar import train_avatar
from se4lip.train.avatar_material import Take, takes_of
from se4lip.types import InputError

pytestmark = pytest.mark.usefixtures("no_judges")
RECIPE = puppet.recipe((4, 4, 8, 10, 12), speech_steps=2, picture_steps=2)
FRAMES = 10  # of a take: the last tenth of a recording; there are two


class ScriptedTracker:
    """Asked for the real pictures of a take, then for the drawn ones, as ``evaluate avatar`` does;
    drawn lips are real lips, and on the drawn frames ``lost`` there is no face."""

    name = "scripted"

    def __init__(self, lost: tuple[int, ...] = ()) -> None:
        self.asked, self.lost = 0, lost
        self.points = puppet.track(FRAMES, seed=5).landmarks_px

    def track(self, rgb: np.ndarray) -> list[Face]:
        turn, frame = divmod(self.asked, FRAMES)
        self.asked += 1
        if turn % 2 and frame in self.lost:
            return []
        shapes = np.zeros(52, np.float32)
        return [Face(self.points[frame], shapes, np.eye(4, dtype=np.float32))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    dataset = puppet.make_dataset(folder)
    train_avatar(dataset, folder, RECIPE, features=folder / "features", report=lambda _: None)
    torch.manual_seed(0)
    save_encoder(folder / "encoder.safetensors", SE4Lip(SE4LipConfig()).eval(), {})
    return folder


def judged(made: Path, lost: tuple[int, ...]) -> tuple[dict, list[Rendered]]:
    shown: list[Rendered] = []
    report = evaluate_avatar(
        *(made / "avatar.safetensors", made / "dataset", ScriptedTracker(lost)),
        features=made / "features",
        all_looks=True,
        on_take=shown.append,
        judges=EvaluateConfig(encoder=made / "encoder.safetensors"),
    )
    return report.plain(), shown


def test_lost_faces_are_counted_and_their_filled_in_points_are_not_judged(made: Path) -> None:
    report, shown = judged(made, lost=(3, 4))
    assert (report["frames"], report["takes"]) == (2 * FRAMES, 2)
    assert (report["face_seen"], report["real_face_seen"]) == (0.8, 1)
    assert report["lmd_px256"] == pytest.approx(0, abs=1e-9)  # interpolated lips would not be
    assert np.isnan(shown[0].drawn_side.points()[3:5]).all()
    assert np.isfinite(shown[0].drawn_track.landmarks_px).all()


def test_a_head_without_a_face_is_a_figure_and_not_an_end(made: Path) -> None:
    report, _ = judged(made, lost=tuple(range(FRAMES)))
    assert report["face_seen"] == 0
    assert report["lmd_px256"] is None
    assert report["ssim"] > 0.1
    assert report["not_computed"]["sync"].startswith("2 of 2 takes are left out of sync: a face is")


def test_curves_show_rendered_beside_real_and_gaps_where_no_face_is(made: Path) -> None:
    pytest.importorskip("matplotlib")
    shown = [judged(made, lost)[1][0] for lost in ((), tuple(range(2, 8)))]
    whole, broken = curves(shown[:1]), curves(shown[1:])
    blue = [(p[..., 2].astype(int) - p[..., 0] > 60).sum() for p in (whole, broken)]
    assert blue[1] < 0.8 * blue[0]  # rendered lips are a blue line
    assert curves(shown).shape[0] > 1.4 * whole.shape[0]


def command(made: Path, monkeypatch: pytest.MonkeyPatch, *flags: object) -> int:
    monkeypatch.setattr(
        "se4lip.commands.evaluate_avatar.mediapipe_tracker", lambda _: ScriptedTracker()
    )
    files = made / "avatar.safetensors", made / "dataset"
    judges = "--features", made / "features", "--encoder", made / "encoder.safetensors"
    given = ("evaluate", "avatar", *files, *judges, "--all-looks", "--json", *flags)
    return cli.main([str(part) for part in given])


def test_figures_are_called_as_in_evaluate_video(made, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        "se4lip.commands.evaluate_avatar.print_json", lambda plain: told.append(set(plain))
    )
    told: list[set[str]] = []
    assert command(made, monkeypatch) == 0
    other = {"avatar", "dataset", "split", "driver", "takes", "takes_of_other_looks", "frames"}
    other |= {"frames_learned"}
    plain = {key.removeprefix("real_") for key in told[0]} - other
    assert plain - set(FIGURES) == {"silent_frames", "not_computed"}


def test_the_command_writes_curves(made, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "new" / "curves.png"
    assert command(made, monkeypatch, "--curves", picture, "--device", "auto") == 0
    assert json.loads(capsys.readouterr().out)["face_seen"] == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in picture.parent.iterdir()] == ["curves.png"]


def test_curves_that_cannot_be_drawn_are_refused_before_anything_is_judged(
    made, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("se4lip.commands.evaluate_avatar.judge", None)
    assert command(made, monkeypatch, "--curves", tmp_path / "a.png") == 2
    assert capsys.readouterr().err.startswith("se4lip: pictures of measurements need matplotlib")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_here_is_named(made, monkeypatch, capsys) -> None:
    assert command(made, monkeypatch, "--device", "cuda") == 2
    sound, out = made / "videos" / "take01.mp4", made / "said.mp4"
    spoken = ("speak", made / "avatar.safetensors", sound, "-o", out, "--device", "cuda")
    assert cli.main([str(part) for part in spoken]) == 2
    assert not out.exists()
    told = capsys.readouterr().err
    assert told.count("torch finds no CUDA device here: give --device cpu") == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_splats_on_a_gpu_draw_what_the_cpu_draws(made: Path) -> None:
    pytest.importorskip("gsplat")
    codes = torch.zeros(2, 3)
    drawn = []
    for device in ("cpu", "cuda"):
        avatar = drawn_on(load_avatar(made / "avatar.safetensors"), device)
        drawn.append(np.stack(list(avatar.head.pictures(codes, avatar.replay[:2]))).astype(int))
    assert np.abs(drawn[0] - drawn[1]).mean() < 0.5  # of 255


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--renderer", "nerf"), "was drawn by the renderer 'splat', and --seen keeps it: leave"),
        (("--videos", "."), "with --seen only hearing is learned, on the CPU and without pictures"),
        (("--device", "cuda"), "with --seen only hearing is learned, on the CPU and without"),
        (
            ("--pictures.steps", "7", "--material.mouth-codes", "5", "--no-sways"),
            "with --seen no looks are learned: leave --material and --sways and --pictures out",
        ),
    ],
)
def test_what_seen_could_not_heed_is_refused(made, tmp_path, capsys, flags, sentence) -> None:
    seen = made / "avatar.safetensors"
    given = ("train", "avatar", made / "dataset", "-o", tmp_path / "out", "--seen", seen, *flags)
    assert cli.main([str(part) for part in given]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--nerf.pictures.steps", "10"),
            "heads drawn by 'splat' know nothing of --nerf: give --renderer nerf, or leave --nerf "
            "out",
        ),
        (
            ("--renderer", "nerf", "--pictures.steps", "10", "--curves", "3"),
            "heads drawn by 'nerf' know nothing of --curves and --pictures: give --renderer splat,",
        ),
    ],
)
def test_options_of_the_other_renderer_are_refused(made, tmp_path, capsys, flags, said) -> None:
    given = ("train", "avatar", made / "dataset", "-o", tmp_path / "out", *flags)
    assert cli.main([str(part) for part in given]) == 2
    assert capsys.readouterr().err.startswith(f"se4lip: {said}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        (("--features", "logmel", "--hearing-of", "none"), "--features and --hearing-of"),
        (("--certainty", "7", "--noise.sounds", "3"), "--noise and --certainty"),
        (("--also-still", "rain.wav"), "--also-still"),
        (
            ("--seen", "SEEN", "--also-spoken", "talk.wav", "--hidden", "9"),
            "--also-spoken and --hidden",
        ),
    ],
)
def test_what_would_teach_hearing_is_refused_where_hearing_is_kept(
    made, tmp_path, capsys, flags, refused
) -> None:
    kept = made / "avatar.safetensors"
    given = ("train", "avatar", made / "dataset", "-o", tmp_path / "out", "--keep-hearing", kept)
    given += tuple(kept if flag == "SEEN" else flag for flag in flags)
    assert cli.main([*map(str, given)]) == 2
    sentence = f"with --keep-hearing no hearing is learned: leave {refused} out"
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_noise_of_a_head_that_hears_files_cannot_be_known(made, tmp_path, capsys) -> None:
    kept = made / "avatar.safetensors"
    given = ("train", "avatar", made / "dataset", "-o", tmp_path / "out")
    assert cli.main([*map(str, given), "--seen", str(kept), "--keep-hearing", str(kept)]) == 2
    assert "what noise is in them cannot be known" in capsys.readouterr().err


def test_a_real_video_without_a_face_cannot_be_judged(made: Path) -> None:
    class Blind:
        name = "blind"

        def track(self, rgb: np.ndarray) -> list[Face]:
            return []

    with pytest.raises(InputError, match="no face"):
        evaluate_avatar(
            *(made / "avatar.safetensors", made / "dataset", Blind()),
            features=made / "features",
            all_looks=True,
            judges=EvaluateConfig(encoder=made / "encoder.safetensors"),
        )


def test_frames_that_an_avatar_learned_from_are_told(made, monkeypatch, capsys) -> None:
    assert judged(made, lost=())[0]["frames_learned"] == 0
    avatar = load_avatar(made / "avatar.safetensors")
    data = open_dataset(made / "dataset")
    learned = {tuple(take) for take in avatar.details["learned_from"]["takes"]}
    assert learned == {(t.clip, t.start, t.stop) for t in takes_of(data, "train")}
    for take in takes_of(data, "train"):
        assert frames_learned(avatar, data, take) == len(take)
        half = Take(take.clip, take.stop - 3, take.stop + 50)
        assert frames_learned(avatar, data, half) == 3
    monkeypatch.setattr("se4lip.evaluation.avatar.frames_learned", lambda *_: 7)
    assert command(made, monkeypatch, "--most-takes", 1) == 0
    assert f"7 of {FRAMES} frames are such as this avatar learned from" in capsys.readouterr().err


def test_what_is_missing_or_none_is_told_before_anything_is_drawn(made, tmp_path) -> None:
    def never(rendered: Rendered) -> None:
        raise AssertionError("something was drawn")

    for flags, sentence in (
        ({"most_takes": 0}, "--most-takes 0 was asked for: give 1 or more"),
        ({"phones": tmp_path}, f"cannot read phone file {tmp_path}"),
    ):
        with pytest.raises(InputError) as error:
            evaluate_avatar(
                *(made / "avatar.safetensors", made / "dataset", ScriptedTracker()),
                features=made / "features",
                all_looks=True,
                on_take=never,
                **flags,
            )
        assert str(error.value).startswith(sentence)
