"""Pictures and sound keep their time, whatever the container does with it."""

import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings import flash, flash_and_click, onset_s, record, tone, turned
from se4lip.io.audio import read_speech
from se4lip.io.credentials import Origin
from se4lip.io.video import (
    iter_clip_speech,
    iter_heard,
    on_grid,
    probe_video,
    read_clip_speech,
    read_frames,
)
from se4lip.io.video_writing import write_video
from se4lip.types import InputError, Speech

HALF_FRAME_S = 0.02


def flash_s(path) -> float:
    bright = [picture.mean() > 128 for picture in read_frames(path)]
    assert any(bright) and not bright[0]
    return bright.index(True) / 25


def steady(rate_hz, seconds=3.0, start_s=0.0):
    return list(start_s + np.arange(round(seconds * rate_hz)) / rate_hz)


def jittered():
    rng = np.random.default_rng(0)
    return list(np.cumsum(rng.choice([0.011, 0.033, 0.05, 0.02], 110)) - 0.01)


CASES = {
    "25 fps, 44.1 kHz": ("a.mp4", steady(25), {"rate_hz": 44_100}),
    "25 fps, 16 kHz": ("a.mp4", steady(25), {"rate_hz": 16_000}),
    "30 fps, 48 kHz, B-frames": ("a.mp4", steady(30), {"b_frames": 3}),
    "29.97 fps": ("a.mp4", steady(30_000 / 1001), {}),
    "60 fps": ("a.mp4", steady(60), {}),
    "12.5 fps": ("a.mp4", steady(12.5), {}),
    "variable frame rate": ("a.mp4", jittered(), {}),
    "variable frame rate, Matroska": ("a.mkv", jittered(), {}),
    "sound 0.3 s late": ("a.mp4", steady(30), {"sound_from_s": 0.3}),
    "sound 0.3 s late, Matroska": ("a.mkv", steady(30), {"sound_from_s": 0.3}),
    "pictures 0.5 s late": ("a.mp4", steady(30, start_s=0.5), {}),
    "pictures 0.5 s late, Matroska": ("a.mkv", steady(25, start_s=0.5), {"rate_hz": 44_100}),
    "MPEG-TS": ("a.ts", steady(25), {}),
    "MPEG-PS, MP2": (
        "a.mpg",
        steady(25),
        {"video_codec": "mpeg2video", "audio_codec": "mp2", "ticks_hz": 25, "rate_hz": 44_100},
    ),
    "AVI, B-frames": (
        "a.avi",
        steady(25),
        {"b_frames": 3, "audio_codec": "pcm_s16le", "ticks_hz": 25},
    ),
    "AVI, PCM": ("a.avi", steady(25), {"b_frames": 0, "audio_codec": "pcm_s16le", "ticks_hz": 25}),
    "MOV, PCM": ("a.mov", steady(30), {"audio_codec": "pcm_s16le"}),
}


@pytest.mark.parametrize("case", CASES)
def test_flash_and_click_stay_within_half_a_frame(case, tmp_path):
    name, times_s, how = CASES[case]
    at_s = times_s[len(times_s) // 2]  # a source frame changes exactly when the sound begins
    path = flash_and_click(tmp_path / name, times_s, at_s, sound_s=times_s[-1] + 0.2, **how)
    seen_s, heard_s = flash_s(path), onset_s(read_clip_speech(path).samples)
    assert abs(seen_s - heard_s) <= HALF_FRAME_S + 0.002  # 2 ms: what AAC smears of an onset
    assert seen_s == pytest.approx(at_s - times_s[0], abs=HALF_FRAME_S + 1e-6)
    assert heard_s == pytest.approx(at_s - times_s[0], abs=0.003)


def test_a_source_at_25_fps_is_taken_frame_by_frame(tmp_path):
    rng = np.random.default_rng(1)
    levels = rng.integers(20, 236, 60)
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in levels]
    path = record(tmp_path / "a.mp4", pictures, steady(25, 60 / 25))
    seen = [picture.mean() for picture in read_frames(path)]
    assert len(seen) == 60
    np.testing.assert_allclose(seen, levels, atol=4)


