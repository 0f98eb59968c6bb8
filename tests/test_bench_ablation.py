"""The ablation: variants differ in what they say and in nothing else, teach rows of one moment,
reach a head, and are never computed twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip import speak_audio
from se4lip.artifacts.avatar import load_avatar
from se4lip.bench import ablation_task
from se4lip.bench.ablation import AblationConfig, ablation, page_name, ranking
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
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.features.catalogue import load_features
from se4lip.features.variant import Variant, VariantEncoder, VariantFeatures, weights_in
from se4lip.head.splat.canonical import CanonicalConfig
from se4lip.io.dataset import open_dataset
from se4lip.train.avatar import AvatarRecipe, train_avatar
from se4lip.train.avatar_material import MaterialConfig
from se4lip.train.listener import listener_of_avatar
from se4lip.types import SAMPLES_PER_FRAME, InputError

SILENT = {"report": lambda line: None}
SMALL = Variant(front="mfcc", hidden=64)  # quick to make


# --- variants -------------------------------------------------------------------------------------


def test_the_first_variant_is_the_shipped_encoder():
    """From the general front and net, with the shipped class's weights: the same numbers."""
    torch.manual_seed(0)
    shipped, variant = SpeechEncoder(SpeechEncoderConfig()).eval(), VariantEncoder(SHIPPED).eval()
    shipped.mean.normal_(-3, 0.5)
    shipped.scale.uniform_(0.3, 0.8)
    theirs = {
        name.replace("net.net.", "gru.").replace("net.attend.", "attend."): name
        for name in variant.state_dict()
    }
    variant.load_state_dict({ours: shipped.state_dict()[name] for name, ours in theirs.items()})
    assert set(theirs) == set(shipped.state_dict()), "a weight or a buffer has no counterpart"
    samples = 0.1 * torch.randn(16_000)
    with torch.inference_mode():
        expected = shipped.features(samples, 25)
        torch.testing.assert_close(variant(samples[None], 25)[0], expected)
        torch.testing.assert_close(variant(samples[None], 25, stride=3, first=4)[0], expected[4::3])
        torch.testing.assert_close(variant.features(samples, 25), expected)
    assert variant.drop.p == shipped.drop.p > 0


@pytest.mark.parametrize("front", ["stft", "logmel", "mfcc", "raw"])
def test_every_front_takes_off_the_channel_and_has_unit_spread(front):
    """Sound twice as loud is the same columns, once the channel is known; and statistics are those
    of what was heard, not those that another front would have."""
    torch.manual_seed(0)
    encoder = VariantEncoder(Variant(front=front, hidden=64)).eval()
    noise = torch.randn(1, 20 * 16_000)
    speech = 0.05 * noise * (2 + torch.sin(torch.arange(noise.shape[1]) / 2000))
    encoder.set_statistics([speech[0]])
    with torch.inference_mode():
        columns, louder = (encoder.columns(k * speech, 490)[0, 1000:] for k in (1, 2))
    assert (columns - louder).abs().mean() < 0.02, "without channel removal it is near one"
    assert columns.mean(0).abs().max() < 0.5
    assert 0.8 < columns.std(0).mean() < 1.2
    assert encoder.drop.p == 0.1


def test_statistics_follow_a_front_that_learns_and_no_other():
    for front, follows in (("raw", True), ("logmel", False)):
        encoder = VariantEncoder(Variant(front=front, hidden=64)).train()
        samples = 0.1 * torch.randn(2, 16_000)
        encoder.set_statistics(samples)
        before = encoder.mean.clone()
        encoder.columns(3 * samples, 20)
        assert torch.equal(encoder.mean, before) is not follows
        assert (encoder.mean - before).abs().max() < 0.1


FIVE_FRAMES = [one for one in full_cross() if one.window_frames == 5]


