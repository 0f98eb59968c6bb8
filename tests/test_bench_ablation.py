"""The ablation: variants differ in what they say and in nothing else, teach rows of one moment,
reach a head, and are never computed twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.bench import ablation_task
from se4lip.bench.ablation import ablation, ranking
from se4lip.bench.ablation_config import AblationConfig, page_name
from se4lip.bench.ablation_judge import embedded, head_proxy, judge
from se4lip.bench.ablation_task import (
    AblationTask,
    Budget,
    Heard,
    Pair,
    digest,
    load_pair,
    teach,
)
from se4lip.bench.variants import SHIPPED, first_stage, full_cross
from se4lip.cli import main
from se4lip.features.catalogue import load_features
from se4lip.features.variant import Variant, VariantFeatures
from se4lip.io.dataset import open_dataset
from se4lip.types import SAMPLES_PER_FRAME, InputError

SILENT = {"report": lambda line: None}
SMALL = Variant(front="mfcc", hidden=64)  # quick to make


def test_the_first_stage_crosses_fronts_and_nets_and_changes_one_thing_more_at_a_time():
    tried = first_stage()
    assert len(tried) == len(set(tried)) == 19
    assert {(one.front, one.net) for one in tried if one.window_frames == 5} == {
        (front, net)
        for front in ("stft", "logmel", "mfcc", "raw")
        for net in ("gru", "lstm", "tcn", "transformer")
    }
    assert set(tried) < set(full_cross())


# --- the task -------------------------------------------------------------------------------------


def coded(lag: int, frames: int = 40, clips: int = 6) -> list[Heard]:
    """Clips in which every frame of sound and lips carries a number of its own, the lips ``lag``
    frames after the sound."""
    made = []
    for seed in range(clips):
        code = torch.randn(frames + 20, generator=torch.Generator().manual_seed(seed))
        sound, seen = code[10 : 10 + frames], code[10 - lag : 10 - lag + frames]
        samples = sound.repeat_interleave(SAMPLES_PER_FRAME)
        contour = seen[:, None].expand(-1, 147).contiguous()
        made.append(Heard(samples, contour, torch.ones(frames, dtype=torch.bool)))
    return made


@pytest.fixture
def reader():
    """A pair that need not learn: its front and net read the sound's code of the window's five
    frames, its lips' side reads theirs, and one fixed map makes either a point."""
    torch.manual_seed(0)
    pair = Pair(SMALL).eval()
    to_point = torch.randn(5, 512)
    speech = pair.speech
    window, columns = speech.variant.window, speech.columns

    def codes_as_columns(samples, frames):
        whole = columns(samples, frames)  # as many as the encoder takes
        before = window.past_frames * SAMPLES_PER_FRAME
        padded = torch.nn.functional.pad(samples, (before, 3 * SAMPLES_PER_FRAME))
        starts = torch.arange(whole.shape[1]) * 160
        return padded[:, starts + 200, None].expand(-1, -1, whole.shape[2])

    class Five(torch.nn.Module):
        def forward(self, windows):
            return windows[:, :17:4, 0] @ to_point

    class FiveSeen(torch.nn.Module):
        def forward(self, windows):
            seen = windows.unflatten(-1, (5, 147))[..., 0]
            return torch.nn.functional.gelu(seen) @ to_point  # as the encoder does to columns

    speech.columns = codes_as_columns
    speech.project = speech.norm = speech.drop = speech.embed_last = torch.nn.Identity()
    speech.net, pair.lips = Five(), FiveSeen()
    torch.nn.init.zeros_(pair.read.weight)
    return pair


@pytest.mark.parametrize("learns", [False, True])
def test_lips_and_sound_of_one_moment_are_one_row(reader, learns, monkeypatch):
    """The loss of a pair that reads the code is lowest for sound and lips that belong together."""
    monkeypatch.setattr(reader.speech.front, "learns", learns)  # either way to the columns
    losses = {}
    for lag in (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5):
        task = AblationTask(reader, coded(lag), Budget(1, clips=4, stride=2))
        torch.manual_seed(0)
        with torch.no_grad():
            losses[lag] = float(np.mean([task.loss(step)[0].item() for step in range(3)]))
    assert min(losses, key=losses.get) == 0
    assert losses[0] < 0.5 * min(value for lag, value in losses.items() if lag)