@given(
    gaps=st.lists(st.floats(0.002, 0.5), min_size=1, max_size=60),
    last_s=st.sampled_from([0.0, 0.03, 0.2]),
    start=st.integers(0, 10),
)
def test_grid_frames_are_nearest_and_never_more_than_half_a_frame_early(gaps, last_s, start):
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    frames = [(float(t), last_s, i) for i, t in enumerate(times)]
    chosen = list(on_grid(iter(frames)))
    end_s = times[-1] + (last_s or gaps[-1])
    assert abs(len(chosen) - max(1, end_s * 25)) < 1
    assert chosen == sorted(chosen)
    for t, index in enumerate(chosen):
        time_s = t / 25
        assert times[index] - time_s <= HALF_FRAME_S + 1e-9
        allowed = times[times <= time_s + HALF_FRAME_S - 1e-9]
        assert abs(times[index] - time_s) <= np.abs(allowed - time_s).min() + 1e-9
    first = next((i for i, (t, _, _) in enumerate(frames) if t > start / 25), len(frames)) - 1
    assert list(on_grid(iter(frames[max(0, first - 1) :]), start)) == chosen[start:]


def test_no_picture_of_an_avi_with_b_frames_is_lost(tmp_path):
    grey = [np.full((48, 64, 3), 20 + 3 * (7 * t % 60), np.uint8) for t in range(300)]
    path = record(tmp_path / "a.avi", grey, steady(25, 12), b_frames=3, ticks_hz=25)
    for start in (0, 260):
        shown = [picture.mean() for picture in read_frames(path, start)]
        assert len(shown) == 300 - start
        np.testing.assert_allclose(shown, [p.mean() for p in grey[start:]], atol=3)


