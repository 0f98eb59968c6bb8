"""What recordings of cameras and broadcasts hold besides one picture and one sound."""

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from recordings import flash, flash_and_click, onset_s, tone
from se4lip.io import video
from se4lip.io.audio import read_speech
from se4lip.io.media import demuxed
from se4lip.io.video import probe_video, read_clip_speech, read_frames
from se4lip.types import InputError

SECONDS = np.arange(75) / 25


def tracks(path, sounds, default):
    """Flash and click at 1 s; of several sound tracks one is what players play."""
    pictures = flash(SECONDS, 1.0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        streams = [container.add_stream("aac", rate=48_000, layout="mono") for _ in sounds]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition(int(number == default))
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        for stream, sound in zip(streams, sounds, strict=True):
            for at in range(0, len(sound), 1024):
                block = np.ascontiguousarray(sound[None, at : at + 1024])
                frame = av.AudioFrame.from_ndarray(block, "fltp", "mono")
                frame.sample_rate, frame.pts = 48_000, at
                container.mux(stream.encode(frame))
            if len(sound):
                container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_sound_tracks_the_one_that_players_play_is_heard(tmp_path, default):
    sounds = [tone(3, 48_000, at_s) for at_s in (1.0, 1.5)]
    path = tracks(tmp_path / "a.mkv", sounds, default)
    for speech in (read_clip_speech(path), read_speech(path)):
        assert onset_s(speech.samples) == pytest.approx((1.0, 1.5)[default], abs=0.01)
    assert probe_video(path).heard == f" in sound track {default + 1} of 2"
    assert probe_video(tracks(tmp_path / "b.mkv", sounds[:1], 0)).heard == ""


def test_a_sound_track_with_nothing_in_it_is_none(tmp_path):
    empty = tracks(tmp_path / "a.mkv", [np.zeros(0, np.float32)], 0)
    assert not probe_video(empty).has_sound
    assert probe_video(tracks(tmp_path / "b.mkv", [tone(3, 48_000)], 0)).has_sound


def test_a_broadcast_may_begin_further_tracks():
    """PyAV looks for them at its end, where they were not when it was opened, or does not: by what
    it finds beyond the end of a list."""

    class Programme:
        def demux(self, *streams):
            yield from ("first", "last", "flush")
            raise IndexError("list index out of range")

    assert list(demuxed(Programme(), None)) == ["first", "last", "flush"]


def test_a_last_picture_that_lasts_for_hours_is_not_believed(tmp_path, monkeypatch):
    path = flash_and_click(tmp_path / "a.mp4", SECONDS, 1.0)
    timed = video._timed

    def stretched(*given):
        for time_s, duration_s, frame in timed(*given):
            yield time_s, 61.0 if time_s > 2.95 else duration_s, frame

    monkeypatch.setattr(video, "_timed", stretched)
    with pytest.raises(InputError) as error:
        list(read_frames(path))
    assert str(error.value) == (
        f"the picture of {path} stands still for 61 s, more than the 60 s that time stamps are "
        "believed: convert it again"
    )


@pytest.mark.parametrize(
    ("size", "colours"), [((1280, 720), Colorspace.ITU709), ((64, 48), Colorspace.ITU601)]
)
def test_colours_that_do_not_say_what_they_are_are_taken_as_players_take_them(
    size, colours, tmp_path
):
    red = np.zeros((*size[::-1], 3), np.uint8)
    red[..., 0], red[..., 1] = 200, 40
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(red, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=colours)
            frame.colorspace = 2  # says nothing
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == 2
    np.testing.assert_allclose(next(read_frames(path))[4, 4], red[0, 0], atol=4)
