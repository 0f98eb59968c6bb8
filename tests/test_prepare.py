"""From files to a data set: nothing lost, nothing doubled, nothing skipped in silence."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faces import DrawnFaceTracker, draw, face_at
from recordings import onset_s, record, tone, wav
from se4lip import cli
from se4lip.commands import prepare as commands
from se4lip.io.dataset import open_dataset, read_index
from se4lip.io.pictures import read_picture
from se4lip.prepare.dataset import PrepareConfig, prepare
from se4lip.types import InputError

BOX = (40, 20, 60, 80)


def talk(
    path: Path, frames: int = 30, pictures=None, sound: object = "tone", rate=25, **how
) -> Path:
    """A drawn face that talks: ``frames`` pictures, a tone from the middle on."""
    pictures = [draw(red=BOX)] * frames if pictures is None else pictures
    seconds = len(pictures) / rate
    if isinstance(sound, str):
        sound = tone(seconds, 48_000, seconds / 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    return record(path, pictures, list(np.arange(len(pictures)) / rate), sound, **how)


def noise(seconds: float) -> np.ndarray:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * 48_000))
    return samples.astype(np.float32)


def run(sources, out, config=None, **how):
    how = {"tracker": DrawnFaceTracker} | how
    return prepare(sources, out, config or PrepareConfig(), **how)


def said(sources, out, **how) -> str:
    with pytest.raises(InputError) as caught:
        run(sources, out, **how)
    return str(caught.value)


def clip_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "clips").iterdir())}


def test_a_recording_becomes_a_clip(tmp_path):
    video = talk(tmp_path / "videos" / "talk.mp4", 50)
    done = run([video], tmp_path / "set")
    assert (done.clips, done.frames, done.filled_frames, done.skipped) == (1, 50, 0, ())
    data = open_dataset(tmp_path / "set")
    clip = data.clip("talk")
    assert len(clip.speech.samples) == 50 * 640
    assert onset_s(clip.speech.samples) == pytest.approx(1.0, abs=0.003)
    assert clip.lips.shape == (50, 96, 96, 3)
    found, drawn = clip.track.landmarks_px[25, :, :2], face_at(*BOX).landmarks_px[:, :2]
    np.testing.assert_allclose(found, drawn, atol=2)
    # In the middle of the window: the black bar of the mouth, red around it.
    assert clip.lips[:, 40:46, 30:66].mean() < 40
    assert clip.lips[:, 5:20, 30:66, 0].mean() > 180
    assert read_picture(done.contact_sheet).shape[1] > 8 * 96
    source = data.source("talk")
    assert (source.source, source.folder) == ("talk.mp4", "../videos")
    assert len(list(data.frames("talk"))) == 50


@pytest.mark.parametrize("frames", [51, 100, 130, 153])
def test_a_long_recording_is_cut_without_losing_or_doubling_frames(frames, tmp_path):
    pictures = [
        draw(red=(40 + t % 7, 20 + t % 5, 60, 80), ground=int(40 + t / 2)) for t in range(frames)
    ]
    video = talk(tmp_path / "videos" / "long.mp4", pictures=pictures, sound=noise(frames / 25))
    run([video], tmp_path / "whole")
    whole = open_dataset(tmp_path / "whole").clip("long")
    config = PrepareConfig(longest_clip_s=2.0)
    done = run([video], tmp_path / "parts", config)
    parts = open_dataset(tmp_path / "parts")
    assert parts.names == tuple(f"long-{n:04}" for n in range(1, len(parts) + 1))
    lengths = [parts.frame_count(name) for name in parts.names]
    assert (done.frames, sum(lengths)) == (frames, frames)
    assert max(lengths) - min(lengths) <= len(lengths)
    assert max(lengths) <= 50
    clips = list(parts)
    joined = np.concatenate([clip.track.landmarks_px for clip in clips])
    np.testing.assert_array_equal(joined, whole.track.landmarks_px)
    joined = np.concatenate([clip.speech.samples for clip in clips])
    np.testing.assert_array_equal(joined, whole.speech.samples)
    seen = [frame[5, 5].mean() for name in parts.names for frame in parts.frames(name)]
    np.testing.assert_allclose(seen, [p[5, 5].mean() for p in pictures], atol=5)


def test_thirty_frames_a_second_stay_in_sync(tmp_path):
    bright = [draw(red=BOX, ground=60 if t < 45 else 75) for t in range(90)]
    talk(tmp_path / "v" / "a.mp4", pictures=bright, rate=30)
    run([tmp_path / "v"], tmp_path / "set")
    data = open_dataset(tmp_path / "set")
    frames = [frame[5, 5].mean() > 67 for frame in data.frames("a")]
    assert len(frames) == 75
    onset = onset_s(data.clip("a").speech.samples)
    assert abs(frames.index(True) / 25 - onset) <= 0.022


REASONS = {
    "no face at 0.00 s or at any other time": {"pictures": [draw(red=None)] * 30},
    "no face at 0.40 s for 5 frames": {"pictures": [draw(hidden=10 <= t < 15) for t in range(30)]},
    "two faces at 0.20 s": {
        "pictures": [draw(blue=(110, 20, 40, 60) if t > 4 else None) for t in range(30)]
    },
    "a cut at 0.80 s": {
        "pictures": [
            draw(red=BOX if t < 20 else (90, 30, 60, 80), ground=60 if t < 20 else 200)
            for t in range(30)
        ]
    },
    "no sound": {"sound": None},
    "no sound, only silence": {"sound": np.zeros(57_600, np.float32)},
    "too short, 1 frame of at least 13": {"frames": 1},
    "too short, 12 frames of at least 13": {"frames": 12},
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_used_is_skipped_with_its_reason(reason, tmp_path):
    talk(tmp_path / "videos" / "bad.mp4", **REASONS[reason])
    alone = said([tmp_path / "videos" / "bad.mp4"], tmp_path / "set")
    assert alone == f"not one clip could be prepared: bad: {reason}"
    assert not (tmp_path / "set").exists()
    talk(tmp_path / "videos" / "good.mp4")
    told = []
    done = run([tmp_path / "videos"], tmp_path / "set", on_source=told.append)
    assert [(skip.name, skip.reason) for skip in done.skipped] == [("bad", reason)]
    assert [entry.name for entry in told] == ["bad", "good"]
    data = open_dataset(tmp_path / "set")
    assert (data.names, data.recordings) == (("good",), ("bad", "good"))


def test_only_the_clip_with_the_trouble_is_skipped(tmp_path):
    places = [(10 + t // 2, 20, 60, 80) for t in range(150)]
    pictures = [draw(red=box, hidden=60 <= t < 70) for t, box in enumerate(places)]
    talk(tmp_path / "v" / "a.mp4", pictures=pictures, sound=noise(6))
    done = run([tmp_path / "v"], tmp_path / "set", PrepareConfig(longest_clip_s=2.0))
    data = open_dataset(tmp_path / "set")
    assert data.names == ("a-0001", "a-0003")
    reasons = [(skip.name, skip.reason) for skip in done.skipped]
    assert reasons == [("a-0002", "no face at 2.40 s for 10 frames")]
    assert [c.start_frame for c in data.source("a-0003").clips] == [0, 100]
    # The clip after the skipped one has its own lips: the moving mouth stays in the window.
    for name in data.names:
        np.testing.assert_array_less(data.clip(name).lips[:, 38:44, 24:72].mean((1, 2, 3)), 20)


def test_damaged_recordings_are_skipped_with_their_reason(tmp_path):
    folder = tmp_path / "v"
    good = talk(folder / "good.mp4")
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "text.avi").write_text("no video")
    done = run([folder], tmp_path / "set")
    opened = "cannot be opened, it is damaged, cut short or no video file: fetch or record it again"
    assert {skip.name: skip.reason for skip in done.skipped} == {
        "empty": f"video {folder / 'empty.mp4'} is empty (0 bytes): fetch or record it again",
        "half": f"video {folder / 'half.mp4'} {opened}",
        "text": f"video {folder / 'text.avi'} {opened}",
    }
    assert done.clips == 1


def test_a_long_recording_cut_short_keeps_what_is_whole(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [draw(red=BOX) for _ in range(150)]
    for picture in pictures:
        picture[:10] = rng.integers(0, 60, (10, 160, 3))
    path = tmp_path / "v" / "a.mp4"
    talk(path, pictures=pictures, sound=noise(6), fast_start=True)
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * 0.75)])
    done = run([tmp_path / "v"], tmp_path / "set", PrepareConfig(longest_clip_s=2.0))
    assert done.clips == 2
    (skip,) = done.skipped
    assert skip.name == f"a-{done.clips + 1:04}"
    assert "is cut short: 6.00 s are promised" in skip.reason or "is damaged" in skip.reason


def test_odd_sizes_are_prepared(tmp_path):
    pictures = [draw(size=(161, 121), red=BOX)] * 30
    talk(
        tmp_path / "v" / "a.avi",
        pictures=pictures,
        video_codec="ffv1",
        b_frames=0,
        ticks_hz=25,
        audio_codec="pcm_s16le",
    )
    run([tmp_path / "v"], tmp_path / "set")
    track = open_dataset(tmp_path / "set").clip("a").track
    assert (track.width_px, track.height_px) == (161, 121)


def test_wrong_inputs_are_refused_before_anything_is_made(tmp_path):
    out = tmp_path / "set"
    missing = tmp_path / "missing.mp4"
    assert said([missing], out) == (
        f"cannot read video {missing}: no such file or directory: check the path"
    )
    (tmp_path / "none").mkdir()
    assert said([tmp_path / "none"], out).startswith(
        f"folder {tmp_path / 'none'} holds no videos (.3g2 .3gp "
    )
    assert said([], out) == "there is nothing to prepare: give videos or folders of videos"
    sound = wav(tmp_path / "a.wav", np.ones(16_000, np.int16), 16_000)
    assert said([sound], out) == (
        f"not one clip could be prepared: a: {sound} has no pictures, it is not a video: "
        "give a video file"
    )
    assert not out.exists()


def test_all_videos_of_a_folder_are_found_and_what_leads_nowhere_is_told(tmp_path):
    videos, elsewhere = tmp_path / "videos", tmp_path / "elsewhere"
    talk(videos / "a.mp4", 50)
    talk(elsewhere / "c.mkv", 50)
    (videos / "b.F4V").write_bytes(talk(tmp_path / "b.mp4", 50).read_bytes())
    (videos / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(videos)
    (videos / "gone.mov").symlink_to(tmp_path / "nothing.mov")
    done = run([videos], tmp_path / "set")
    assert open_dataset(tmp_path / "set").names == ("a", "b", "linked__c")
    assert [(one.name, one.reason) for one in done.skipped] == [
        ("gone.mov", "a link that leads nowhere")
    ]


@pytest.mark.parametrize("name", ["alias", "z-alias"])
def test_what_is_linked_too_is_called_by_its_own_name(name, tmp_path):
    videos = tmp_path / "videos"
    talk(videos / "real" / "a.mp4", 50)
    (videos / name).symlink_to(videos / "real")
    run([videos], tmp_path / "set")
    assert open_dataset(tmp_path / "set").names == ("real__a",)


def test_a_folder_of_links_that_lead_nowhere_is_told_as_that(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "a.mp4").symlink_to(tmp_path / "unmounted" / "a.mp4")
    assert said([videos], tmp_path / "set") == (
        f"folder {videos} holds links alone that lead nowhere, as a.mp4: make them lead to videos "
        "again"
    )


def test_a_clip_that_somebody_removed_keeps_no_other_from_being_made(tmp_path):
    first, second = (talk(tmp_path / "v" / f"{name}.mp4", n) for name, n in (("a", 50), ("b", 60)))
    run([first], tmp_path / "set")
    (tmp_path / "set" / "clips" / "a.safetensors").unlink()
    first.unlink()
    done = run([second], tmp_path / "set")
    assert done.clips == 1 and read_picture(done.contact_sheet).shape[1] > 8 * 96
    assert [(one.name, one.reason) for one in done.skipped] == [
        ("a", "its file is gone: prepare ../v/a.mp4 again")
    ]


def test_an_empty_folder_that_was_there_stays(tmp_path):
    faceless = talk(tmp_path / "v" / "a.mp4", pictures=[draw(red=None)] * 30)
    for out in (tmp_path / "there", tmp_path / "new" / "set"):
        if out.name == "there":
            out.mkdir()
        with pytest.raises(InputError, match="not one clip could be prepared"):
            run([faceless], out)
        assert out.exists() is (out.name == "there")


def test_wrong_outputs_are_refused_before_any_work(tmp_path):
    video = talk(tmp_path / "v" / "a.mp4")
    (tmp_path / "file").touch()
    assert said([video], tmp_path / "file") == (
        f"cannot write to {tmp_path / 'file'}: not a directory: choose another output"
    )
    inside = tmp_path / "file" / "set"
    assert said([video], inside) == (
        f"cannot write to {inside}: not a directory: choose another output"
    )
    assert said([video], tmp_path / "v") == (
        f"{tmp_path / 'v'} holds other files and no data set: choose a new or empty folder"
    )


def test_clips_in_parallel_are_the_same_as_one_by_one(tmp_path):
    for n in range(5):
        talk(tmp_path / "v" / f"{n}.mp4", 20 + n)
    shares: list[float] = []
    run([tmp_path / "v"], tmp_path / "one", on_progress=shares.append)
    done = run([tmp_path / "v"], tmp_path / "two", workers=2)
    assert done.clips == 5
    assert clip_bytes(tmp_path / "one") == clip_bytes(tmp_path / "two")
    assert read_index(tmp_path / "one") == read_index(tmp_path / "two")
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(tmp_path):
    talk(tmp_path / "v" / "a.mp4")
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from faces import DrawnFaceTracker
from se4lip.prepare.dataset import prepare
from se4lip.types import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    prepare([{str(tmp_path / "v")!r}], {str(tmp_path / "set")!r}, tracker=DrawnFaceTracker)
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    clip = tmp_path / "set" / "clips" / "a.safetensors"
    assert done.stdout == f"cannot write {clip}: file too large: free some space\n"
    assert [path for path in (tmp_path / "set").rglob("*") if path.is_file()] == []


def test_other_settings_or_another_tracker_are_refused(tmp_path):
    video = talk(tmp_path / "v" / "a.mp4")
    run([video], tmp_path / "set")
    sentence = (
        f"data set {tmp_path / 'set'} was prepared with other settings or another tracker "
        "(drawn faces 1): choose another output"
    )
    assert said([video], tmp_path / "set", config=PrepareConfig(longest_clip_s=5)) == sentence
    other = functools.partial(DrawnFaceTracker, name="drawn faces 2")
    assert said([video], tmp_path / "set", tracker=other) == sentence
    with pytest.raises(InputError, match="the shortest must be above 0"):
        PrepareConfig(longest_clip_s=0.1)


def test_sources_of_one_name_become_clips_of_different_names(tmp_path):
    for name in ("a.mp4", "a.mkv", "sub/a.mp4", "sub__a.mp4", "b-0001.mp4"):
        talk(tmp_path / "v" / name, 20)
    talk(tmp_path / "v" / "b.mp4", 60)
    config = PrepareConfig(longest_clip_s=1.2)
    done = run([tmp_path / "v"], tmp_path / "set", config)
    assert done.clips == 7
    data = open_dataset(tmp_path / "set")
    assert set(data.names) == {
        *("a", "a-mp4", "sub__a", "sub__a-mp4"),
        *("b-0001", "b-0002", "b-0001-mp4"),
    }
    assert data.source("b-0001-mp4").source == "b-0001.mp4"


def test_what_an_earlier_run_skipped_is_named_again(drawn, tmp_path, capsys):
    talk(tmp_path / "v" / "good.mp4")
    talk(tmp_path / "v" / "faceless.mp4", pictures=[draw(red=None)] * 30)
    command = ["prepare", str(tmp_path / "v"), "-o", str(tmp_path / "set"), "--workers", "1"]
    assert cli.main(command) == 0
    first = capsys.readouterr().err
    assert cli.main(command) == 0
    again = capsys.readouterr().err
    assert first.count("skipped faceless: ") == again.count("skipped faceless: ") == 1


def test_less_than_one_worker_is_refused(tmp_path):
    video = talk(tmp_path / "v" / "a.mp4")
    assert said([video], tmp_path / "set", workers=-3) == (
        "-3 workers prepare nothing: give at least one"
    )
    assert not (tmp_path / "set").exists()


def test_a_file_given_twice_is_prepared_once(tmp_path):
    video = talk(tmp_path / "v" / "a.mp4")
    relative = Path(os.path.relpath(video))
    assert run([video, relative, tmp_path / "v"], tmp_path / "set").clips == 1


def test_a_file_in_another_folder_is_still_the_same_file(tmp_path):
    talk(tmp_path / "v" / "sub" / "a.mp4")
    run([tmp_path / "v"], tmp_path / "set")
    done = run([tmp_path / "v" / "sub"], tmp_path / "set")
    assert (done.clips, done.sources_reused) == (1, 1)
    assert open_dataset(tmp_path / "set").names == ("sub__a",)


def test_names_that_no_index_or_file_system_would_take_are_made_such(tmp_path):
    folder = tmp_path / "v" / ("d" * 120)
    long = "x" * 150
    talk(folder / f"{long}1.mp4")
    talk(folder / f"{long}2.mp4", 40)
    odd = os.fsdecode(b"caf\xe9.mp4")  # Latin-1
    talk(tmp_path / "v" / "plain.mp4").rename(tmp_path / "v" / odd)
    done = run([tmp_path / "v"], tmp_path / "set")
    assert (done.clips, done.skipped) == (3, ())
    assert run([tmp_path / "v"], tmp_path / "set").sources_reused == 3
    data = open_dataset(tmp_path / "set")
    assert data.names[0] == "caf_"
    assert data.source("caf_").source == odd
    assert len(list(data.frames("caf_"))) == 30
    assert len(set(data.names)) == 3 and all(len(name) < 180 for name in data.names)


def test_pictures_of_another_size_than_was_prepared_are_refused(tmp_path):
    """A se4lip before this one took pixels that are not square for square."""
    talk(tmp_path / "v" / "a.mkv", pixel_aspect=2)
    run([tmp_path / "v"], tmp_path / "set")
    data = open_dataset(tmp_path / "set")
    width, height = data.clip("a").track.width_px, data.clip("a").track.height_px
    assert next(data.frames("a")).shape == (height, width, 3)
    file = tmp_path / "set" / "clips" / "a.safetensors"
    old = file.read_bytes().replace(f'width_px\\": {width}'.encode(), b'width_px\\": 160')
    file.write_bytes(old)
    with pytest.raises(
        InputError, match=f"are {width}x{height}, and were 160x{height} when clip a"
    ):
        next(data.frames("a"))


def test_memory_does_not_grow_with_the_recording(tmp_path):
    # Eight seconds more of 640x480 are 184 MB of pixels.
    frame = draw(size=(640, 480), red=(100, 80, 300, 340))
    for name, frames in (("short", 100), ("long", 300)):
        talk(tmp_path / name / "a.mp4", pictures=[frame] * frames, sound=noise(frames / 25))
    code = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from faces import face_at
from se4lip.prepare.dataset import PrepareConfig, prepare
class Fixed:
    name = "fixed"
    def track(self, rgb):
        return [face_at(100, 80, 300, 340)]
def peak_kb(name):
    folder = Path({str(tmp_path)!r})
    prepare([folder / name], folder / "sets" / name, PrepareConfig(longest_clip_s=2.0),
            tracker=Fixed)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(-peak_kb("short") + peak_kb("long"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setattr(commands, "mediapipe_tracker", lambda model: DrawnFaceTracker())


def test_the_command_reports_and_skips(drawn, tmp_path, capsys):
    talk(tmp_path / "v" / "good.mp4", 50)
    talk(tmp_path / "v" / "mute.mp4", sound=None)
    out = tmp_path / "set"
    assert cli.main(["prepare", str(tmp_path / "v"), "-o", str(out), "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (
        f"1 clip, 0.0 minutes in {out} (1 skipped, 0 frames filled in)\n"
        f"look at {out / 'contact-sheet.png'}\n"
    )
    assert printed.err == "skipped mute: no sound\n"
    assert cli.main(["prepare", str(tmp_path / "v"), "-o", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clips"], found["frames"], found["sources_reused"]) == (1, 50, 2)
    assert found["skipped"] == [{"name": "mute", "reason": "no sound"}]


def test_the_command_says_one_sentence_and_leaves_nothing(drawn, tmp_path, capsys):
    video = talk(tmp_path / "v" / "mute.mp4", sound=None)
    out = tmp_path / "set"
    assert cli.main(["prepare", str(video), "-o", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "skipped mute: no sound\nse4lip: not one clip could be prepared: mute: no sound\n"
    )
    assert not out.exists()
