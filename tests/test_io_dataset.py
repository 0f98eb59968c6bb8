"""Data sets come back as written, with the stored offset applied, or say what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from recordings import record, tone
from se4lip.io.dataset import (
    ClipEntry,
    Index,
    SkippedEntry,
    SourceEntry,
    open_dataset,
    read_index,
    set_av_offset,
    sweep,
    write_clip,
    write_index,
)
from se4lip.types import FaceTrack, InputError

FRAMES = 30


def made(tmp_path, names=("b", "a")):
    """A data set of clips, two of one source: "long" has the clips long-0001 and long-0002."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "set"
    content = {}
    for name in (*names, "long-0001", "long-0002"):
        speech = rng.uniform(-1, 1, FRAMES * 640).astype(np.float32)
        lips = rng.integers(0, 256, (FRAMES, 96, 96, 3), np.uint8)
        track = FaceTrack(
            landmarks_px=rng.normal(size=(FRAMES, 478, 3)).astype(np.float32),
            blendshapes=rng.random((FRAMES, 52), np.float32),
            camera_from_face=rng.normal(size=(FRAMES, 4, 4)).astype(np.float32),
            width_px=64,
            height_px=48,
        )
        write_clip(folder, name, speech, lips, track, {"source": f"{name}.mp4"})
        content[name] = (speech, lips, track)
    sources = [
        SourceEntry(name, f"{name}.mp4", "../videos", 1, "0", (ClipEntry(name, 0, FRAMES),))
        for name in names
    ]
    parts = (ClipEntry("long-0001", 0, FRAMES), ClipEntry("long-0002", FRAMES, FRAMES, 2))
    skipped = (SkippedEntry("long-0003", "a cut at 2.60 s"),)
    sources.append(SourceEntry("long", "sub/long.mp4", "../videos", 1, "0", parts, skipped))
    sources.append(SourceEntry("none", "none.mp4", "../videos", 1, "0"))
    write_index(folder, Index({"a": 1}, tuple(sources)))
    return folder, content


def test_clips_come_back(tmp_path):
    folder, content = made(tmp_path)
    data = open_dataset(folder)
    assert data.names == ("a", "b", "long-0001", "long-0002")
    assert data.recordings == ("a", "b", "long", "none")
    assert (len(data), data.name) == (4, "set")
    assert data.frame_count("long-0002") == FRAMES
    assert data.source("long-0002").source == "sub/long.mp4"
    assert [clip.name for clip in data] == list(data.names)
    for clip in data:
        speech, lips, track = content[clip.name]
        np.testing.assert_allclose(clip.speech.samples, speech, atol=1 / 32768)
        assert clip.lips.dtype == np.uint8
        np.testing.assert_array_equal(clip.lips, lips)
        np.testing.assert_array_equal(clip.track.landmarks_px, track.landmarks_px)
        np.testing.assert_array_equal(clip.track.blendshapes, track.blendshapes)
        np.testing.assert_array_equal(clip.track.camera_from_face, track.camera_from_face)
        assert (clip.track.width_px, clip.track.height_px) == (64, 48)
    assert repr(data) == f"Dataset({folder}: 4 clips, 0.00 h)"


def test_the_index_comes_back(tmp_path):
    folder, _ = made(tmp_path)
    index = read_index(folder)
    write_index(tmp_path / "copy", index)
    assert read_index(tmp_path / "copy") == index
    assert index.sources[2].clips[1] == ClipEntry("long-0002", FRAMES, FRAMES, 2)


@pytest.mark.parametrize("frames", [1.0, -2.0, 0.5, 1 / 640, 100.0])
def test_the_stored_offset_moves_the_sound(frames, tmp_path):
    folder, _ = made(tmp_path)
    before = open_dataset(folder).clip("a").speech.samples
    set_av_offset(folder, frames)
    clip = open_dataset(folder).clip("a")
    after, shift = clip.speech.samples, round(frames * 640)
    assert clip.av_offset_frames == frames
    for n in (0, 5, 1000, 10_000, len(before) - 1):
        inside = 0 <= n + shift < len(before)
        assert after[n] == (before[n + shift] if inside else 0)
    assert len(after) == len(before)


