"""Every weight file that ships has a card, and the card is of this very file."""

import re
from pathlib import Path

import pytest

import se4lip
from se4lip.io.weights import read_header, sha256_of

ROOT = Path(__file__).parents[1]
WEIGHTS = sorted((Path(se4lip.__file__).parent / "weights").glob("*.safetensors"))
CARDS = {"encoder": "encoder", "grid-s1": "avatar-grid-s1", "judge": "judge"}


def said(card: str, row: str) -> str:
    found = re.search(rf"^\| {row} \| `(\w+)` \|$", card, re.MULTILINE)
    assert found is not None, row
    return found[1]


@pytest.mark.parametrize("file", WEIGHTS, ids=lambda file: file.stem)
def test_a_card_tells_the_checksums_of_the_file_and_of_what_inspect_shows(file):
    card = (ROOT / "docs" / "cards" / f"{CARDS[file.stem]}.md").read_text("utf-8")
    assert said(card, "sha256 of the file") == sha256_of(file)
    assert said(card, "sha256 of its numbers") == read_header(file).sha256
    assert file.stat().st_size < 20e6


def test_there_are_weights_and_a_card_for_each():
    assert {file.stem for file in WEIGHTS} == CARDS.keys()
