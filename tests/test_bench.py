"""The experiments on a drawn puppet: they end, go on after a kill, and measure what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest

import puppet
from se4lip.bench import ambiguity as ambiguity_bench
from se4lip.bench.ambiguity import ambiguity
from se4lip.bench.ambiguity_figures import AmbiguityConfig
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
    for file in phones.iterdir():  # the same names, other phones: nothing of before is taken
        said = [f"{k / 10:.2f} {(k + 1) / 10:.2f} {('B', 'T')[k % 2]}" for k in range(12)]
        file.write_text("\n".join(said) + "\n")
    again = ambiguity(many, phones, tmp_path / "work", tmp_path / "again", config, **SILENT)
    assert json.loads(again.with_suffix(".json").read_text())["figures"] != figures
    for file in phones.iterdir():
        file.write_text("0 0.5 ʃ\n0.5 1 ŋ\n")
    with pytest.raises(InputError, match="give alignments in ARPABET"):
        ambiguity(many, phones, tmp_path / "work", tmp_path / "out", config, **SILENT)
    with pytest.raises(InputError, match="sounds of different clips are compared"):
        ambiguity(many, tmp_path, tmp_path / "work", tmp_path / "out", config, **SILENT)