def test_late_sound_meets_its_lips_again(tmp_path):
    folder, content = made(tmp_path)
    speech = tone(FRAMES / 25, 16_000, loud_from_s=10 / 25 + 2 / 25)  # two frames late
    _, lips, track = content["a"]
    write_clip(folder, "a", speech, lips, track, {})
    set_av_offset(folder, 2, name="a")
    data = open_dataset(folder)
    loud = np.abs(data.clip("a").speech.samples) > 0.1
    assert loud.argmax() == pytest.approx(10 * 640, abs=1)
    assert data.clip("b").av_offset_frames == 0


def test_offsets_are_checked(tmp_path):
    folder, _ = made(tmp_path)
    assert said(set_av_offset, folder, 1, "a.mp4") == (
        f"data set {folder} has no recording named 'a.mp4': see the names in its dataset.json"
    )
    for wrong in (float("nan"), float("-inf"), 1e6):
        with pytest.raises(
            InputError, match=f"an offset of {wrong} frames was given, but -90000 to"
        ):
            set_av_offset(folder, wrong)


def test_recordings_of_one_file_name_have_offsets_of_their_own(tmp_path):
    folder, _ = made(tmp_path)
    index = read_index(folder)
    alike = [replace(s, source="take.mp4", folder=f"../{s.name}") for s in index.sources]
    write_index(folder, Index({}, tuple(alike)))
    set_av_offset(folder, 2, name="a")
    offsets = {s.name: s.av_offset_frames for s in read_index(folder).sources}
    assert offsets == {"a": 2, "b": 0, "long": 0, "none": 0}


def with_recording(tmp_path):
    folder, _ = made(tmp_path)
    rng = np.random.default_rng(1)
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in rng.integers(0, 256, 70)]
    video = tmp_path / "videos" / "sub" / "long.mp4"
    video.parent.mkdir(parents=True)
    record(video, pictures, list(np.arange(70) / 25))
    index = read_index(folder)
    changed = [
        SourceEntry(**{**vars(s), "size_bytes": video.stat().st_size}) for s in index.sources
    ]
    write_index(folder, Index({}, tuple(changed)))
    return folder, pictures, video


def test_pictures_are_read_again_from_the_recording(tmp_path):
    folder, pictures, _ = with_recording(tmp_path)
    frames = list(open_dataset(folder).frames("long-0002"))
    assert len(frames) == FRAMES
    levels = [frame.mean() for frame in frames]
    np.testing.assert_allclose(levels, [p.mean() for p in pictures[30:60]], atol=4)


def test_set_and_recordings_can_be_moved_together_or_apart(tmp_path):
    folder, *_ = with_recording(tmp_path)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    folder.rename(moved / "set")
    (tmp_path / "videos").rename(moved / "videos")
    assert len(list(open_dataset(moved / "set").frames("long-0001"))) == FRAMES
    (moved / "videos").rename(tmp_path / "archive")
    data = open_dataset(moved / "set")
    assert said(data.frames, "long-0001") == (
        f"the recording sub/long.mp4 of clip long-0001 is not in {moved / 'videos'}: "
        "pass the folder it is in now (videos, --videos)"
    )
    assert len(list(data.frames("long-0001", videos=tmp_path / "archive"))) == FRAMES


def test_another_recording_of_the_same_name_is_refused(tmp_path):
    folder, _, video = with_recording(tmp_path)
    size = video.stat().st_size
    video.write_bytes(video.read_bytes() + b"x")
    assert said(open_dataset(folder).frames, "long-0001") == (
        f"the recording {folder / '..' / 'videos' / 'sub' / 'long.mp4'} has {size + 1} bytes, "
        f"{size} when clip long-0001 was prepared: prepare it again"
    )


