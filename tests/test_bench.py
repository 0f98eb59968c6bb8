"""The experiments on a drawn puppet: they end, go on after a kill, and measure what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.bench import ambiguity as ambiguity_bench
from se4lip.bench.ablation import AblationConfig, Heard, Pair, ablation
from se4lip.bench.ambiguity import AmbiguityConfig, ambiguity
from se4lip.bench.variants import Variant, VariantEncoder
from se4lip.encoder.speech import SpeechEncoder
from se4lip.features.acoustic import Mfcc
from se4lip.io.dataset import open_dataset
from se4lip.train.split import clips_of
from se4lip.types import InputError

SILENT = {"report": lambda line: None}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return puppet.make_dataset(tmp_path_factory.mktemp("many"), recordings=20, frames=30)


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
