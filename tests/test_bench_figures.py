"""Figures of ``se4lip bench features`` whose answer is known: lips, sync, gains, and their page."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.bench import judged, pictures
from se4lip.bench.features_claims import claims, met
from se4lip.bench.features_sections import gain_over_best, sections_of, shares_of
from se4lip.bench.figures import JUDGE_CONFIDENCE, LIPS, SYNC, at_lag, closure_f1, common_lag, mean
from se4lip.bench.gains import Gain, gain, per_seed, share
from se4lip.bench.lips import LAGS, Asked, agreement, judge, lagged_correlation
from se4lip.metrics.closure import Phone
from se4lip.metrics.judge import Judge, JudgeConfig, read_rows

# --- lips -----------------------------------------------------------------------------------------


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
    assert "aperture_by_lag" not in same
    other = judge(real, real, replace(asked, of_this_person=False), closed_below=0.02)
    assert "lmd_px256" not in other and other["aperture_correlation"] == pytest.approx(1)
    assert LAGS[int(np.argmax(other["aperture_by_lag"]))] == 0


def test_a_mouth_that_stands_still_does_not_leave_the_mean():
    moving, still = np.sin(np.arange(60.0)), np.full(60, 0.3)
    assert agreement(still, moving) == 0
    assert np.isnan(agreement(moving, still)) and np.isnan(agreement(still, still))
    assert np.isnan(agreement(np.full(60, np.nan), moving))  # no face is not a still one
    assert agreement(moving, moving) == pytest.approx(1)
    assert lagged_correlation(still, moving, 2) == 0


def test_a_positive_lag_is_late_sound():
    """What follows the sound is shown two frames after the lips that were filmed."""
    real = np.sin(np.arange(60) ** 1.3)
    shown = np.concatenate((np.zeros(2), real[:-2]))
    found = {lag: lagged_correlation(shown, real, lag) for lag in LAGS}
    assert max(found, key=lambda lag: found[lag]) == 2 and found[2] == pytest.approx(1)
    early = {lag: lagged_correlation(real[2:], real[:-2], lag) for lag in LAGS}
    assert max(early, key=lambda lag: early[lag]) == -2
    assert np.isnan(lagged_correlation(real[:3], real[:3], 4))


def test_a_set_has_one_lag_that_all_features_agree_on():
    def clips(best, height):
        curve = [height - abs(lag - best) / 10 for lag in LAGS]
        return [{"clip": {"recording": "a", "aperture_by_lag": curve, "width_by_lag": curve}}]

    # One feature alone would choose 3; three at +1 decide, whatever their level.
    rows = {"a": clips(3, 0.9), "b": clips(1, 0.2), "c": clips(1, 0.3), "d": clips(1, 0.1)}
    assert common_lag(rows) == 1
    aperture, width = at_lag(1)
    assert per_seed(rows["a"], aperture.statistic)[0] == pytest.approx(0.7)
    assert width.label == "width r, lag +1"
    assert common_lag({"a": [{"clip": {"recording": "a"}}]}) is None


# --- gains ----------------------------------------------------------------------------------------


def clips_with(values, recordings=None):
    recordings = recordings or [f"r{i}" for i in range(len(values))]
    return {f"clip{i}": {"recording": recordings[i], "x": value} for i, value in enumerate(values)}


def test_a_gain_is_of_means_over_clips_that_both_know():
    ours = [clips_with([1.0, 2.0, None]), clips_with([3.0, 2.0, 9.0])]
    theirs = [clips_with([1.0, 1.0, 5.0])]
    found = gain(ours, theirs, mean("x"))
    assert found.percent == pytest.approx(100) and (found.clips, found.recordings) == (2, 2)
    saved = gain(ours, theirs, mean("x", higher=False))
    assert saved.percent == pytest.approx(-100)
    assert str(found) == "+100.0 % (too few recordings)"
    assert np.isnan(gain(ours, [clips_with([None])], mean("x")).percent)
    assert np.isnan(gain(ours, [clips_with([0.0, 0.0])], mean("x")).percent)


def test_gain_is_the_ratio_of_means_and_of_less_what_is_saved():
    up = gain([clips_with([0.9] * 20)], [clips_with([0.75] * 20)], mean("x"))
    assert (up.percent, up.low, up.high) == pytest.approx((20, 20, 20))
    down = gain([clips_with([1.5] * 20)], [clips_with([2.0] * 20)], mean("x", higher=False))
    assert down.percent == pytest.approx(25)


def test_the_interval_of_a_gain_holds_it_and_narrows_with_clips():
    rng = np.random.default_rng(0)
    widths = []
    for clips in (10, 1000):
        theirs = rng.normal(1, 0.2, clips)
        ours = theirs * 1.1 + rng.normal(0, 0.1, clips)
        found = gain([clips_with([*ours])], [clips_with([*theirs])], mean("x"))
        assert found.low < 10 < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 5


def test_clips_that_are_unknown_to_either_are_left_out():
    ours, theirs = [clips_with([2.0, None, 2.0])], [clips_with([1.0, 1.0, None])]
    assert gain(ours, theirs, mean("x")).clips == 1
    assert gain([clips_with([None] * 3)], theirs, mean("x")).clips == 0
    assert np.isnan(gain(ours, [clips_with([0.0, 0.0, None])], mean("x")).percent)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    for _ in range(60):
        level = random.normal(0, 0.3, 30)  # of each recording, in ours and in theirs alike
        ours = [clips_with([*(1.1 + level + random.normal(0, 0.1, 30))]) for _ in range(2)]
        theirs = [clips_with([*(1.0 + level + random.normal(0, 0.1, 30))]) for _ in range(2)]
        found = gain(ours, theirs, mean("x"))
        held += found.low <= 10 <= found.high
    assert held >= 52


def test_resamples_that_know_no_figure_are_not_left_out_of_an_interval():
    """Closures of one recording in ten: a third of the resamples hold none of them."""
    counts = [{"closed": 3.0, "missed": 1.0, "wrong": 0.0}] + 9 * [
        {"closed": 0.0, "missed": 0.0, "wrong": 0.0}
    ]
    clips = {f"clip{i}": {"recording": f"r{i}", **one} for i, one in enumerate(counts)}
    found = gain([clips], [clips], closure_f1())
    assert found.percent == 0 and np.isnan([found.low, found.high]).all()


def test_pieces_of_one_recording_are_drawn_together():
    """Twenty pieces of eight recordings know no more than eight clips."""
    random = np.random.default_rng(1)
    level = random.normal(1, 0.3, 8)
    pieces = np.repeat(level, 20)
    names = [f"r{i // 20}" for i in range(160)]
    theirs = [clips_with([1.0] * 160, names)]
    together = gain([clips_with([*pieces], names)], theirs, mean("x"))
    apart = gain([clips_with([*pieces])], [clips_with([1.0] * 160)], mean("x"))
    once = gain([clips_with([*level])], [clips_with([1.0] * 8)], mean("x"))
    assert together.recordings == 8 and apart.recordings == 160
    assert together.high - together.low == pytest.approx(once.high - once.low)
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_seeds_that_differ_widen_an_interval():
    same, theirs = [clips_with([1.2] * 10)] * 3, [clips_with([1.0] * 10)]
    spread = [clips_with([value] * 10) for value in (1.0, 1.2, 1.4)]
    narrow, wide = gain(same, theirs, mean("x")), gain(spread, theirs, mean("x"))
    assert (narrow.percent, narrow.low, narrow.high) == pytest.approx((20, 20, 20))
    assert wide.percent == pytest.approx(20) and wide.low <= 5 and wide.high >= 35


def test_closures_are_counted_over_all_clips():
    def clip(closed, missed, wrong, prefix=""):
        counts = zip(("closed", "missed", "wrong"), (closed, missed, wrong), strict=True)
        return {"recording": "r"} | {f"{prefix}{name}": float(n) for name, n in counts}

    rows = [{"a": clip(3, 1, 0), "b": clip(0, 0, 2), "c": {"recording": "r"}}]
    assert per_seed(rows, closure_f1())[0] == pytest.approx(6 / 9)
    real = [{"a": clip(1, 0, 0, "real_")}]
    assert per_seed(real, closure_f1("real_"))[0] == 1
    assert not len(per_seed(real, closure_f1()))


# --- sync -----------------------------------------------------------------------------------------


def similarity(seed, offset=0, frames=60):
    """Rows of a judge: alike at one offset, some offsets outside the clip."""
    random = np.random.default_rng(seed)
    rows = random.uniform(-0.2, 0.3, (frames, 31))
    rows[:, 15 + offset] += 0.5
    for t in range(12):
        rows[t, : 12 - t] = np.nan
    return torch.from_numpy(rows.clip(-1, 1)).float()


def test_added_sums_are_read_as_whole_rows_are():
    """Also where some windows are like everything, and the true offset is not known in them."""
    rows = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        one = random.uniform(-0.2, 0.2, (60, 31))
        one[:, 15 - 6] += 0.1
        one[:12] += 0.6
        for t in range(30):
            one[t, : (30 - t) // 2] = np.nan
        rows.append(torch.from_numpy(one).float())
    whole = read_rows(Judge(JudgeConfig(width=8)), rows)
    kept = [judged.sums(one) for one in rows]
    found = judged.read(sum(judged.as_vector(one) for one in kept))
    assert whole.offset_frames == found.offset_frames == -6
    assert found.distance == pytest.approx(whole.distance, abs=1e-6)
    assert found.confidence == pytest.approx(whole.confidence, abs=1e-6)
    assert sum(one["frames"] for one in kept) == 180


def test_too_little_speech_reads_as_nothing():
    few = judged.as_vector(judged.sums(similarity(0)[:5]))
    none = judged.as_vector(judged.sums(similarity(0)[:0]))
    assert np.isnan(judged.read(np.stack([few, none]))).all()


def drawn_rows(good=(0, 2), count=10, real=0):
    """Two features drawn with one seed by a splat head; ours is alike at the right offset."""
    rows = []
    for name, offset in zip(("se4lip", "mfcc"), good, strict=True):
        clips = {
            f"c{i}": {
                "recording": f"r{i}",
                "frames": 75,
                "judge": judged.sums(similarity(i, offset) * (1 if name == "se4lip" else 0.8)),
                "real_judge": judged.sums(similarity(i, real)),
            }
            for i in range(count)
        }
        rows.append(
            {"head": "splat head", "features": name, "seed": 0, "set": "same speaker"}
            | {"clips": clips}
        )
    return rows


def test_a_sync_gain_and_the_share_of_the_real_videos_confidence_are_told():
    (section,) = sections_of(drawn_rows())
    rival, found = gain_over_best(section, "se4lip", JUDGE_CONFIDENCE)
    assert rival == "mfcc" and found.percent > 10 and found.low > 0
    confidence = {
        name: float(per_seed(rows, JUDGE_CONFIDENCE.statistic)[0])
        for name, rows in section.rows.items()
    }
    expected = 100 * (confidence["se4lip"] / confidence["mfcc"] - 1)
    assert found.percent == pytest.approx(expected)
    shares = shares_of(section, SYNC)
    assert [one["features"] for one in shares] == ["se4lip", "mfcc"]
    assert shares[0]["percent"] == pytest.approx(100) and shares[1]["percent"] < 95
    # Offsets are told, but more or less of them is no gain.
    assert gain_over_best(section, "se4lip", SYNC[0])[0] is None
    assert per_seed(section.rows["mfcc"], SYNC[0].statistic)[0] == 2

    told = {"head": "splat head", "set": "same speaker", "features": "se4lip", "over": "mfcc"}
    told |= {"figure": "judge_confidence", **vars(found)}
    text = claims([section], [told], shares)
    assert f"{found} over mfcc" in text and "100.0 % (100.0 to 100.0)" in text
    assert "none was judged here" in claims([section], [], [])


def test_a_claim_is_met_by_figure_and_interval():
    assert met(Gain(21, 2, 40, 9, 9), 20) == "yes"
    assert met(Gain(21, -2, 40, 9, 9), 20) == "no" == met(Gain(19, 2, 40, 9, 9), 20)
    assert met(Gain(21, 2, 40, 9, 9), 20, 1.0) == "yes"
    assert met(Gain(21, 2, 40, 9, 9), 20, -2.0) == "no, out of step"
    assert met(Gain(21, np.nan, np.nan, 9, 3), 20) == "too few recordings"


def test_a_share_follows_both_videos():
    rows = [clips_with([0.5] * 9), clips_with([0.7] * 9)]
    for of_seed in rows:
        for clip in of_seed.values():
            clip["real_x"] = 0.8
    found = share(rows, mean("x"), mean("real_x"))
    assert found.percent == pytest.approx(75) and found.low == pytest.approx(62.5)
    assert found.share_text().startswith("75.0 % (62.5 to 87.5")


def test_encoders_of_ours_are_no_rivals_of_each_other():
    rows = [
        {"head": None, "features": name, "seed": 0, "set": "s", "clips": clips_with([value] * 9)}
        for name, value in {"se4lip": 1.0, "mfcc": 0.5, "logmel": 0.4, "se4lip:b": 2.0}.items()
    ]
    (section,) = sections_of(rows)
    figure = replace(LIPS[0], statistic=mean("x"))
    assert section.rivals == ["mfcc", "logmel"] and section.recordings == 9
    for name, percent in {"se4lip": 100, "se4lip:b": 300}.items():
        rival, found = gain_over_best(section, name, figure)
        assert rival == "mfcc" and found.percent == pytest.approx(percent)


# --- plots ----------------------------------------------------------------------------------------


def ink(picture):
    return (picture < 250).any(-1)


def test_bars_below_zero_are_drawn():
    """A figure below 0 hangs from the line; once it vanished below the axes."""
    values = [(-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)]
    picture = pictures.bars(["ours", "theirs"], {"figure": values}, "title")
    blue = (picture[..., 2] > 150) & (picture[..., 0] < 60)
    grey = (np.ptp(picture, axis=-1) == 0) & (abs(picture[..., 0].astype(int) - 166) < 6)
    assert blue.sum() > 500 and grey.sum() > 500
    assert np.nonzero(blue)[0].mean() > np.nonzero(grey)[0].mean(), "below, not above"


def test_bars_below_chance_are_drawn():
    values = {"AUC": [(0.3, 0.25, 0.35), (0.4, 0.4, 0.4)]}
    picture = pictures.bars(["ours", "theirs"], values, "title", {"AUC": 0.5})
    blue = (picture[..., 2] > 150) & (picture[..., 0] < 60)
    grey = (np.ptp(picture, axis=-1) == 0) & (abs(picture[..., 0].astype(int) - 166) < 6)
    ours, theirs = (np.flatnonzero(colour.sum(1) > 50) for colour in (blue, grey))
    assert abs(ours[0] - theirs[0]) <= 2, "both hang from chance"
    assert len(ours) == pytest.approx(2 * len(theirs), rel=0.1)


def test_a_forest_shows_gains_on_both_sides_of_nothing():
    lines = [("up", 20.0, 10.0, 30.0), ("down", -20.0, -30.0, -10.0), ("few", 0.0, *[np.nan] * 2)]
    picture = pictures.forest({"splat": lines}, "gain")
    blue = (picture[..., 2] > 150) & (picture[..., 0] < 60)
    rows, columns = np.nonzero(blue)
    top, bottom = columns[rows < rows.mean() - 10], columns[rows > rows.mean() + 40]
    assert top.mean() > bottom.mean() and ink(picture).sum() > 1000
