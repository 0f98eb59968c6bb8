"""The speech that the demo ships is the one its card describes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from se4lip.io.audio import read_speech

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "src" / "se4lip" / "assets" / "demo-speech.flac"
CARD = ROOT / "docs" / "cards" / "demo-speech.md"


def test_the_card_names_the_file_that_is_shipped():
    assert f"`{hashlib.sha256(SPEECH.read_bytes()).hexdigest()}`" in CARD.read_text("utf-8")
    assert f"{SPEECH.stat().st_size:,} bytes" in CARD.read_text("utf-8")
    assert SPEECH.stat().st_size < 150_000


def test_it_lasts_peaks_and_rests_as_the_card_says():
    speech = read_speech(SPEECH)
    assert speech.duration_s == pytest.approx(7.80, abs=0.005)
    assert 20 * np.log10(np.abs(speech.samples).max()) == pytest.approx(-3.0, abs=0.01)
    loud = np.flatnonzero(np.abs(speech.samples) > 1e-3) / 16_000
    rests = [loud[0], speech.duration_s - loud[-1], np.diff(loud).max()]
    assert rests == pytest.approx([0.4, 0.4, 0.4], abs=0.03)  # the voice starts and ends softly
