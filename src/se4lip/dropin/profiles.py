"""From lip features to the files of one system: row counts, refusals, and the list a user reads."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from se4lip.dropin.layouts import Layout, lay_out
from se4lip.dropin.maps import FEATURE_WIDTH
from se4lip.types import FRAME_RATE_HZ, InputError

# Sound and video of one recording differ by encoder padding and a begun frame, and by clocks that
# part. What differs by more came from another recording or has another frame rate: 24 and 25 a
# second are 4 % apart.
SLACK_FRAMES, SLACK_SHARE = 4, 0.02


@dataclass(frozen=True)
class Profile:
    """What one talking-head system reads, and what its user types there.

    ``rows_read`` rows around a frame are read at once; at the ends zeros stand in for at most half
    of them. ``frames_from`` says where its data set numbers the frames; a loader that is ``exact``
    fails on rows beyond the last picture, others leave them unread. In ``train``, ``drive`` and
    ``caveat``, ``<ID>`` is the person and ``<stem>`` the audio file without its extension.
    """

    name: str
    title: str
    loader: str
    layouts: tuple[Layout, ...]
    train: tuple[str, ...]
    drive: tuple[str, ...]
    caveat: str
    rows_read: int = 8
    frames_from: Literal["transforms", "gt_imgs", "full_body_img"] = "transforms"
    exact: bool = False


@dataclass(frozen=True)
class FeatureFile:
    """One array and the name it is saved under."""

    name: str
    array: Float32[np.ndarray, "..."]


def feature_files(
    profile: Profile,
    features: Float32[np.ndarray, "T 512"],
    *,
    stem: str = "aud",
    frames: int | None = None,
) -> list[FeatureFile]:
    """The files that ``profile``'s own loader takes unchanged.

    ``features`` are SE4Lip's: unit rows, 25 a second. ``stem`` is the audio file's name without its
    extension; in a data set it is ``aud``. ``frames`` is how many frames the data set has, those
    without a face included; leave it out for sound without a video.

    Raises:
        InputError: the features are too few, not finite, of another kind, or do not fit the data.
    """
    _check(profile, features, frames)
    files = []
    for layout in _fitting(profile, len(features), frames):
        heard = layout.frames_heard(len(features))
        rows = heard if frames is None else frames if profile.exact else max(heard, frames)
        array = np.ascontiguousarray(lay_out(layout, features, rows))
        files.append(FeatureFile(stem + layout.suffix, array))
    return files


def file_names(
    profile: Profile, seconds: float, *, stem: str = "aud", frames: int | None = None
) -> list[str]:
    """What ``feature_files`` of about so many seconds of sound will be called.

    Empty where the sound is not known to fit the data, as when no header says how long it is.
    """
    with contextlib.suppress(InputError):
        layouts = _fitting(profile, math.ceil(seconds * FRAME_RATE_HZ), frames) if seconds else ()
        return [stem + layout.suffix for layout in layouts]
    return []


def describe(profiles: Mapping[str, Profile]) -> str:
    """All profiles with their files and the commands to type, as text for a terminal."""
    return "\n\n".join(_describe(profile) for profile in profiles.values())


def _check(profile: Profile, features: Float32[np.ndarray, "T 512"], frames: int | None) -> None:
    if features.ndim != 2 or features.shape[1] != FEATURE_WIDTH or features.dtype != np.float32:
        raise InputError(
            f"features have shape {list(features.shape)} and dtype {features.dtype}, but "
            f"[T, {FEATURE_WIDTH}] float32 is needed: make them with `se4lip encode`"
        )
    if not np.isfinite(features).all():
        raise InputError("features hold NaN or infinite numbers: encode the recording again")
    least = profile.rows_read // 2
    shortest = min(len(features), len(features) if frames is None else frames)
    if frames is not None and frames < min(least, len(features)):
        raise InputError(
            f"the data set lists {frames} frames, but {profile.title} reads {profile.rows_read} at "
            f"a time and fails below {least}: prepare it again, for its sound lasts "
            f"{len(features)}"
        )
    if shortest < least:
        raise InputError(
            f"only {shortest} frames, but {profile.title} reads {profile.rows_read} at a time and "
            f"fails below {least}: give at least {least / FRAME_RATE_HZ:.2f} s"
        )


def _fitting(profile: Profile, heard: int, frames: int | None) -> list[Layout]:
    """The layouts whose frame rate is that of the data set."""
    if frames is None:
        return list(profile.layouts)

    def misfit_frames(layout: Layout) -> int:
        return abs(layout.frames_heard(heard) - frames)

    closest = min(map(misfit_frames, profile.layouts))
    if closest > max(SLACK_FRAMES, SLACK_SHARE * frames):
        rates = sorted({layout.video_rate_hz for layout in profile.layouts})
        seconds = heard / FRAME_RATE_HZ
        raise InputError(
            f"the data set has {frames} frames but its sound lasts {seconds:.2f} s, which makes "
            f"{frames / seconds:.1f} frames a second where {profile.title} needs "
            f"{' or '.join(map(str, rates))}: make the data set again from a video of that rate, "
            "with sound as long as its pictures"
        )
    fitting = [layout for layout in profile.layouts if misfit_frames(layout) == closest]
    # Of a second or less several rates may fit as well: the usual one then.
    usual = [layout for layout in fitting if layout.video_rate_hz == FRAME_RATE_HZ]
    return usual or fitting


def _describe(profile: Profile) -> str:
    lines = [f"{profile.name}  ({profile.title})"]
    for layout in profile.layouts:
        shape = ", ".join(map(str, layout.row_shape))
        count = {1: "frames", 2: "2 x frames"}[layout.rows_per_frame]
        video = f"video at {layout.video_rate_hz} fps"
        lines.append(f"  writes  <stem>{layout.suffix}: [{count}, {shape}] float32, {video}")
    for label, text in [("train", profile.train), ("drive", profile.drive)]:
        lines += [f"  {label}   {line}" for line in text]
    lines += textwrap.wrap(
        profile.caveat, 98, initial_indent="  but     ", subsequent_indent=" " * 10
    )
    return "\n".join(lines)
