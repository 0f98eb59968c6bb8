"""The experiments on a drawn puppet: they end, go on after a kill, and measure what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.bench import ambiguity as ambiguity_bench
from se4lip.bench import features as features_bench
from se4lip.bench.ablation import AblationConfig, Heard, Pair, ablation
from se4lip.bench.ambiguity import AmbiguityConfig, ambiguity
from se4lip.bench.drawn import grid_of
from se4lip.bench.features import FeaturesConfig, compare_features
from se4lip.bench.lips import Asked, judge
from se4lip.bench.memory import Memory
from se4lip.bench.record import options, table
from se4lip.bench.variants import Variant, VariantEncoder
from se4lip.encoder.speech import SpeechEncoder
from se4lip.features.acoustic import Mfcc
from se4lip.features.base import hear_all
from se4lip.head.splat.canonical import CanonicalConfig
from se4lip.io.dataset import open_dataset
from se4lip.metrics.closure import Phone
from se4lip.train.avatar import AvatarRecipe, train_avatar
from se4lip.train.avatar_material import MaterialConfig, folds_of
from se4lip.train.split import clips_of
from se4lip.types import InputError

RECIPE = AvatarRecipe(
    material=MaterialConfig(size_px=64, pictures=10, mouth_codes=3, replay_s=2.0),
    canonical=CanonicalConfig(
        interior_px=4, lips_px=4, face_px=8, hair_px=8, torso_px=8, interior_depth_cm=0.5
    ),
    curves=2,
    hidden=8,
)
RECIPE = replace(
    RECIPE,
    speech=replace(RECIPE.speech, steps=5, validate_every=5),
    pictures=replace(RECIPE.pictures, steps=2, validate_every=2),
)
SILENT = {"report": lambda line: None}


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    dataset = puppet.make_dataset(folder)
    made = train_avatar(dataset, folder / "head", RECIPE, features=folder / "features", **SILENT)
    return dataset, made


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return puppet.make_dataset(tmp_path_factory.mktemp("many"), recordings=20, frames=30)


# --- features -------------------------------------------------------------------------------------

SMALL = FeaturesConfig(
    features=("logmel", "mfcc"), seeds=2, steps=30, voices=1, sounds=3, folds=2, drawn_takes=0
)


def test_features_are_compared_and_a_second_run_computes_nothing(head, tmp_path, monkeypatch):
    dataset, made = head

    def run():
        return compare_features(
            *(dataset, [made], [dataset], None, tmp_path / "work", tmp_path / "results"),
            *(None, SMALL),
            grid=tmp_path / "grid",
            **SILENT,
        )

    page = run()
    text, found = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert {row["set"] for row in found["rows"]} == {
        "same speaker",
        "same speaker, other voices",
        open_dataset(dataset).name,
    }
    assert {row["seed"] for row in found["rows"]} == {0, 1}
    own = [row for row in found["rows"] if row["set"] == "same speaker"]
    # The puppet's sound is as loud as its mouth is open: either feature tells it.
    opening = [clip["aperture_correlation"] for row in own for clip in row["clips"].values()]
    assert np.nanmean(np.array(opening, float)) > 0.5
    assert len(own[0]["clips"]) == 4, "two recordings of 4 s in blocks of 2 s, all asked about"
    assert {gain["over"] for gain in found["gains"]} <= {"mfcc", "-"}
    assert "± " in text and found["circumstances"]["seeds"] == "0, 1"
    assert page.with_name(f"{page.stem}-bars.png").stat().st_size > 1000
    assert len(list((tmp_path / "grid").glob("*.mp4"))) == 1

    monkeypatch.setattr(features_bench, "judge", lambda *given: pytest.fail("judged again"))
    monkeypatch.setattr(Mfcc, "__call__", lambda *given: pytest.fail("heard again"))
    again = json.loads(run().with_suffix(".json").read_text())
    assert again["rows"] == found["rows"]


def test_folds_ask_about_every_frame_once_and_never_teach_it(head):
    data = open_dataset(head[0])
    asked = []
    for train, test in folds_of(data, 2, block_s=1.0):
        taught = {(take.clip, i) for take in train for i in range(take.start, take.stop)}
        tested = [(take.clip, i) for take in test for i in range(take.start, take.stop)]
        assert taught.isdisjoint(tested)
        assert len(taught) + len(tested) == sum(map(data.frame_count, data.names))
        asked += tested
    assert len(asked) == len(set(asked)) == sum(map(data.frame_count, data.names))


def test_lips_that_are_the_real_ones_are_perfect_and_late_ones_are_not():
    opening = puppet.opening_cm(120)
    real = puppet.points_cm(opening)
    phones = [Phone("b", 0.0, 4.8)]
    asked = Asked("clip", np.zeros(0, np.float32), puppet.track(120), phones)
    same = judge(real, real, asked, closed_below=0.02)
    assert same["aperture_correlation"] == pytest.approx(1)
    assert (same["lmd_px256"], same["closed"], same["missed"]) == (0, 1, 0)
    late = judge(real[:-3], real[3:], asked, closed_below=-1.0)
    assert late["aperture_correlation"] < 0.9 and late["lmd_px256"] > 0.5
    assert (late["closed"], late["missed"]) == (0, 1)
    other = judge(real, real, replace(asked, of_this_person=False), closed_below=0.02)
    assert np.isnan(other["lmd_px256"]) and other["aperture_correlation"] == pytest.approx(1)


def test_pictures_of_all_features_lie_beside_each_other():
    said = {name: [np.full((32, 32, 3), 9 * i, np.uint8)] for i, name in enumerate("abcd")}
    (frame,) = grid_of(said)
    assert frame.shape == (64, 96, 3)
    assert frame[0, 40, 0] == 9 and frame[40, 0, 0] == 27 and not frame[40, 40:].any()


# --- what was heard before ------------------------------------------------------------------------


class Packing:
    """Hears only in packs, and says so."""

    identity = Mfcc().identity
    packs_s = 3.0

    def __init__(self):
        self.calls = []

    def __call__(self, samples):
        self.calls.append(len(samples))
        assert len(samples) <= 3.0 * 16_000
        return np.add.reduceat(samples, np.arange(0, len(samples), 640))[:, None] / 640


def test_many_clips_in_one_window_get_their_own_rows():
    clips = [np.full(n, i + 1, np.float32) for i, n in enumerate((9000, 640, 12_345, 16_000))]
    kind = Packing()
    found = hear_all(kind, clips)
    assert len(kind.calls) == 2
    for i, (clip, rows) in enumerate(zip(clips, found, strict=True)):
        assert len(rows) == -(-len(clip) // 640)
        np.testing.assert_allclose(rows[: len(clip) // 640], i + 1)


def test_memory_hears_a_clip_once(tmp_path):
    kind, memory = Packing(), Memory(tmp_path)
    clips = [np.ones(5000, np.float32), np.zeros(700, np.float32)]
    first = memory.rows(kind, clips)
    again = memory.rows(kind, clips[::-1])
    assert len(kind.calls) == 1
    np.testing.assert_array_equal(first[0], again[1])


# --- ambiguity ------------------------------------------------------------------------------------


def test_ambiguity_tells_features_of_the_lips_from_noise(many, tmp_path, monkeypatch):
    """Features that are the lips explain them, whatever their phones; noise explains nothing."""
    data, phones = open_dataset(many), tmp_path / "phones"
    phones.mkdir()
    for clip in clips_of(data, "test"):
        said = [f"{k / 10:.2f} {(k + 1) / 10:.2f} {('B', 'AE', 'T')[k % 3]}" for k in range(12)]
        (phones / f"{clip}.txt").write_text("\n".join(said) + "\n")
    lips = {
        data.clip(name).speech.samples.tobytes(): ambiguity_bench.lip_contour(data.clip(name).track)
        for name in data.names
    }

    class Kind:
        def __init__(self, name):
            self.identity = replace(Mfcc().identity, features=name, sha256=name * 8)

        def __call__(self, samples):
            rows = lips[samples.tobytes()][:, :6]
            noise = np.random.default_rng(len(samples)).normal(size=rows.shape)
            return (rows if self.identity.features == "lips" else noise).astype(np.float32)

    monkeypatch.setattr(ambiguity_bench, "load_features", Kind)
    config = AmbiguityConfig(("lips", "noise"), 12, 2, None, 500, 4)
    page = ambiguity(many, phones, tmp_path / "work", tmp_path / "out", config, **SILENT)
    figures = json.loads(page.with_suffix(".json").read_text())["figures"]
    assert figures["lips"]["r2_row"][0] > 0.8
    assert figures["noise"]["r2_row"][0] < 0.2
    assert "lips" in page.read_text()
    with pytest.raises(InputError, match="sounds of different clips are compared"):
        ambiguity(many, tmp_path, tmp_path / "work", tmp_path / "out", config, **SILENT)


# --- ablation -------------------------------------------------------------------------------------


def test_the_first_variant_is_the_shipped_encoder():
    torch.manual_seed(0)
    variant = VariantEncoder(Variant()).eval()
    assert isinstance(variant.shipped, SpeechEncoder)
    samples = 0.1 * torch.randn(16_000)
    with torch.inference_mode():
        found = variant(samples[None], 25)[0]
        torch.testing.assert_close(found, variant.shipped.features(samples, 25))
        strided = variant(samples[None], 25, stride=3, first=4)[0]
        torch.testing.assert_close(strided, found[4::3])


VARIANTS = [v for v in AblationConfig(full=True).variants if v.window_frames == 5]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_a_variant_hears_its_window_and_nothing_later(variant):
    torch.manual_seed(0)
    encoder = VariantEncoder(variant).eval()
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


def test_variants_have_about_as_many_numbers():
    def numbers(variant):
        return sum(p.numel() for p in VariantEncoder(variant).parameters())

    shipped = numbers(Variant())
    for variant in AblationConfig().variants[:-1]:  # a net that looks back only is half as large
        assert 0.75 < numbers(variant) / shipped < 1.25, variant.name


def test_lips_and_sound_of_one_moment_are_one_row():
    """Lips that speak their frame's number, and sound that does: each finds itself."""
    pair = Pair(Variant())
    contour = torch.arange(20.0)[:, None].expand(-1, 147)
    seen = contour.unfold(-2, 5, 1)  # what `embed_lips` sees: row 0 is frames 0 to 4
    assert pair.embed_lips(contour).shape == (16, 512)
    assert seen[0, 0].tolist() == [0, 1, 2, 3, 4]
    heard = Heard(torch.zeros(20 * 640), contour, torch.ones(20, dtype=torch.bool))
    assert len(heard) == 20


