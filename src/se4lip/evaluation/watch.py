"""A video as its judges see it: its face in every frame, and its sound.

Pictures are not kept, but landmarks and sound are, because what is judged is judged against the
means of the whole. So memory grows with the length: by 20 kB a frame at its peak in ``sync_video``,
1.8 GB for an hour (measured on 320 and 1,280 s). Hours of video are to be judged in parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from se4lip.audio.voice_activity import speech_in_frames
from se4lip.face.follow import (
    EVERY_FACE,
    FollowConfig,
    Sighting,
    follow,
    sight,
    where_seen,
)
from se4lip.face.tracker import Tracker
from se4lip.io.video import probe_video, read_clip_speech, read_frames
from se4lip.prepare.source import told
from se4lip.types import FaceTrack, InputError

# Encoders pad the sound and repeat or drop a last frame; more than this is another clip.
LENGTHS_MAY_DIFFER_FRAMES = 2
# As clips are prepared, but for dropouts: judges count them.
_ONE_FACE = FollowConfig(longest_dropout_frames=EVERY_FACE.longest_dropout_frames)


@dataclass(frozen=True, eq=False)
class Watched:
    """A video as its judges see it. Where ``seen`` is false, ``track`` is filled in.

    ``trouble`` says why it is not one shot of one face, as ``prepare`` would: "two faces at 3.20 s"
    or "a cut at 0.80 s"; empty if it is. ``track`` is then of the face that is nearest to where one
    was last.
    """

    path: Path
    width_px: int
    height_px: int
    seen: Bool[np.ndarray, " T"]
    track: FaceTrack | None
    samples: Float32[np.ndarray, " S"] | None
    trouble: str = ""
    heard: str = ""  # which of several sound tracks (`io.video.VideoInfo`)

    def __len__(self) -> int:
        return len(self.seen)

    def pictures(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        return itertools.islice(read_frames(self.path), len(self))

    def face(self) -> FaceTrack:
        if self.track is None:
            raise InputError(f"no face in {self.path}")
        return self.track

    def points(self) -> Float32[np.ndarray, "T 478 3"]:
        """Landmarks, NaN in frames without a face."""
        return where_seen(self.face().landmarks_px, self.seen)

    def shapes(self) -> Float32[np.ndarray, "T 52"]:
        return where_seen(self.face().blendshapes, self.seen)

    def sound(self) -> Float32[np.ndarray, " S"]:
        if self.samples is None:
            raise InputError(f"{self.path} has no sound: pass --audio FILE")
        return self.samples

    def speaking(self) -> Bool[np.ndarray, " T"]:
        return speech_in_frames(self.sound(), len(self))


def watch(
    path: Path, tracker: Tracker, on_progress: Callable[[float], None] = lambda share: None
) -> Watched:
    """Look for the face in every frame of a video, and listen to its sound.

    ``on_progress`` is told the share done, where the video's header says how long it is.

    Raises:
        InputError: the file cannot be read.
    """
    info = probe_video(path)
    sightings = list(told(sight(read_frames(path), tracker), info.frames, on_progress))
    seen = np.array([bool(sighting.faces) for sighting in sightings])
    track, trouble = _followed(sightings) if seen.any() else (None, "")
    return Watched(
        path=path,
        width_px=info.width_px,
        height_px=info.height_px,
        seen=seen,
        track=track,
        samples=read_clip_speech(path).samples if info.has_sound else None,
        trouble=trouble,
        heard=info.heard,
    )


def _followed(sightings: Sequence[Sighting]) -> tuple[FaceTrack, str]:
    """The face, and why it may not be one and the same."""
    try:
        return follow(sightings, _ONE_FACE)[0], ""
    except InputError as reason:
        return follow(sightings, EVERY_FACE)[0], str(reason)


def same_length(ours: Watched, real: Watched) -> tuple[Watched, Watched, str]:
    """Both, cut to the shorter one, and a note that says so.

    Raises:
        InputError: they differ by more than coding explains.
    """
    lengths = f"{ours.path} has {len(ours)} frames, {real.path} {len(real)}"
    if abs(len(ours) - len(real)) > LENGTHS_MAY_DIFFER_FRAMES:
        raise InputError(f"{lengths}: cut both to the same part")
    frames = min(len(ours), len(real))
    return _cut(ours, frames), _cut(real, frames), f"{lengths}: the first {frames} are compared"


def _cut(video: Watched, frames: int) -> Watched:
    track = video.track
    if track is not None:
        track = replace(
            track,
            landmarks_px=track.landmarks_px[:frames],
            blendshapes=track.blendshapes[:frames],
            camera_from_face=track.camera_from_face[:frames],
        )
    return replace(video, seen=video.seen[:frames], track=track)