def test_judged_rows_are_of_one_moment(reader):
    for lag, right in ((0, 1.0), (3, 0.2)):
        clips = coded(lag)
        speech, lips = embedded(reader, clips[0])
        if lag == 0:
            torch.testing.assert_close(speech[5:-5], lips[5:-5], atol=1e-3, rtol=0)
        proxy, _ = head_proxy(reader, clips, clips)
        found = judge(reader, clips, proxy)
        reached = (found["offset_5"], found["offset_15"], found["retrieval"])
        assert all(one == 1 if right == 1 else one < right for one in reached)
        assert 0 < found["chance_5"] < 0.2


def test_silent_clips_ask_nothing(reader):
    quiet = [replace(one, speaking=torch.zeros(40, dtype=torch.bool)) for one in coded(0)]
    proxy, _ = head_proxy(reader, quiet, quiet)
    found = judge(reader, quiet, proxy)
    assert found["offset_5"] is found["retrieval"] is None and found["lips_r2"] is not None


def test_a_step_shows_no_clip_twice(monkeypatch):
    """Two rows of one moment would be negatives of each other."""
    pair = Pair(SMALL)
    task = AblationTask(pair, coded(0, clips=4), Budget(1, clips=4, stride=8))
    seen = []
    monkeypatch.setattr(
        task, "_heard", lambda chosen, frames: seen.append(chosen) or torch.zeros(4, 180, 26)
    )
    task.loss(0)
    assert sorted(seen[0]) == [0, 1, 2, 3]
    assert task.windows == 4 * task.module.embed_lips(torch.zeros(40, 147))[::8].shape[0]


def test_other_data_is_another_run_and_the_same_is_found(tmp_path, monkeypatch):
    clips = coded(0, clips=4)
    moved = [*clips[:3], replace(clips[3], samples=clips[3].samples.roll(640))]
    assert digest(clips) != digest(moved), "an offset between sound and lips decides figures"
    given = dict(variant=SMALL, seed=0, budget=Budget(2, 2, 8), work=tmp_path, **SILENT)
    first, found = teach(clips=clips, clips_digest=digest(clips), **given)
    assert not found and not list(first.parent.glob("checkpoint*"))
    second, found = teach(clips=moved, clips_digest=digest(moved), **given)
    assert not found and second != first
    assert teach(clips=clips, clips_digest=digest(clips), **given) == (first, True)
    monkeypatch.setattr(ablation_task, "VERSION", -1)
    assert teach(clips=clips, clips_digest=digest(clips), **given)[1] is False


# --- the whole of it ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return puppet.make_dataset(tmp_path_factory.mktemp("many"), recordings=20, frames=30)


TINY = AblationConfig(
    steps=2, clips=2, stride=8, train_clips=3, finalists=1, final_steps=3, final_seeds=2, heads=1
)
FEW = [SHIPPED, Variant(front="raw", hidden=64), Variant(front="mfcc", causal=True, hidden=64)]


