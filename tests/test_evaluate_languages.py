"""Closures and roundings by phones, of a mouth that does as it should and of one that does not."""

from dataclasses import replace

import numpy as np
import pytest

from recordings import wav
from se4lip.cli import main
from se4lip.commands.lips import _auc
from se4lip.evaluation.languages import Lips, evaluate_languages, judged
from se4lip.evaluation.silence import SilenceConfig, evaluate_silence
from se4lip.metrics.closure import Phone
from se4lip.metrics.phones import letter

OPEN, SHUT, NARROW, WIDE = 0.2, 0.0, 0.3, 0.45


def said(names: str, right: bool = True) -> Lips:
    """Phones of 0.2 s; between any two the mouth is open and of middling width for 0.2 s."""
    frames = 10 * len(names)
    aperture, width = np.full(frames, OPEN), np.full(frames, 0.4)
    phones = []
    for index, name in enumerate(names):
        first = 10 * index + 3
        phones.append(Phone(name, first / 25, (first + 5) / 25))
        rows = slice(first, first + 5)
        if (name in "bmp") == right:
            aperture[rows] = SHUT
        if name in "ouie":
            width[rows] = NARROW if (name in "ou") == right else WIDE
    return Lips(aperture, width, phones, aperture < OPEN / 2, np.ones(len(aperture), bool))


def test_lips_that_do_as_the_language_says_are_perfect():
    row = judged("xx-one", 4 * [said("bapamo"), said("tisemu")], 0.1)
    assert (row.recall, row.precision, row.f1) == (1, 1, 1)
    assert row.closing_auc == row.rounding_auc == 1
    assert row.closing_auc_low == row.closing_auc_high == 1
    assert (row.recordings, row.bilabials, row.other_phones) == (8, 16, 32)
    assert (row.rounded, row.spread) == (8, 8)
    assert row.language == "xx"


def test_a_few_recordings_are_no_certainty():
    row = judged("xx", 7 * [said("bapamotise")], 0.1)
    assert row.closing_auc == row.rounding_auc == 1
    assert np.isnan([row.closing_auc_low, row.rounding_auc_high]).all()
    assert (_auc(1.0, np.nan, np.nan), _auc(0.5, 0.25, 0.75)) == ("1.00", "0.50 (0.25-0.75)")


def test_lips_that_do_the_opposite_are_worse_than_chance():
    row = judged("xx", [said("bapamotise", right=False)], 0.1)
    assert (row.recall, row.f1) == (0, 0)
    assert row.closing_auc == row.rounding_auc == 0


def test_a_mouth_that_stands_still_is_at_chance():
    lips = said("bamotipise")
    still = replace(lips, aperture=0 * lips.aperture + OPEN, width=0 * lips.width + 0.4)
    row = judged("xx", [still], 0.1)
    assert row.closing_auc == row.rounding_auc == 0.5
    assert row.recall == 0


def test_frames_of_phones_in_which_the_head_hears_no_speech_are_counted():
    lips = said("bata")  # at rest from frame 3 to 8 alone, while b is said
    row = judged("xx", [lips], 0.1)
    assert row.at_rest == 0.25
    pauses = [replace(phone, name="sil") for phone in lips.phones[:1]] + lips.phones[1:]
    assert judged("xx", [replace(lips, phones=pauses)], 0.1).at_rest == 0


def test_a_mouth_may_rest_where_a_phone_is_said_to_be_and_nothing_sounds():
    lips = said("bata")
    deaf = replace(lips, heard=~lips.at_rest)
    assert lips.at_rest.any() and judged("xx", [deaf], 0.1).at_rest == 0


def test_phones_beside_their_place_are_found_by_chance_alone():
    row = judged("xx", [said("batapasamataka" * 3)], 0.1)
    assert row.f1 == 1 and row.chance_f1 < 0.5


def test_other_labials_are_neither_closed_nor_open():
    row = judged("xx", [said("bafawava")], 0.1)
    assert (row.bilabials, row.other_phones) == (1, 4)


def test_nothing_said_is_no_figure_rather_than_a_wrong_one():
    row = judged("xx", [said("tata")], 0.1)
    assert np.isnan([row.recall, row.closing_auc, row.rounding_auc, row.rounding_auc_low]).all()


@pytest.mark.parametrize(
    ("phone", "first"),
    [("ˈpʰ", "p"), ("ɔ̃", "ɔ"), ("u̯", "u"), ("'o", "o"), ("ˌʃː", "ʃ"), ("1", "")],  # noqa: RUF001
)
def test_a_phone_is_what_it_begins_with(phone, first):
    assert letter(phone) == first


@pytest.mark.parametrize(("phone", "first"), [("EM", "m"), ("EN", "n"), ("EH1", "ɛ"), ("P", "p")])
def test_capitals_are_arpabets(phone, first):
    assert letter(phone) == first


def test_phones_after_the_end_of_the_sound_are_not_judged(tmp_path):
    voice = tmp_path / "xx-one"
    voice.mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16_000).astype(np.float32)
    wav(voice / "00.wav", noise, 16_000)
    (voice / "00.phones").write_text("0.1 0.2 b\n0.2 0.4 a\n1.0 1.2 b\n3 4 a\n")
    (row,) = evaluate_languages("grid-s1", tmp_path)
    assert (row.bilabials, row.other_phones) == (1, 1)


def test_a_folder_without_voices_is_refused(tmp_path, capsys):
    assert main(["evaluate", "languages", "grid-s1", str(tmp_path)]) == 2
    assert "LANGUAGE-VOICE/NAME.wav and NAME.phones are needed" in capsys.readouterr().err
    (tmp_path / "xx-one").mkdir()
    (tmp_path / "xx-one" / "00.phones").write_text("0 0.1 b\n")
    assert main(["evaluate", "languages", "grid-s1", str(tmp_path)]) == 2
    assert "0 recordings lie beside" in capsys.readouterr().err
    assert main(["evaluate", "languages", "grid-s1", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_shipped_head_is_judged_in_every_kind_of_sound_and_rests_in_silence():
    config = SilenceConfig(seconds=1, seeds=2, levels_db=(-40, -30))
    rows = evaluate_silence("grid-s1", config=config)
    assert len(rows) == 11 and [row.frames for row in rows] == [20] + 10 * [40]
    assert [row.sounds for row in rows] == [1] + 10 * [2]
    silence = rows[0]
    assert silence.name == "silence" and silence.moving == 0
    assert [row.name for row in rows if not row.heard_in_training] == ["rain", "ringing", "organ"]