def said(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def test_what_is_no_data_set_is_refused(tmp_path):
    folder, _ = made(tmp_path)
    make = "make one with `se4lip prepare`"
    assert (
        said(open_dataset, tmp_path) == f"{tmp_path} is no data set, it has no dataset.json: {make}"
    )
    file = folder / "dataset.json"
    good = json.loads(file.read_text())
    file.write_text(json.dumps({**good, "version": 2}))
    assert said(open_dataset, folder) == (
        f"data set {folder} is of version 2, this se4lip reads up to 1: update se4lip"
    )
    file.write_text(json.dumps({**good, "format": "other"}))
    assert said(open_dataset, folder) == f"{file} is no index of a se4lip data set: {make}"
    file.write_text(json.dumps({**good, "sources": [{"name": "a"}]}))
    damaged = f"data set index {file} is damaged"
    anew = "prepare the data set anew, into another folder"
    assert said(open_dataset, folder) == f"{damaged}, 'av_offset_frames' is missing: {anew}"
    file.write_text('{"format": ')
    assert said(open_dataset, folder) == f"{damaged}, it is not JSON: {anew}"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        *(("av_offset_frames", wrong) for wrong in (float("nan"), float("inf"), 1e300, None, "x")),
        ("av_offset_frames", int("9" * 400)),
        *(("name", wrong) for wrong in (5, None, "b")),
        ("folder", None),
        ("source", 7),
        ("size_bytes", "12"),
        ("size_bytes", -1),
        ("sha256", 1),
        ("clips", [{"name": "a", "start_frame": -1, "frames": 5, "filled_frames": 0}]),
        *(
            ("clips", [{"name": wrong, "start_frame": 0, "frames": 5, "filled_frames": 0}])
            for wrong in (3, "", "..", "../../x", "b")
        ),
        ("clips", [{"name": "a", "start_frame": 0, "frames": True, "filled_frames": 0}]),
        ("clips", [5]),
        ("skipped", [{"name": 3, "reason": "x"}]),
        ("settings", []),
        ("frame_rate_hz", 30),
    ],
)
def test_an_index_of_other_things_is_damaged(tmp_path, where, value):
    folder, _ = made(tmp_path)
    file = folder / "dataset.json"
    found = json.loads(file.read_text())
    if where in found:
        found[where] = value
    else:
        sources = {source["name"]: source for source in found["sources"]}
        sources["a"][where] = value
    file.write_text(json.dumps(found))
    told = said(open_dataset, folder)
    assert told.startswith(f"data set index {file} is damaged, ")
    assert told.endswith(": prepare the data set anew, into another folder")


def test_missing_and_damaged_clips_are_refused(tmp_path):
    folder, _ = made(tmp_path)
    data = open_dataset(folder)
    assert said(data.clip, "c") == f"data set {folder} has no clip 'c': see its names"
    file = folder / "clips" / "a.safetensors"
    again = f"clip {file} is damaged: delete it and prepare the data set again"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert said(data.clip, "a") == again
    file.write_bytes(safetensors.numpy.save({"speech": np.zeros(3, np.int16)}))
    assert said(data.clip, "a") == again
    file.unlink()
    assert said(data.clip, "a") == f"clip {file} is missing: prepare the data set again"


@pytest.mark.parametrize(
    ("name", "content", "trouble"),
    [
        ("lips", np.zeros((30, 96, 96, 1), np.uint8), "[30, 96, 96, 1], but [30, H, W, 3]"),
        ("lips", np.zeros((30, 0, 96, 3), np.uint8), "[30, 0, 96, 3], but [30, H, W, 3]"),
        ("speech", np.zeros((19200, 2), np.int16), "[19200, 2], but [19200]"),
        ("blendshapes", np.zeros((30, 51), np.float32), "[30, 51], but [30, 52]"),
        ("landmarks_px", np.zeros((30, 468, 3), np.float32), "[30, 468, 3], but [30, 478, 3]"),
        ("camera_from_face", np.zeros((30, 16), np.float32), "[30, 16], but [30, 4, 4]"),
        ("lips", np.zeros((29, 96, 96, 3), np.uint8), None),
        ("speech", np.zeros(19200, np.float32), None),
    ],
)
def test_tensors_of_another_shape_are_refused(name, content, trouble, tmp_path):
    folder, _ = made(tmp_path)
    file = folder / "clips" / "a.safetensors"
    with safetensors.safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    tensors = safetensors.numpy.load(file.read_bytes()) | {name: content}
    file.write_bytes(safetensors.numpy.save(tensors, metadata))
    why = f"has the shape {trouble} is needed" if trouble else "does not fit its 30 frames"
    assert said(open_dataset(folder).clip, "a") == (
        f"clip {file} is damaged, {name} {why}: delete it and prepare the data set again"
    )


def test_sweeping_removes_what_no_source_lists(tmp_path):
    folder, _ = made(tmp_path)
    clips = folder / "clips"
    (clips / "old-0001.safetensors").write_bytes(b"x")
    (clips / ".a.123-456.part.safetensors").write_bytes(b"x")
    (clips / "notes.txt").write_text("mine")
    sweep(folder)
    assert sorted(p.name for p in clips.iterdir()) == [
        "a.safetensors",
        "b.safetensors",
        "long-0001.safetensors",
        "long-0002.safetensors",
        "notes.txt",
    ]
