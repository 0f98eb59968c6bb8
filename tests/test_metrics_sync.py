"""Time between sound and lips: known shifts are found, with the sign that the module promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.metrics.sync import (
    OffsetCounts,
    SyncConfig,
    measure_offset,
    offset_accuracy,
    shifted_similarity,
    sync_timeline,
)
from se4lip.types import InputError


def _rows(frames: int, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, width, generator=torch.Generator().manual_seed(seed))


def _all(frames: int) -> torch.Tensor:
    return torch.ones(frames, dtype=torch.bool)


def _naive_accuracy(
    speech: torch.Tensor, lips: torch.Tensor, mask: torch.Tensor, max_shift: int, context: int
) -> OffsetCounts:
    """The protocol written as loops over questions, windows and offsets."""
    counts, frames = OffsetCounts(), len(lips)
    for start in range(frames - context + 1):
        if not mask[start : start + context].all():
            continue
        rows = range(start + 2, start + context - 2)  # row t is about t-2 ... t+2
        score = {}
        for shift in range(-max_shift, max_shift + 1):
            if rows[0] + shift - 2 < 0 or rows[-1] + shift + 2 >= frames:
                continue
            pairs = [torch.cosine_similarity(lips[t], speech[t + shift], dim=0) for t in rows]
            score[shift] = sum(float(s) for s in pairs) / len(pairs)
        near = {k for k in score if abs(k) <= 1}
        if not near or len(near) == len(score):
            continue
        best = max(score, key=lambda k: score[k])
        counts += OffsetCounts(best in near, 1, len(score), len(near) / len(score))
    return counts


@pytest.mark.parametrize(("frames", "context"), [(75, 5), (75, 15), (20, 5), (24, 9)])
def test_accuracy_is_the_protocol_written_as_loops(frames: int, context: int) -> None:
    lips = _rows(frames, 8)
    speech = lips + 1.1 * _rows(frames, 8, seed=1)  # right sometimes
    mask = _all(frames)
    mask[frames // 2] = False
    ours = offset_accuracy(speech, lips, mask, context_frames=context)
    naive = _naive_accuracy(speech, lips, mask, 15, context)
    assert (ours.right, ours.total, ours.candidates) == (
        naive.right,
        naive.total,
        naive.candidates,
    )
    assert ours.lucky == pytest.approx(naive.lucky, rel=1e-6)
    assert ours.total > 0


def test_equal_embeddings_are_always_right_and_strangers_are_right_by_chance() -> None:
    rows = _rows(2000)
    assert offset_accuracy(rows, rows, _all(2000)).accuracy == 1
    strangers = offset_accuracy(_rows(2000, seed=1), rows, _all(2000))
    assert strangers.accuracy == pytest.approx(strangers.chance, abs=0.02)
    assert strangers.chance == pytest.approx(3 / 31, abs=2e-3)


def test_an_encoder_that_says_the_same_about_everything_is_never_right() -> None:
    constant = torch.ones(75, 16)
    assert offset_accuracy(constant, constant, _all(75)).right == 0


@pytest.mark.parametrize(("late", "right"), [(0, True), (1, True), (-1, True), (2, False)])
def test_one_frame_off_is_right_and_two_are_wrong(late: int, right: bool) -> None:
    rows = _rows(75)
    counts = offset_accuracy(rows.roll(late, 0), rows, _all(75))
    assert counts.accuracy == pytest.approx(float(right), abs=0.06)  # the roll wraps at the ends


def test_full_clips_offer_31_candidates_and_short_clips_fewer() -> None:
    middle = torch.zeros(75, dtype=torch.bool)
    middle[20:55] = True
    rows = _rows(75)
    assert offset_accuracy(rows, rows, middle).mean_candidates == 31
    assert offset_accuracy(rows[:20], rows[:20], _all(20)).mean_candidates == 16


def test_questions_need_speech_in_every_frame() -> None:
    rows, mask = _rows(75), torch.zeros(75, dtype=torch.bool)
    assert offset_accuracy(rows, rows, mask) == OffsetCounts()
    mask[30:35] = True
    assert offset_accuracy(rows, rows, mask).total == 1
    mask[32] = False
    assert offset_accuracy(rows, rows, mask).total == 0


def test_a_clip_too_short_to_be_wrong_asks_nothing() -> None:
    rows = _rows(6)
    assert offset_accuracy(rows, rows, _all(6)).total == 0
    assert np.isnan(OffsetCounts().accuracy)


@pytest.mark.parametrize("window", [1, 3, 5, 7])
def test_rows_without_a_whole_window_are_never_looked_at(window: int) -> None:
    rows = _rows(60)
    spoiled = rows.clone()
    spoiled[: window // 2] = 0
    spoiled[60 - window // 2 :] = 0
    counts = offset_accuracy(spoiled, rows, _all(60), context_frames=9, window_frames=window)
    assert counts.accuracy == 1
    assert counts == offset_accuracy(rows, rows, _all(60), context_frames=9, window_frames=window)
    assert counts.total == 52


def test_counts_of_clips_add_up() -> None:
    rows = _rows(75)
    one = offset_accuracy(rows, rows, _all(75))
    assert (one + one).total == 2 * one.total
    assert (one + one).accuracy == one.accuracy


@settings(deadline=None, max_examples=20)
@given(st.integers(-15, 15), st.floats(0.1, 10))
def test_similarity_peaks_where_the_sound_was_moved_to(late: int, loudness: float) -> None:
    lips = _rows(80)
    similarity = shifted_similarity(loudness * lips.roll(late, 0), lips, 15)
    assert int(similarity[20:60].mean(0).argmax()) - 15 == late


def test_embeddings_that_do_not_match_are_refused_in_one_sentence() -> None:
    rows = _rows(10)
    with pytest.raises(InputError) as wrong:
        offset_accuracy(rows, rows[:9], _all(10))
    assert str(wrong.value) == (
        "speech embeddings [10, 32] and lip embeddings [9, 32] differ, but both must be [T, D]: "
        "cut them to the same frames"
    )
    with pytest.raises(InputError) as wrong:
        offset_accuracy(rows, rows, _all(9))
    assert str(wrong.value) == (
        "the speech mask has shape [9], but 10 frames were given: pass one flag per frame"
    )
    with pytest.raises(InputError) as wrong:
        offset_accuracy(rows, rows / 0, _all(10))
    assert str(wrong.value) == ("the lip embeddings hold NaN or infinite values: check the encoder")
    with pytest.raises(InputError, match="a context of 4 frames and windows of 5 do not fit"):
        offset_accuracy(rows, rows, _all(10), context_frames=4)


def _late(rows: torch.Tensor, frames: int) -> torch.Tensor:
    """What the sound says when it comes ``frames`` late: silence first, or its beginning lost."""
    moved = _rows(len(rows), rows.shape[1], seed=99)
    if frames >= 0:
        moved[frames:] = rows[: len(rows) - frames]
    else:
        moved[:frames] = rows[-frames:]
    return moved


@settings(deadline=None, max_examples=31)
@given(st.integers(-14, 14), st.floats(0, 2))
def test_a_clip_whose_sound_comes_k_frames_late_reads_k(late: int, noise: float) -> None:
    lips = _rows(75)
    speech = _late(lips, late) + noise * _rows(75, seed=5)
    reading = measure_offset(speech, lips, _all(75))
    assert reading is not None
    assert reading.offset_frames == late
    assert abs(reading.offset_ms - 40 * late) <= 20
    assert reading.lead > 3
    assert not reading.at_edge


def test_strangers_lead_by_little() -> None:
    leads = []
    for seed in range(40):
        reading = measure_offset(
            _rows(250, seed=2 * seed), _rows(250, seed=2 * seed + 1), _all(250)
        )
        assert reading is not None
        leads.append(reading.lead)
    assert np.quantile(leads, 0.9) < 2


def test_distance_and_confidence_of_a_perfect_match_are_known() -> None:
    rows = torch.eye(64)  # every window is at a right angle to every other one
    reading = measure_offset(rows, rows, _all(64))
    assert reading is not None
    assert reading.similarity == pytest.approx(1)
    assert reading.distance == pytest.approx(0, abs=1e-6)
    assert reading.confidence == pytest.approx(2**0.5, abs=1e-6)
    assert reading.windows == 60


def test_an_offset_between_two_frames_is_read_between_them() -> None:
    time = torch.arange(100)[:, None] / 25
    waves = torch.arange(1, 7)[None] * 0.7

    def moment(late_frames: float) -> torch.Tensor:
        angle = 2 * torch.pi * waves * (time - late_frames / 25)
        return torch.cat((angle.sin(), angle.cos()), 1)

    reading = measure_offset(moment(2.3), moment(0), _all(100), SyncConfig(max_shift=8))
    assert reading is not None
    assert reading.offset_frames == 2
    assert reading.offset_ms == pytest.approx(2.3 * 40, abs=2)


def test_an_offset_at_the_end_of_what_was_tried_says_so() -> None:
    lips = _rows(200)
    reading = measure_offset(_late(lips, 15), lips, _all(200))
    assert reading is not None and reading.offset_frames == 15 and reading.at_edge


def test_a_clip_so_short_that_far_offsets_share_no_window_still_reads() -> None:
    reading = measure_offset(_rows(30), _rows(30, seed=1), _all(30))
    assert reading is not None and np.isfinite(reading.lead)
    lips = _rows(30)
    far = measure_offset(_late(lips, 15), lips, _all(30))
    assert far is not None and far.offset_frames == 15 and far.lead > 2


def test_silence_and_clips_of_a_few_frames_give_no_reading() -> None:
    rows = _rows(75)
    assert measure_offset(rows, rows, ~_all(75)) is None
    assert measure_offset(rows[:6], rows[:6], _all(6)) is None
    assert measure_offset(rows[:0], rows[:0], _all(0)) is None


def test_the_timeline_shows_where_the_offset_changes_and_where_nobody_speaks() -> None:
    lips = _rows(125)
    speech = torch.cat((_late(lips, 2)[:50], _late(lips, -3)[50:]))
    mask = _all(125)
    mask[75:100] = False
    timeline = sync_timeline(speech, lips, mask)
    assert [reading and reading.offset_frames for reading in timeline] == [2, 2, -3, None, -3]
