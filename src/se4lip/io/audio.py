"""Sound in and out: anything FFmpeg decodes becomes 16 kHz mono, in memory that does not grow."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import soxr
from jaxtyping import Float32

from se4lip.io.files import atomic
from se4lip.io.media import (
    CLOCK_GOES_BACK_S,
    by_path,
    check_decodable,
    decoded,
    demuxed,
    joined_recordings,
    opened,
)
from se4lip.types import HIGHEST_HZ, LOUDEST, LOWEST_HZ, SAMPLE_RATE_HZ, InputError, Speech

Block = Float32[np.ndarray, " S"]

# Smaller disagreements of time stamp and sample count are rounding (1 ms in Matroska) or jitter.
_LARGEST_DRIFT_S = 0.01
_LONGEST_GAP_S = 60.0
_FITS_S = 0.1  # from one block to the next, of any clock
_CANCELLED = 1e-4  # of a channel's power: -40 dB, which no mix of voices falls to by itself


def read_speech(path: Path | str) -> Speech:
    """The whole sound of an audio or video file as 16 kHz mono, from its first sample on.

    Raises:
        InputError: missing, empty, damaged, cut short, without sound, or holding NaN.
    """
    blocks = [chunk.samples for chunk in iter_speech(path)]
    return Speech(np.concatenate(blocks))


def promised_duration_s(path: Path | str) -> float:
    """How long the file's header says it is, for a progress bar; 0 where it does not say."""
    with opened(path, "audio") as container:
        return (container.duration or 0) / av.time_base


def holds_sound(path: Path | str) -> bool:
    """Whether there is any in the track that is heard: some programs write a track and nothing in
    it. The file is opened for that, for who has it open has read on in it."""
    with opened(path, "audio") as container, contextlib.suppress(av.error.FFmpegError):
        if not container.streams.audio:
            return False
        return any(packet.size for packet in demuxed(container, _heard_track(container)))
    return True  # damaged, which whoever reads it will tell


def which_is_heard(container: Any) -> str:
    """Words to put behind "no sound" and the like, as " in sound track 2 of 3"; none where there is
    but one."""
    tracks = container.streams.audio
    if len(tracks) < 2:
        return ""
    number = 1 + [track.index for track in tracks].index(_heard_track(container).index)
    return f" in sound track {number} of {len(tracks)}"


def _heard_track(container: Any) -> Any:
    """The sound that players play: that which the file calls the default, else the first."""
    tracks = container.streams.audio
    return next((t for t in tracks if t.disposition & t.disposition.default), tracks[0])


def iter_speech(path: Path | str, chunk_s: float = 10.0) -> Iterator[Speech]:
    """The sound of ``read_speech`` in pieces of ``chunk_s`` (the last may be shorter).

    Memory does not grow with the length of the file. Nothing is read before the first piece is
    asked for.

    Raises:
        InputError: as ``read_speech``, at the piece where the trouble lies.
    """
    yield from iter_from(path, chunk_s, origin_s=None)


def iter_from(
    path: Path | str,
    chunk_s: float,
    origin_s: float | None,
    to_hz: int | None = SAMPLE_RATE_HZ,
) -> Iterator[Speech]:
    """``iter_speech`` with sample 0 at presentation time ``origin_s`` of the file.

    What sounds earlier is dropped, a later start is preceded by silence. ``None`` means the first
    sample of the file, and for ``to_hz`` the rate of the file.
    """
    with opened(path, "audio") as container:
        if not container.streams.audio:
            raise InputError(f"{path} has no sound: give a file with an audio track")
        stream = _heard_track(container)
        check_decodable(stream, "sound", path)
        rate_hz = stream.rate
        if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
            raise InputError(
                f"the header of {path} says that its sound has {rate_hz} samples a second, but "
                f"{LOWEST_HZ} to {HIGHEST_HZ} are needed: convert it to 48000 Hz with the rate "
                "that is true"
            )
        sounds = _mono(container, stream, path)
        first = next(sounds, None)
        if first is None:
            raise InputError(f"{path} holds no audio samples: fetch or record it again")
        sounds = itertools.chain([first], sounds)
        timed = _on_one_clock(sounds, rate_hz, origin_s is None, path)
        blocks = _placed(timed, rate_hz, origin_s, path)
        heard = False
        to_hz = to_hz or rate_hz
        for samples in _rechunked(resampled(blocks, rate_hz, to_hz), round(chunk_s * to_hz)):
            heard = True
            yield Speech(samples, to_hz)
        if not heard:
            raise InputError(
                f"the sound of {path} ends before its first picture: give a recording in which "
                "both are there at once"
            )


