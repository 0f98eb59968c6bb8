"""Opening and decoding of audio and video containers, with one sentence for each way to fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.container
import av.error

from se4lip.io.files import existing_file
from se4lip.types import InputError

# Their headers state the true length. Others (MPEG-PS and -TS, Ogg, MP3 without an index) state
# none: where they were cut off, that cannot be seen.
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"
_LENGTH_IS_TRUE = {"w64", "flac", "aiff", "caf", _MOV}
_MATROSKA = "matroska,webm"
# Of WAV: tags of integers and of floating point, and where tag, channels, rate, bytes a second,
# bits and, where the tag says that it follows, the true tag stand.
_PCM_TAGS, _WAV_EXTENSIBLE = {1, 3}, 0xFFFE
_WAV_FIELDS = ((0, 2), (2, 4), (4, 8), (8, 12), (14, 16), (24, 26))
_LENGTH_SLACK_S = 0.25  # encoder delay and edit lists move an end by up to two AAC frames a side
CLOCK_GOES_BACK_S = 1.0  # what goes back by less is jitter; by more it is another recording's


@contextlib.contextmanager
def opened(path: Path | str, what: str) -> Iterator[av.container.InputContainer]:
    """Open ``path`` for decoding; ``what`` ("audio", "video") names it in errors.

    Raises:
        InputError: missing, empty, or nothing FFmpeg knows.
    """
    existing_file(path, what)
    try:
        # Metadata is often not UTF-8, and none of it matters here.
        container = av.open(by_path(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{what} {path} cannot be opened, it is damaged, cut short or no {what} file: "
            "fetch or record it again"
        ) from error
    with container:
        yield container


def check_decodable(stream: Any, what: str, path: Path | str) -> None:
    """Raises: InputError when FFmpeg has no decoder for ``stream``, the ``what`` of ``path``."""
    if stream.codec_context is None:
        raise InputError(
            f"the {what} of {path} is coded in a way that FFmpeg does not know: convert it with "
            "the program that made it"
        )


def joined_recordings(path: Path | str, what: str, back_s: float) -> str:
    """What is wrong with a file whose times of ``what`` go back by ``back_s``."""
    return (
        f"the clock of the {what} of {path} goes back by {back_s:.1f} s, several recordings are "
        "joined there: give them one by one, or convert it again"
    )


def by_path(path: Path | str) -> str:
    """``path`` as FFmpeg takes it for a file's: of ``12:30.wav`` it would look for a protocol."""
    return str(Path(path).absolute())


def read_tags(path: Path | str) -> dict[str, str]:
    """The plain metadata of a media file (comment, title, encoder and the like): unprotected.

    Raises:
        InputError: as ``opened``.
    """
    with opened(path, "video") as container:
        return {str(name): str(value) for name, value in container.metadata.items()}


def decoded(container: av.container.InputContainer, stream: Any, path: Path | str) -> Iterator[Any]:
    """The frames of one stream in the order they are presented.

    Raises:
        InputError: the data are damaged, or end earlier than the header promises.
    """
    end_s = 0.0  # since the stream's start
    count = 0  # packets of the stream
    reached_s = 0.0  # in the file, by any stream
    # Matroska states one length for all of its streams, of which any may end early.
    whole = container.format.name == _MATROSKA
    try:
        for packet in demuxed(container, None if whole else stream):
            if packet.pts is not None:
                length = packet.duration or 0
                reached_s = max(reached_s, float((packet.pts + length) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
            count += packet.size > 0
            for frame in stream.decode(packet):
                if frame.time is not None:
                    start_s = float((stream.start_time or 0) * stream.time_base)
                    end_s = max(end_s, frame.time - start_s + _length_s(frame))
                yield frame
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path} is damaged {end_s:.2f} s after its start: fetch or record it again"
        ) from error
    promised_s = _promised_s(container, stream, path)
    if container.format.name == _MATROSKA:
        end_s = reached_s
    elif container.format.name == _MOV and stream.start_time and count >= _listed(stream):
        # All of it came. FFmpeg may count the time before a track that an edit list starts late.
        end_s += max(0.0, float(stream.start_time * stream.time_base))
    missing_s = promised_s - end_s
    if missing_s > _LENGTH_SLACK_S:
        raise InputError(
            f"{path} is cut short: {promised_s:.2f} s are promised and {missing_s:.2f} s of "
            "them are missing: fetch or record it again"
        )


def demuxed(container: av.container.InputContainer, stream: Any) -> Iterator[Any]:
    """Packets of ``stream``, or of all there were when the file was opened. Further ones that a
    broadcast began later are passed over."""
    # At its end PyAV 18 asks the later ones, too, for what they held back, and finds them nowhere.
    with contextlib.suppress(IndexError):
        yield from container.demux() if stream is None else container.demux(stream)


def _listed(stream: Any) -> int:
    """How many packets the index of the file lists; older PyAV does not say."""
    return len(getattr(stream, "index_entries", ()))


def _length_s(frame: Any) -> float:
    if isinstance(frame, av.AudioFrame):
        return frame.samples / frame.sample_rate
    return float((frame.duration or 0) * (frame.time_base or 0))


def _promised_s(container: av.container.InputContainer, stream: Any, path: Path | str) -> float:
    """The length the header states, or 0 where it states none that can be trusted."""
    if container.format.name == "wav":
        return _wav_promised_s(path)  # FFmpeg replaces what is wrong by an estimate
    if container.format.name == _MATROSKA:
        return (container.duration or 0) / av.time_base
    known = container.format.name in _LENGTH_IS_TRUE or (
        container.format.name == "mp3" and _mp3_counts_its_frames(path)
    )
    return float(stream.duration * stream.time_base) if known and stream.duration else 0.0


def _mp3_counts_its_frames(path: Path | str) -> bool:
    """Whether there is an index (Xing or Info) in the first frame, behind any ID3 tag."""
    with Path(path).open("rb") as file:
        head = file.read(10)
        size = 0
        if head[:3] == b"ID3":
            for byte in head[6:10]:
                size = size << 7 | byte & 0x7F
            size += 10
        file.seek(size)
        frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    return at >= 0 and bool(int.from_bytes(frame[at + 4 : at + 8], "big") & 1)


def _wav_promised_s(path: Path | str) -> float:
    with Path(path).open("rb") as file:
        file.seek(12)
        bytes_per_s = 0
        while len(head := file.read(8)) == 8:
            kind, size = head[:4], int.from_bytes(head[4:], "little")
            if kind == b"data":
                # Programs that write to a pipe cannot know the length, and put the largest number.
                return size / bytes_per_s if bytes_per_s and size < 0x7FFFF000 else 0.0
            if kind == b"fmt ":
                form = file.read(min(size, 26))
                tag, channels, rate_hz, per_s, bits, sub_tag = (
                    int.from_bytes(form[a:b], "little") for a, b in _WAV_FIELDS
                )
                # Of PCM nobody reads the bytes a second, and some write nonsense there.
                is_pcm = (sub_tag if tag == _WAV_EXTENSIBLE else tag) in _PCM_TAGS
                bytes_per_s = rate_hz * channels * -(-bits // 8) if is_pcm else per_s
                size -= len(form)
            file.seek(size + size % 2, 1)
    return 0.0