def test_the_ablation_ends_and_goes_on(many, tmp_path, monkeypatch):
    config = AblationConfig(steps=1, clips=2, seeds=1, train_clips=3)
    monkeypatch.setattr(
        AblationConfig, "variants", [Variant(), Variant(front="raw"), Variant(causal=True)]
    )
    page = ablation(many, tmp_path / "work", tmp_path / "out", config, **SILENT)
    rows = json.loads(page.with_suffix(".json").read_text())["rows"]
    assert [row["variant"] for row in rows] == [
        "stft, gru, 5 frames",
        "raw, gru, 5 frames",
        "stft, gru, 5 frames, causal",
    ]
    assert all(np.isfinite(row["figures"]["lips_r2"]) for row in rows)
    monkeypatch.setattr("se4lip.bench.ablation.train", lambda *a, **k: pytest.fail("again"))
    ablation(many, tmp_path / "work", tmp_path / "out", config, **SILENT)


def test_options_are_told_as_they_are_typed():
    assert options(AblationConfig()) == "the defaults"
    changed = replace(FeaturesConfig(), features=("se4lip", "mfcc"), train_takes=60)
    assert options(changed) == "`--features se4lip mfcc --train-takes 60`"


def test_a_table_shows_what_is_unknown_as_a_dash():
    assert table(["a", "b"], [["x", 0.12345], ["y", float("nan")], ["z", None]]).splitlines() == [
        "| a | b |",
        "|---|---|",
        "| x | 0.123 |",
        "| y | - |",
        "| z | - |",
    ]