@pytest.mark.parametrize(
    ("aspect", "width", "height"),
    [(Fraction(16, 15), 68, 48), (Fraction(1, 2), 64, 96), (Fraction(1), 64, 48), (99, 64, 48)],
)
def test_pixels_are_made_square(aspect, width, height, tmp_path):
    left = np.full((48, 64, 3), 40, np.uint8)
    left[:, :32] = 220
    path = record(tmp_path / "a.mkv", [left] * 5, steady(25, 0.2), pixel_aspect=aspect)
    first = next(read_frames(path))
    assert first.shape == (height, width, 3)
    assert first[:, : width // 2 - 3].min() > 200 > 60 > first[:, width // 2 + 3 :].max()
    info = probe_video(path)
    assert (info.width_px, info.height_px) == (width, height)


@pytest.mark.parametrize("rate_hz", [16_000, None])
def test_what_is_heard_of_a_video_begins_with_its_pictures(rate_hz, tmp_path):
    late = tmp_path / "late.mov"
    flash_and_click(late, steady(25), 1.0, sound_from_s=0.3, audio_codec="pcm_s16le")
    early = flash_and_click(tmp_path / "early.mkv", steady(25, start_s=0.5), 1.7)
    plain = record(tmp_path / "plain.mka", None, None, tone(2.0, 48_000, 1.0))
    for path, at_s in ((late, 1.0), (early, 1.2), (plain, 1.0)):
        pieces = list(iter_heard(path, rate_hz=rate_hz))
        assert {piece.sample_rate_hz for piece in pieces} == {rate_hz or 48_000}
        samples = np.concatenate([piece.samples for piece in pieces])
        assert onset_s(samples, rate_hz or 48_000) == pytest.approx(at_s, abs=0.003)


def test_starting_late_gives_the_same_pictures_as_reading_on(tmp_path):
    rng = np.random.default_rng(2)
    pictures = list(rng.integers(0, 256, (420, 32, 32, 3), np.uint8))
    for name, times_s in (("a.mp4", steady(30, 14)), ("b.mkv", steady(30, 14, start_s=1.0))):
        path = record(tmp_path / name, pictures, times_s, b_frames=3)
        everything = list(read_frames(path))
        for start in (1, 100, 251, 300, len(everything) - 1):
            late = list(read_frames(path, start))
            assert len(late) == len(everything) - start
            assert all(np.array_equal(a, b) for a, b in zip(late, everything[start:], strict=True))


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts", "a.mkv", "a.mp4"])
def test_key_pictures_far_apart_do_not_hide_what_lies_between(tmp_path, name):
    """Webcams store one in ten seconds. Transport streams then cannot seek before the second."""
    pictures = list(np.random.default_rng(2).integers(0, 256, (420, 32, 32, 3), np.uint8))
    path = record(tmp_path / name, pictures, steady(25, 420 / 25), b_frames=3, key_every=400)
    everything = list(read_frames(path))
    for start in (251, 300, 399, 401):
        late = list(read_frames(path, start))
        assert len(late) == len(everything) - start
        assert all(np.array_equal(a, b) for a, b in zip(late, everything[start:], strict=True))


def test_raw_streams_that_cannot_seek_are_read_from_their_beginning(tmp_path):
    grey = [np.full((48, 64, 3), 20 + 3 * (7 * t % 60), np.uint8) for t in range(280)]
    path = record(tmp_path / "a.h264", grey, steady(25, 280 / 25), b_frames=0)
    shown = [picture.mean() for picture in read_frames(path, 270)]
    np.testing.assert_allclose(shown, [p.mean() for p in grey[270:]], atol=3)


def trimmed(path, by_s):
    """The same file, ``by_s`` cut from the front of what an edit list lets start late."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"elst") + 12
    empty_s, kept, media, _ = np.frombuffer(bytes(content[at - 4 :]), ">i4", 7)[[1, 4, 5, 6]]
    assert np.frombuffer(bytes(content[at - 4 : at]), ">i4")[0] == 2 and empty_s > 0
    content[at + 12 : at + 20] = np.array(
        [kept - by_s * 1000, media + by_s * 48_000], ">i4"
    ).tobytes()
    path.write_bytes(content)
    return path


def test_a_track_that_starts_late_and_is_trimmed_is_whole(tmp_path):
    path = flash_and_click(tmp_path / "a.mp4", steady(25), 2.0, sound_from_s=1.0, sound_s=2.0)
    assert onset_s(read_clip_speech(path).samples) == pytest.approx(2.0, abs=0.01)
    assert onset_s(read_clip_speech(trimmed(path, 0.5)).samples) == pytest.approx(1.5, abs=0.01)


def test_a_track_that_starts_late_and_is_cut_short_is_refused(tmp_path):
    pictures = list(np.random.default_rng(4).integers(0, 256, (100, 48, 64, 3), np.uint8))
    path = record(tmp_path / "a.mov", pictures, steady(25, 4, start_s=5.0), fast_start=True)
    assert len(list(read_frames(path))) == 100
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "is cut short" in refused(read_frames, path) or "is damaged" in refused(
        read_frames, path
    )


def test_joined_recordings_whose_clock_starts_anew_are_refused(tmp_path):
    parts = [
        flash_and_click(tmp_path / f"{k}.ts", steady(25, 3), 1.0).read_bytes() for k in range(2)
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    told = "several recordings are joined there: give them one by one, or convert it again"
    pictures, sound = refused(read_frames, path), refused(read_clip_speech, path)
    assert pictures.startswith(f"the clock of the picture of {path} goes back by 2.") or (
        pictures.startswith(f"the clock of the picture of {path} goes back by 3.")
    )
    assert sound.startswith(f"the clock of the sound of {path} goes back by ")
    assert pictures.endswith(told) and sound.endswith(told)


def test_sound_that_ends_before_the_first_picture_is_told_as_such(tmp_path):
    pictures = [np.full((48, 64, 3), 90, np.uint8)] * 25
    path = record(tmp_path / "a.mkv", pictures, steady(25, 1, start_s=4.0), tone(2, 48_000))
    assert refused(read_clip_speech, path) == (
        f"the sound of {path} ends before its first picture: give a recording in which both are "
        "there at once"
    )


# The matrix takes stored to shown coordinates: x' = a x + c y, y' = b x + d y.
@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),  # a quarter clockwise, as telephones write
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    ],
    ids=["upright", "90 right", "180", "90 left", "mirrored"],
)
def test_pictures_are_turned_upright(matrix, shown, tmp_path):
    quarters = np.full((48, 64, 3), 40, np.uint8)
    quarters[:24, :32] = 220
    quarters[24:, :32] = 120
    path = record(tmp_path / "a.mp4", [quarters] * 5, steady(25, 0.2))
    turned(path, matrix)
    first = next(read_frames(path))
    assert first.flags.c_contiguous
    assert first.shape == shown(quarters).shape
    inner = np.abs(first.astype(int) - shown(quarters))[4:-4, 4:-4]
    assert np.median(inner) < 6
    info = probe_video(path)
    assert (info.height_px, info.width_px) == first.shape[:2]


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (33, 64), (1, 1)])
@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 12_345])
def test_written_video_reads_back_in_time(size, rate_hz, tmp_path):
    path = tmp_path / "out.mp4"
    frames = flash(steady(25, 2), 1.0, size)
    assert write_video(path, iter(frames), Speech(tone(2, rate_hz, 1.0), rate_hz)) == 50
    back = list(read_frames(path))
    assert len(back) == 50
    width, height = size
    assert back[0].shape == (height + height % 2, width + width % 2, 3)
    assert flash_s(path) == 1.0
    assert onset_s(read_clip_speech(path).samples) == pytest.approx(1.0, abs=0.003)


def test_written_colours_come_back(tmp_path):
    colours = np.array([[200, 30, 30], [30, 180, 40], [40, 60, 200], [128, 128, 128]], np.uint8)
    picture = np.repeat(np.repeat(colours.reshape(2, 2, 3), 32, 0), 32, 1)
    write_video(tmp_path / "out.mp4", [picture] * 5, None)
    back = next(read_frames(tmp_path / "out.mp4"))
    for y, x in ((16, 16), (16, 48), (48, 16), (48, 48)):
        np.testing.assert_allclose(back[y, x].astype(int), picture[y, x], atol=6)


def test_written_video_says_that_it_is_synthetic(tmp_path):
    path = tmp_path / "out.mp4"
    write_video(path, flash(steady(25, 1), 0.5), None, origin=Origin("synthetic speech video"))
    with av.open(str(path)) as container:
        assert container.metadata["comment"].startswith("se4lip ")
        assert container.metadata["comment"].endswith(": synthetic speech video")
        assert not container.streams.audio
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_sound_may_be_streamed_and_longer_or_shorter_than_the_pictures(tmp_path):
    speech = tone(3, 16_000, 1.0)
    pieces = [Speech(speech[a : a + 7001]) for a in range(0, len(speech), 7001)]
    for pictures, name in ((50, "short.mp4"), (100, "long.mp4")):
        path = tmp_path / name
        write_video(path, flash(steady(25, pictures / 25), 1.0), iter(pieces))
        assert len(list(read_frames(path))) == pictures
        back = read_clip_speech(path)
        assert back.duration_s == pytest.approx(3.0, abs=0.1)
        assert onset_s(back.samples) == pytest.approx(1.0, abs=0.003)


def test_pieces_of_a_soundtrack_make_the_whole(tmp_path):
    path = flash_and_click(tmp_path / "a.mp4", steady(25), 1.0, sound_from_s=0.3)
    whole = read_clip_speech(path).samples
    pieces = [piece.samples for piece in iter_clip_speech(path, 0.7)]
    assert {len(piece) for piece in pieces[:-1]} == {11_200}
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def refused(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        result = call(*arguments)
        if not isinstance(result, (int, Speech)) and result is not None:
            list(result)
    return str(caught.value)


def test_unusable_videos_are_refused_in_a_sentence(tmp_path):
    missing = tmp_path / "missing.mp4"
    assert refused(read_frames, missing) == (
        f"cannot read video {missing}: no such file or directory: check the path"
    )
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert refused(read_frames, empty) == (
        f"video {empty} is empty (0 bytes): fetch or record it again"
    )
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 100)
    assert refused(read_frames, text) == (
        f"video {text} cannot be opened, it is damaged, cut short or no video file: "
        "fetch or record it again"
    )
    sound = record(tmp_path / "sound.m4a", None, sound=tone(1, 48_000))
    assert refused(read_frames, sound) == (
        f"{sound} has no pictures, it is not a video: give a video file"
    )
    unknown = record(tmp_path / "unknown.mp4", flash(steady(25, 1), 0.5), steady(25, 1))
    unknown.write_bytes(unknown.read_bytes().replace(b"avc1\0\0\0", b"zzz1\0\0\0"))
    assert refused(read_frames, unknown) == refused(probe_video, unknown)
    assert refused(read_frames, unknown) == (
        f"the picture of {unknown} is coded in a way that FFmpeg does not know: convert it with "
        "the program that made it"
    )
    silent = record(tmp_path / "silent.mp4", flash(steady(25, 1), 0.5), steady(25, 1))
    assert refused(read_clip_speech, silent) == (
        f"{silent} has no sound: give a video with an audio track"
    )


def test_cut_short_videos_are_refused(tmp_path):
    rng = np.random.default_rng(3)
    pictures = list(rng.integers(0, 256, (75, 48, 64, 3), np.uint8))
    plain = record(tmp_path / "plain.mp4", pictures, steady(25))
    plain.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    assert "is damaged, cut short or no video file" in refused(read_frames, plain)
    fast = record(tmp_path / "fast.mp4", pictures, steady(25), fast_start=True)
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size // 2])
    said = refused(read_frames, fast)
    assert said.startswith(str(fast)) and said.endswith(": fetch or record it again")
    assert "is cut short: 3.00 s are promised" in said or "is damaged" in said


def test_pictures_that_cannot_be_written_are_refused(tmp_path):
    picture = np.zeros((16, 16, 3), np.uint8)
    path = tmp_path / "out.mp4"
    assert refused(write_video, path, [], None) == (
        f"there are no pictures to write to {path}: give at least one"
    )
    assert refused(write_video, path, [picture, picture[:8]], None) == (
        "picture 1 has shape (8, 16, 3), the first (16, 16, 3): "
        "all pictures of a video must be of one size"
    )
    other = tmp_path / "out.xyz"
    assert refused(write_video, other, [picture], None) == (
        f"cannot write {other}: .xyz is no video format that carries content credentials: use .mp4"
    )
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "out.mp4"
    assert refused(write_video, inside, [picture], None) == (
        f"cannot write {inside}: not a directory: choose another output"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path):
    code = f"""
import resource, numpy as np
from se4lip.io.video_writing import write_video
from se4lip.types import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # files may not grow beyond 4 kB
rng = np.random.default_rng(0)
try:
    write_video({str(tmp_path / "out.mp4")!r},
                (rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(30)), None)
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"cannot write {tmp_path / 'out.mp4'}: file too large: free some space\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_sound_of_a_video_begins_with_its_own_first_sample(tmp_path):
    path = tmp_path / "a.mov"
    flash_and_click(path, steady(25), 1.0, sound_from_s=0.3, audio_codec="pcm_s16le")
    assert onset_s(read_speech(path).samples) == pytest.approx(0.7, abs=0.003)
