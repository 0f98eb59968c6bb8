"""Closure on b, m and p: counted on apertures drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from se4lip.metrics.closure import (
    ClosureCounts,
    Phone,
    closed_below,
    count_closures,
    frames_of,
    phones_within,
)
from se4lip.types import InputError

# Frame t is shown from t / 25 s: "a b a" with b at frames 4 and 5, "m" at frames 9 and 10.
_PHONES = [
    Phone("SIL", 0.0, 0.04),
    Phone("AA1", 0.04, 0.16),
    Phone("B", 0.16, 0.24),
    Phone("AA0", 0.24, 0.36),
    Phone("m", 0.36, 0.44),
    Phone("SIL", 0.44, 0.6),
]


def _aperture(*closed: int) -> np.ndarray:
    aperture = np.full(15, 0.08)
    aperture[list(closed)] = 0.001
    return aperture


def test_a_mouth_that_closes_where_it_should_is_perfect() -> None:
    counts = count_closures(_aperture(0, 4, 10, 11, 12, 13, 14), _PHONES, 0.01)
    assert counts == ClosureCounts(closed=2)
    assert counts.f1 == counts.recall == counts.precision == 1


def test_a_mouth_that_never_closes_and_one_that_never_opens_are_told_apart() -> None:
    never_closes = count_closures(_aperture(), _PHONES, 0.01)
    assert never_closes == ClosureCounts(missed=2)
    assert never_closes.f1 == never_closes.recall == 0
    never_opens = count_closures(_aperture(*range(15)), _PHONES, 0.01)
    assert never_opens == ClosureCounts(closed=2, wrong=2)
    assert (never_opens.recall, never_opens.precision) == (1, 0.5)
    assert never_opens.f1 == pytest.approx(2 / 3)


def test_a_vowel_is_wrong_only_when_it_is_closed_all_along() -> None:
    assert count_closures(_aperture(1, 2, 4, 9), _PHONES, 0.01).wrong == 0
    assert count_closures(_aperture(1, 2, 3, 4, 9), _PHONES, 0.01).wrong == 1


def test_a_closure_two_frames_away_is_missed() -> None:
    assert count_closures(_aperture(2, 9), _PHONES, 0.01) == ClosureCounts(closed=1, missed=1)


def test_phones_without_a_face_are_left_out() -> None:
    aperture = _aperture(9)
    aperture[2:8] = np.nan
    assert count_closures(aperture, _PHONES, 0.01) == ClosureCounts(closed=1)
    assert count_closures(aperture[:1], _PHONES, 0.01) == ClosureCounts()
    assert np.isnan(ClosureCounts().f1)


@pytest.mark.parametrize(
    "name",
    ["b", "B", "P", "M_B", "pʰ", "p_h", "bʲ", "mː", "ˈm", "b_I", "ɓ", "[b]", "m̥"],  # noqa: RUF001
)
def test_bilabials_of_any_alphabet_are_known(name: str) -> None:
    phone = Phone(name, 0.16, 0.24)
    assert count_closures(_aperture(4), [phone], 0.01) == ClosureCounts(closed=1)


@pytest.mark.parametrize(
    "name",
    ["", "SIL", "<p:>", "+BREATH+", "sil_S", "<eps>", "sp", "[SIL]", "[NOISE]", "{lg}", "br", "_"],
)
def test_silences_of_any_aligner_are_known(name: str) -> None:
    phone = Phone(name, 0.16, 0.24)
    assert count_closures(_aperture(3, 4, 5, 6), [phone], 0.01) == ClosureCounts()
    assert phone.letter == ""


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        *(("AO1", "ɔ"), ("Y", "j"), ("ER0", "ɜ"), ("UW1", "u"), ("IY_E", "i"), ("W", "w")),
        *(("9", "œ"), ("2:", "ø"), ("6", "ɐ"), ("@", "ə"), ('"a:', "a"), ("{", "æ"), ("[b]", "b")),
    ],
)
def test_arpabet_and_sampa_are_read_as_the_sounds_they_mean(name: str, letter: str) -> None:
    assert Phone(name, 0, 1).letter == letter


def test_frames_of_hundredths_of_seconds_are_counted_exactly() -> None:
    # In binary fractions 0.28 * 25 is a little more than 7, and 0.29 / 0.04 a little less.
    for hundredths in range(1, 4_000):
        start_s, end_s = hundredths / 100, (hundredths + 7) / 100
        rows = frames_of(Phone("a", start_s, end_s))
        assert rows.start == hundredths // 4
        assert rows.stop == -(-(hundredths + 7) // 4)
    shut_until_it_ends = _aperture(*range(7))
    assert count_closures(shut_until_it_ends, [Phone("N", 0.20, 0.28)], 0.01).wrong == 1


def test_labials_that_need_not_shut_the_mouth_count_as_neither() -> None:
    for name in ("F", "V", "W", "f", "w"):
        assert count_closures(_aperture(4, 5), [Phone(name, 0.16, 0.24)], 0.01) == ClosureCounts()


def test_phones_of_a_stretch_are_timed_from_its_start_and_may_end_a_frame_late() -> None:
    times = [("a", 0.9, 1.1), ("b", 1.0, 1.2), ("c", 1.5, 2.03), ("d", 2.0, 2.1)]
    found = phones_within(times, 1.0, 2.0)
    assert [phone.name for phone in found] == ["b", "c"]
    assert (found[0].start_s, found[1].end_s) == pytest.approx((0.0, 1.03))


def test_counts_of_clips_add_up() -> None:
    assert ClosureCounts(1, 2, 3) + ClosureCounts(10, 20, 30) == ClosureCounts(11, 22, 33)


def test_the_threshold_follows_the_persons_own_range() -> None:
    aperture = np.linspace(0.02, 0.12, 10_001)
    assert closed_below(aperture) == pytest.approx(0.022 + 0.1 * 0.093)
    assert closed_below(10 * aperture) == pytest.approx(10 * closed_below(aperture))
    assert np.isnan(closed_below(np.full(5, np.nan)))


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.4), (-0.1, 0.4), (0.1, np.inf)])
def test_a_phone_that_lasts_no_time_is_refused(start: float, end: float) -> None:
    with pytest.raises(InputError) as wrong:
        Phone("b", start, end)
    assert str(wrong.value) == (
        f"phone 'b' lasts from {start} to {end} s, but it must start at 0 or later and end after "
        "it starts: check the alignment"
    )