def write_wav(path: Path | str, speech: Speech | Iterable[Speech]) -> None:
    """Write 16-bit PCM, whole or not at all; pieces of one rate may be streamed in.

    Raises:
        InputError: ``path`` cannot be written.
    """
    chunks = iter([speech] if isinstance(speech, Speech) else speech)
    with atomic(path) as part, av.open(by_path(part), "w", format="wav") as container:
        stream: Any = None
        for chunk in chunks:
            if not len(chunk.samples):
                continue
            if stream is None:
                stream = container.add_stream("pcm_s16le", rate=chunk.sample_rate_hz, layout="mono")
            frame = av.AudioFrame.from_ndarray(pcm16(chunk.samples)[None], "s16", "mono")
            frame.sample_rate = chunk.sample_rate_hz
            container.mux(stream.encode(frame))
        if stream is None:
            raise InputError(f"there is no sound to write to {path}: give at least one piece")
        container.mux(stream.encode(None))


def pcm16(samples: Block) -> np.ndarray:
    """[-1, 1] as signed 16-bit integers, rounded, overshoots clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def resampled(
    blocks: Iterable[Block], from_hz: int, to_hz: int = SAMPLE_RATE_HZ
) -> Iterator[Block]:
    """Consecutive blocks of one signal at another rate, without shifting it in time.

    ``n`` samples become ``ceil(n * to_hz / from_hz)``, as in ``audio.resample``.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
    taken = given = 0
    for samples in blocks:
        out = resampler.resample_chunk(np.ascontiguousarray(samples)).clip(-1, 1)
        taken, given = taken + len(samples), given + len(out)
        yield out
    out = resampler.resample_chunk(np.zeros(0, np.float32), last=True).clip(-1, 1)
    # soxr rounds the length; half a sample more or less decides whether a last frame exists.
    missing = -(-taken * to_hz // from_hz) - given - len(out)
    yield np.pad(out, (0, missing)) if missing >= 0 else out[:missing]


def _mono(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float | None, Block]]:
    """Presentation time in seconds and mono samples of every decoded frame, at ``stream.rate``."""
    resampler, shape, weights = None, None, np.ones(1, np.float32)
    loud = mixed = 0.0  # sums of squares, of the loudest channel and of the mix
    for frame in decoded(container, stream, path):
        if resampler is None or shape != (frame.format.name, frame.layout, frame.sample_rate):
            # Streams may change format midway; the first frame's rate stays.
            shape = (frame.format.name, frame.layout, frame.sample_rate)
            # Not planar: PyAV 18 counts planes beyond their end where there are eight or more.
            resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=stream.rate)
            weights = _downmix(frame.layout)
        time_s = frame.time
        for packed in _of_floats(resampler, frame, path):
            channels = packed.to_ndarray().reshape(-1, len(weights)).T
            samples = weights @ channels
            if not np.isfinite(samples).all():
                raise InputError(
                    f"{path} holds NaN or infinite samples: repair the recording first"
                )
            if len(samples) and np.abs(samples).max() > LOUDEST:
                raise InputError(
                    f"{path} holds samples as large as {np.abs(samples).max():.0f}, but floating "
                    "point sound must lie in [-1, 1]: scale it first"
                )
            loud += float(np.square(channels[weights > 0], dtype=np.float64).sum(1).max())
            mixed += float(np.square(samples, dtype=np.float64).sum())
            yield time_s, np.clip(samples, -1, 1)
            time_s = None
    if mixed < _CANCELLED * loud:
        raise InputError(
            f"the channels of {path} cancel each other when they are added up: give a file with "
            "one of them, as with ffmpeg -i FILE -af pan=mono|c0=c0"
        )