def test_the_ablation_chooses_and_goes_on(many, tmp_path, monkeypatch):
    monkeypatch.setattr(AblationConfig, "variants", FEW)
    shares, lines = [], []
    given = (many, [many], tmp_path / "work", tmp_path / "out", TINY)
    page = ablation(*given, shares.append, lines.append)
    found = json.loads(page.with_suffix(".json").read_text())
    rows = found["rows"]
    first = [row for row in rows if row["stage"] == 1]
    assert [row["variant"] for row in first] == [one.name for one in FEW]
    assert {row["steps"] for row in first} == {2}
    assert {row["steps"] for row in rows if row["stage"] == 2} == {3}
    assert {"numbers", "windows", "seconds"} <= set(rows[0]) and rows[0]["windows"] > 0
    assert set(rows[0]["sets"]) == {"same speaker", open_dataset(many).name}
    assert all(np.isfinite(row["sets"]["same speaker"]["lips_r2"]) for row in rows)
    best = max(first, key=lambda row: row["validation_r2"])["variant"]
    finalists = {row["variant"] for row in rows if row["stage"] == 2}
    assert finalists == {best, SHIPPED.name}
    text = page.read_text()
    assert {one["variant"] for one in found["chosen"]} <= finalists
    for one in found["chosen"]:
        assert f"variant:{one['file']}" in text
        assert str(tmp_path) not in text
        file = one["file"].replace("WORK", str(tmp_path / "work"), 1)
        assert isinstance(load_features(f"variant:{file}"), VariantFeatures)
    assert shares == sorted(shares) and shares[-1] == 1.0 and 0 < shares[0] < 0.3
    assert any("left in all" in line for line in lines)

    monkeypatch.setattr(ablation_task, "train", lambda *a, **k: pytest.fail("taught again"))
    monkeypatch.setattr("se4lip.bench.ablation.judge", lambda *a: pytest.fail("judged again"))
    again = json.loads(ablation(*given, **SILENT).with_suffix(".json").read_text())
    assert again["rows"] == rows


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """And is then what it would have been: weights of a stopped and of a whole run are equal."""
    clips = coded(0, clips=4)
    given = (SMALL, 0, Budget(6, 2, 8), clips, digest(clips))
    whole, _ = teach(*given, tmp_path / "whole", **SILENT)

    def killed(step):
        if step == 3:
            raise KeyboardInterrupt

    loop = ablation_task.LoopConfig
    often = lambda **k: loop(**k, checkpoint_every_s=0.0)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_task, "LoopConfig", often)
        with pytest.raises(KeyboardInterrupt):
            teach(*given, tmp_path / "cut", on_step=killed, **SILENT)
        steps = []
        cut, _ = teach(*given, tmp_path / "cut", on_step=steps.append, **SILENT)
    assert steps == [3, 4, 5]
    whole_tensors, cut_tensors = (
        load_pair(file, torch.device("cpu"))[0].state_dict() for file in (whole, cut)
    )
    for name, value in whole_tensors.items():
        torch.testing.assert_close(value, cut_tensors[name])
    assert load_pair(cut, torch.device("cpu"))[1]["windows"] > 0


def test_pages_are_named_by_what_was_run():
    full = replace(AblationConfig(), full=True, finalists=0)
    configs = (AblationConfig(), AblationConfig().quick(), full, replace(full, finalists=2))
    names = [page_name("grid_s1", config) for config in configs]
    assert len(set(names)) == 4
    assert names[1] == "ablation-grid_s1-40-120" and names[2] == "ablation-grid_s1-full-600"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds is 0, but at least 1 is needed"),
        ({"finalists": -1}, "finalists is -1, but at least 0 is needed"),
        ({"stride": 30}, "stride is 30, but 1 to 10 is needed"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        AblationConfig(**wrong)


def test_quick_keeps_what_was_named():
    quick = AblationConfig(steps=7).quick({"steps"})
    assert quick.steps == 7 and quick.final_steps < AblationConfig().final_steps


def test_variants_are_ranked_by_the_mean_over_seeds():
    def row(front, r2):
        settings = {"front": front, "net": "gru", "window_frames": 5, "causal": False}
        return {"settings": settings, "validation_r2": r2}

    rows = [row("mfcc", 0.9), row("mfcc", 0.1), row("raw", 0.6), row("raw", 0.5)]
    assert ranking(rows) == [Variant("raw"), Variant("mfcc")]


def test_quick_runs_from_the_command_line(many, tmp_path, monkeypatch, capsys):
    """Minutes on real clips; here with three variants and fewer steps."""
    monkeypatch.setattr(AblationConfig, "variants", FEW)
    out = tmp_path / "out"
    options = ["--work", str(tmp_path / "work"), "--results", str(out), "--others", str(many)]
    smaller = ["--steps", "1", "--final-steps", "2", "--clips", "2", "--stride", "8"]
    assert main(["bench", "ablation", str(many), *options, "--quick", *smaller]) in (0, None)
    assert (out / "ablation-dataset-1-2.md").is_file(), capsys.readouterr()


def test_a_data_set_of_which_nothing_is_held_out_is_refused(tmp_path):
    few = puppet.make_dataset(tmp_path, recordings=2, frames=30)
    with pytest.raises(InputError, match="2 recordings, of which none are held out"):
        ablation(few, [], tmp_path / "work", tmp_path / "out", TINY, **SILENT)
