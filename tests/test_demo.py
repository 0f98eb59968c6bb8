"""The verb ``demo`` with other heads than the shipped one (the story runs that)."""

from dataclasses import replace

import pytest
import torch

from recordings import tone
from se4lip.artifacts.avatar import load_avatar
from se4lip.features.catalogue import load_features
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.io.audio import write_wav
from se4lip.synthesis import demo
from se4lip.types import Speech


@pytest.fixture
def titles(monkeypatch):
    seen: list[str] = []
    draw = demo.contact_sheet

    def told(rows):
        seen.extend(title for title, _ in rows)
        return draw(rows)

    monkeypatch.setattr(demo, "contact_sheet", told)
    return seen


def test_the_sheet_shows_the_features_that_the_head_hears(tmp_path, titles):
    """Not those of the shipped encoder, whoever else is heard."""
    shipped, mel = load_avatar("grid-s1"), load_features("logmel").identity
    torch.manual_seed(0)
    window = SpeechWindow(SpeechWindowConfig(mel.width, shipped.person.mouth.width))
    other = replace(shipped, head=shipped.head.hearing_with(window).eval(), encoder=mel)
    said, video = tmp_path / "said.wav", tmp_path / "said.mp4"
    write_wav(said, Speech(tone(0.5, 16_000)))
    demo.speak(other, said, video)
    for head, kind in ((other, f"logmel features: {mel.width}"), (shipped, "SE4Lip features: 512")):
        titles.clear()
        demo.speech_becoming_lips(said, video, head)
        assert [title for title in titles if title.startswith(f"{kind} numbers")]