def _of_floats(resampler: av.AudioResampler, frame: Any, path: Path | str) -> list[Any]:
    try:
        return resampler.resample(frame)
    except av.error.FFmpegError as error:
        raise InputError(
            f"the sound of {path} has {frame.layout.nb_channels} channels, more than FFmpeg can "
            "convert: give a file with fewer of them"
        ) from error


def _downmix(layout: av.AudioLayout) -> Float32[np.ndarray, " C"]:
    """Weights of channels in the mono sum, which never exceeds 1.

    Voices sit in the centre of surround sound; its low-frequency channel holds none.
    """
    known = {"FL": 0.7, "FR": 0.7, "FC": 1.0, "LFE": 0.0}
    weights = np.array([known.get(channel.name, 0.5) for channel in layout.channels], np.float32)
    if len(weights) != layout.nb_channels or not weights.any():  # a layout FFmpeg cannot name
        weights = np.ones(layout.nb_channels, np.float32)
    return weights / weights.sum()


def _on_one_clock(
    blocks: Iterable[tuple[float | None, Block]], rate_hz: int, alone: bool, path: Path | str
) -> Iterator[tuple[float | None, Block]]:
    """The same, without time stamps that lie far off and that the next block does not go on from:
    one wild stamp is an error, two that fit each other are a pause or another recording's clock.

    Recordings that were joined as they are (chained Ogg, MPEG-TS) may each start their clock anew.
    Sound ``alone`` then goes on where it was; where it must stay with pictures that is refused.
    """
    held: tuple[float, Block] | None = None
    ended_s: float | None = None  # by the clock of the file
    later_s = 0.0  # by which a clock that started anew lies behind the first
    for time_s, samples in blocks:
        if held is not None and ended_s is not None:
            first_s, first = held
            held, length_s = None, len(first) / rate_hz
            if time_s is None or abs(time_s - first_s - length_s) < _FITS_S:
                if first_s < ended_s and not alone:
                    raise InputError(joined_recordings(path, "sound", ended_s - first_s))
                later_s += max(0.0, ended_s - first_s)
                ended_s = first_s + length_s
                yield first_s + later_s, first
            else:
                ended_s += length_s
                yield None, first
        if time_s is not None:
            if ended_s is not None and abs(time_s - ended_s) > CLOCK_GOES_BACK_S:
                held = time_s, samples
                continue
            ended_s = time_s
        if ended_s is not None:
            ended_s += len(samples) / rate_hz
        yield (None if time_s is None else time_s + later_s), samples
    if held is not None:
        yield None, held[1]


def _placed(
    blocks: Iterable[tuple[float | None, Block]],
    rate_hz: int,
    origin_s: float | None,
    path: Path | str,
) -> Iterator[Block]:
    """Blocks laid end to end from the origin on; gaps become silence, overlaps are dropped."""
    position = 0  # samples since the origin that are already out
    for time_s, samples in blocks:
        if origin_s is None:
            origin_s = time_s
        if time_s is not None and origin_s is not None:
            target = round((time_s - origin_s) * rate_hz)
            drift = target - position
            if drift > _LONGEST_GAP_S * rate_hz:
                raise InputError(
                    f"the sound of {path} pauses for {drift / rate_hz:.0f} s, more than the "
                    f"{_LONGEST_GAP_S:.0f} s that time stamps are believed: convert it again"
                )
            if not position or abs(drift) > _LARGEST_DRIFT_S * rate_hz:
                if drift > 0:
                    yield np.zeros(drift, np.float32)
                    position = target
                elif drift < 0:
                    samples = samples[-drift:]
        position += len(samples)
        if len(samples):
            yield samples


def _rechunked(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    kept: list[Block] = []
    count = 0
    for samples in blocks:
        kept.append(samples)
        count += len(samples)
        while count >= size:
            joined = np.concatenate(kept)
            yield joined[:size]
            kept, count = [joined[size:]], count - size
    if count:
        yield np.concatenate(kept)