@pytest.mark.parametrize("variant", FIVE_FRAMES, ids=lambda one: one.name)
def test_a_variant_hears_its_window_and_nothing_later(variant):
    torch.manual_seed(0)
    encoder = VariantEncoder(replace(variant, hidden=64)).eval()
    samples = 0.1 * torch.randn(1, 12 * 640)
    changed = samples.clone()
    changed[:, 6 * 640 :] = 0.1 * torch.randn(1, 6 * 640)
    with torch.inference_mode():
        same = (encoder(samples, 12) - encoder(changed, 12)).abs().amax(-1)[0]
        strided = encoder(samples, 12, stride=2, first=3)
        torch.testing.assert_close(strided, encoder(samples, 12)[:, 3::2])
    first = 7 if variant.causal else 5  # the first whose window reaches the change
    assert same[:first].max() < 1e-6
    assert same[first : first + 3].min() > 1e-4


def test_all_variants_are_as_large():
    with torch.device("meta"):
        shipped = weights_in(SpeechEncoder(SpeechEncoderConfig()))
        sizes = {one.name: weights_in(VariantEncoder(one)) for one in full_cross()}
    assert len(sizes) == 96
    assert sizes[SHIPPED.name] == shipped
    assert max(sizes.values()) < 1.05 * min(sizes.values())


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


# --- as features ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    clips = coded(0, clips=4)
    given = (SMALL, 0, Budget(2, 2, 8), clips, digest(clips), tmp_path_factory.mktemp("taught"))
    return teach(*given, **SILENT)[0]


def test_a_variant_is_features_by_its_file(taught, tmp_path):
    kind = load_features(f"variant:{taught}")
    samples = np.random.default_rng(0).normal(0, 0.1, 20_001).astype(np.float32)
    rows = kind(samples)
    assert rows.shape == (32, kind.identity.width) == (32, 512) and rows.dtype == np.float32
    pair, made, sha256 = load_pair(taught, torch.device("cpu"))
    with torch.inference_mode():
        expected = pair.speech(torch.from_numpy(samples)[None], 32)[0].numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert (kind.identity.sha256, kind.identity.name) == (sha256, made["name"])
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(taught.read_bytes())
    assert load_features(f"variant:{taught}", moved).identity == kind.identity
    assert kind(np.zeros(0, np.float32)).shape == (0, 512)


def test_long_sound_in_pieces_gives_the_rows_of_the_whole(taught, monkeypatch):
    kind = load_features(f"variant:{taught}")
    samples = np.random.default_rng(0).normal(0, 0.1, 50 * 640).astype(np.float32)
    whole = kind(samples)
    monkeypatch.setattr("se4lip.features.variant._PIECE_FRAMES", 7)
    np.testing.assert_allclose(kind(samples), whole, atol=1e-6)


def test_files_that_are_no_variants_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"away.safetensors of .* give --feature-weights"):
        load_features(f"variant:{tmp_path}/away.safetensors")
    with pytest.raises(InputError, match="names no file: give variant:FILE"):
        load_features("variant:")
    with pytest.raises(InputError, match="holds encoder weights, needed are encoder-variant"):
        from se4lip.artifacts.encoder import shipped_encoder

        load_features(f"variant:{shipped_encoder()}")


def test_a_head_hears_a_variant(taught, tmp_path):
    """It is trained on the features, names them, and finds them again to speak."""
    recipe = AvatarRecipe(
        material=MaterialConfig(size_px=64, pictures=10, mouth_codes=3, replay_s=2.0),
        canonical=CanonicalConfig(
            interior_px=4, lips_px=4, face_px=8, hair_px=8, torso_px=8, interior_depth_cm=0.5
        ),
        curves=2,
        hidden=8,
        voices=0,
    )
    recipe = replace(
        recipe,
        speech=replace(recipe.speech, steps=2, validate_every=2),
        pictures=replace(recipe.pictures, steps=1, validate_every=1),
        noise=replace(recipe.noise, sounds=1),
    )
    dataset = puppet.make_dataset(tmp_path)
    name = f"variant:{taught}"
    head = load_avatar(train_avatar(dataset, tmp_path / "head", recipe, features=name, **SILENT))
    assert head.encoder == load_features(name).identity and head.head.feature_width == 512
    assert listener_of_avatar(head).identity == head.encoder
    (rows,) = speak_audio._heard(head, next((tmp_path / "videos").glob("*.mp4")), None, None)
    assert rows.shape[1] == 512


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
        assert isinstance(load_features(f"variant:{one['file']}"), VariantFeatures)
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
