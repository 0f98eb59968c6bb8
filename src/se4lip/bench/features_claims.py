"""What the paper claims beside what was measured: sync of drawn clips, renderer by renderer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from se4lip.bench.asked import OWN, VOICES
from se4lip.bench.features_sections import Section, gain_of
from se4lip.bench.features_text import CLAIMS, NO_CLAIMS
from se4lip.bench.figures import JUDGE_OFFSET
from se4lip.bench.gains import Gain, per_seed
from se4lip.bench.record import table

PAPER_PERCENT = {"nerf": 13.7, "splat": 14.2}
AIM_PERCENT, SHARE_PERCENT = 20.0, 95.0
_JUDGES = {"judge_confidence": "second judge's confidence", "lse_c": "LSE-C"}


def claims(
    sections: Sequence[Section], gains: Sequence[dict[str, Any]], shares: Sequence[dict[str, Any]]
) -> str:
    """A table with one line for each renderer, set and sync figure of each of our encoders."""
    lines = []
    for one in gains:
        if one["head"] is None or one["figure"] not in _JUDGES or one["set"] not in (OWN, VOICES):
            continue
        found = gain_of(one)
        paper = PAPER_PERCENT["nerf" if one["head"].startswith("nerf") else "splat"]
        reached = next(
            (
                gain_of(other)
                for other in shares
                if all(other[key] == one[key] for key in ("head", "set", "features", "figure"))
            ),
            None,
        )
        apart = _offset(sections, one)
        lines.append(
            [
                *(one["head"], one["set"], one["features"], _JUDGES[one["figure"]]),
                f"{found} over {one['over']}",
                "-" if math.isnan(apart) else f"{apart:+.1f}",
                met(found, paper, apart),
                met(found, AIM_PERCENT, apart),
                "-" if reached is None else reached.share_text(),
                "-" if reached is None else _yes(reached.percent >= SHARE_PERCENT, apart),
            ]
        )
    if not lines:
        drawn = any(section.head for section in sections)
        why = (
            "the sync judges could not judge, or there are no others" if drawn else "no clip drawn"
        )
        return NO_CLAIMS.format(why=why)
    head = ["renderer", "clips", "features", "figure", "gain"]
    head += ["frames late", "paper's gain met", "20 % met"]
    head += ["share of the real video's", "95 % met"]
    return CLAIMS.format(lines=table(head, lines))


def _offset(sections: Sequence[Section], one: dict[str, Any]) -> float:
    """How many frames later than in the real video the sound lies, by the second judge: confidence
    is read where lips and sound fit best, wherever that is. NaN of SyncNet, which is asked clip by
    clip."""
    real = JUDGE_OFFSET.real
    if one["figure"] != "judge_confidence" or real is None:
        return math.nan
    section = next(s for s in sections if (s.head, s.what) == (one["head"], one["set"]))
    rows = section.rows[one["features"]]
    ours, theirs = per_seed(rows, JUDGE_OFFSET.statistic), per_seed(rows, real)
    return float(max(ours - theirs.mean(), key=abs)) if len(ours) and len(theirs) else math.nan


def met(found: Gain, percent: float, offset_frames: float = math.nan) -> str:
    """Whether a gain reaches ``percent``; a gain that chance could give does not, nor one of lips
    that are out of step."""
    if math.isnan(found.low):
        return "too few recordings"
    return _yes(found.percent >= percent and found.low > 0, offset_frames)


def _yes(reached: bool, offset_frames: float) -> str:
    if reached and abs(offset_frames) > 1:
        return "no, out of step"
    return "yes" if reached else "no"
