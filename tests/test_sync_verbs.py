"""`sync`, judged with an encoder that knows (`clairvoyant`)."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clairvoyant import CODE, Clairvoyant, coded, data_set, track
from faces import DrawnFaceTracker, draw
from recordings import record, tone
from se4lip import cli
from se4lip.commands import sync as commands
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoderConfig
from se4lip.evaluation import sync_dataset as syncing
from se4lip.evaluation.sync_video import SyncReport, SyncVerdictConfig, judge_sync
from se4lip.evaluation.watch import Watched, watch
from se4lip.io.dataset import ClipEntry, Index, SourceEntry, open_dataset, write_clip, write_index
from se4lip.metrics.sync import SyncReading
from se4lip.train.split import clips_of
from se4lip.types import InputError
from se4lip.wording import lateness


@pytest.fixture(autouse=True)
def clairvoyant(monkeypatch):
    monkeypatch.setattr(syncing, "load_encoder", lambda path: Clairvoyant())


@pytest.mark.parametrize("late", [0, 1, -3, 7])
def test_the_offset_of_a_data_set_is_found_stored_and_gone(tmp_path, late):
    folder = data_set(tmp_path / "set", 4, late)
    found = syncing.dataset_offsets(folder)
    (own,) = found.own
    assert (found.whole.name, own.name, found.apart) == (None, "clip00", ())
    assert found.brief == ("clip01", "clip02", "clip03")
    assert found.whole.frames == pytest.approx(late, abs=0.05)
    assert found.whole.sure
    assert found.verdict == ("in-sync" if abs(late) <= 1 else "out-of-sync")
    assert syncing.store_offsets(folder, found, "all") == [found.whole, own]
    again = syncing.dataset_offsets(folder)
    assert again.verdict == "in-sync"
    assert again.whole.left_frames == pytest.approx(0, abs=0.001)
    assert again.whole.frames == found.whole.frames


def stored_in(folder):
    return {entry.name: entry.av_offset_frames for entry in open_dataset(folder).index.sources}


def mixed(folder, lengths_and_delays):
    """A data set of recordings of so many frames, each so many frames late."""
    sources = []
    for index, (frames, late) in enumerate(lengths_and_delays):
        name = f"clip{index:02}"
        write_clip(folder, name, *coded(frames, late, index), track(frames), {"source": name})
        sources.append(SourceEntry(name, name, "..", 1, "0", (ClipEntry(name, 0, frames),)))
    write_index(folder, Index({}, tuple(sources)))
    return folder


def test_storing_twice_changes_nothing(tmp_path):
    folder = mixed(tmp_path / "set", [(400, 3), (60, 0), (60, 0), (60, 0), (60, 0), (60, 0)])
    syncing.store_offsets(folder, syncing.dataset_offsets(folder), "all")
    once = stored_in(folder)
    assert once["clip00"] == pytest.approx(3, abs=0.1)
    assert [once[f"clip{k:02}"] for k in range(1, 6)] == pytest.approx([0] * 5, abs=0.1)
    for _ in range(2):
        syncing.store_offsets(folder, syncing.dataset_offsets(folder), "all")
        assert stored_in(folder) == once


def test_the_offset_of_all_goes_to_no_recording_that_is_sure_of_another(tmp_path, capsys):
    folder = mixed(tmp_path / "set", [(400, 0), (400, 0), (60, 0), (60, 0), (60, 5)])
    found = syncing.dataset_offsets(folder, config=syncing.OffsetConfig(least_lead=2.0))
    assert [one.name for one in found.apart] == ["clip04"]
    assert found.whole.frames == pytest.approx(0, abs=0.05)  # which the odd one has no part in
    assert (found.whole.verdict, found.verdict) == ("in-sync", "out-of-sync")
    syncing.store_offsets(folder, found, "all")
    assert stored_in(folder)["clip04"] == 0
    assert cli.main(["sync", str(folder), "--least-lead", "2"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[3].startswith("clip04: out-of-sync: sound 5.00 frames (200 ms) late in the")
    assert said[3].endswith(", too short to store, and not what all say")
    assert said[4] == "2 of 5 recordings have less than 10 s of speech, and go by all"


def test_recordings_that_all_have_offsets_of_their_own_are_in_sync_once_they_are_stored(tmp_path):
    folder = mixed(tmp_path / "set", [(600, 0), (400, 5)])
    found = syncing.dataset_offsets(folder)
    assert (found.whole.sure, found.verdict) == (False, "out-of-sync")
    syncing.store_offsets(folder, found, "all")
    assert syncing.dataset_offsets(folder).verdict == "in-sync"


def test_recordings_that_disagree_have_no_offset_in_common(tmp_path):
    folder = mixed(tmp_path / "set", [(1000, 0), (400, 4), (400, -6), (60, 2), (20, 2)])
    config = syncing.OffsetConfig(least_lead=1.5)
    found = syncing.dataset_offsets(folder, config=config)
    assert found.whole.doubt == "of 5 recordings that are sure of theirs 4 disagree"
    stored = syncing.store_offsets(folder, found, "all")
    assert [one.name for one in stored] == ["clip00", "clip01", "clip02"]
    again = syncing.dataset_offsets(folder, config=config)
    assert [one.name for one in again.apart] == ["clip03", "clip04"]  # what is not theirs
    assert again.verdict == "out-of-sync"
    assert stored_in(folder)["clip03"] == 0


def test_an_offset_that_is_not_sure_is_not_stored(tmp_path):
    folder = data_set(tmp_path / "set", 2, 3)
    assert syncing.dataset_offsets(folder).whole.sure
    doubted = syncing.dataset_offsets(folder, config=syncing.OffsetConfig(least_lead=1e9))
    assert not doubted.whole.sure
    assert doubted.verdict == "cannot-tell"
    assert syncing.store_offsets(folder, doubted, "all") == []
    assert all(entry.av_offset_frames == 0 for entry in open_dataset(folder).index.sources)


def test_recordings_of_one_file_name_have_offsets_of_their_own(tmp_path):
    folder = tmp_path / "set"
    sources = []
    for name, late in (("take", 2), ("tuesday__take", -3)):
        write_clip(folder, name, *coded(400, late, late + 3), track(400), {"source": "take.mp4"})
        entry = (ClipEntry(name, 0, 400),)
        sources.append(SourceEntry(name, "take.mp4", f"../{name}", 1, "0", entry))
    write_index(folder, Index({}, tuple(sources)))
    found = syncing.dataset_offsets(folder, config=syncing.OffsetConfig(least_lead=1.0))
    assert [one.name for one in found.own] == ["take", "tuesday__take"]
    syncing.store_offsets(folder, found, "all")
    stored = [entry.av_offset_frames for entry in open_dataset(folder).index.sources]
    assert stored == pytest.approx([2, -3], abs=0.1)


def test_what_one_split_says_is_stored_for_its_recordings_alone(tmp_path):
    folder = data_set(tmp_path / "set", 12, 2)
    config = syncing.OffsetConfig(least_speech_s=1.0)
    found = syncing.dataset_offsets(folder, split="train", config=config)
    syncing.store_offsets(folder, found, "train")
    data = open_dataset(folder)
    stored = {entry.name: entry.av_offset_frames for entry in data.index.sources}
    for name in data.names:
        expected = 2 if name in clips_of(data, "train") else 0
        assert stored[name] == pytest.approx(expected, abs=0.1)


# --- one video ---


def watched(tmp_path, **changes):
    plain = Watched(
        path=tmp_path / "talk.mp4",
        width_px=100,
        height_px=100,
        seen=np.ones(50, bool),
        track=track(50),
        samples=tone(2.0, 16_000),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"track": None, "seen": np.zeros(50, bool)}, "no face: one is seen in 0% of the frames"),
        ({"seen": np.arange(50) < 10}, "no face: one is seen in 20% of the frames"),
        ({"samples": None}, "no sound: there is no audio stream, or nothing in it"),
        (
            {"trouble": "two faces at 0.20 s"},
            "two faces at 0.20 s: give a part that shows one upright face without a cut",
        ),
        ({"seen": np.ones(1, bool)}, "too short: 1 frame of at least 16"),
        ({"seen": np.ones(15, bool)}, "too short: 15 frames of at least 16"),
    ],
)
def test_what_is_missing_is_named_instead_of_guessed(tmp_path, changes, reason):
    report = judge_sync(Clairvoyant(), watched(tmp_path, **changes), SyncVerdictConfig())
    assert (report.verdict, report.reason) == ("cannot-tell", reason)
    assert report.to_json()["offset_frames"] is None


def reading(**changes):
    plain = SyncReading(
        offset_frames=4,
        offset_ms=163.0,
        similarity=0.5,
        distance=1.0,
        confidence=0.2,
        lead=9.0,
        windows=40,
        at_edge=False,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("found", "verdict", "offset"),
    [
        (reading(), "out-of-sync", 4),
        (reading(offset_frames=-1), "in-sync", -1),
        (reading(lead=0.5), "cannot-tell", None),
        (reading(offset_frames=15, at_edge=True), "cannot-tell", None),
        (None, "cannot-tell", None),
    ],
)
def test_the_verdict_follows_from_the_reading(tmp_path, monkeypatch, found, verdict, offset):
    from se4lip.evaluation import sync_video

    rows = torch.zeros(50, CODE)
    monkeypatch.setattr(sync_video, "embed_video", lambda *_: (rows, rows))
    monkeypatch.setattr(sync_video, "measure_offset", lambda *_: found)
    monkeypatch.setattr(sync_video, "sync_timeline", lambda *_: [found, None])
    report = judge_sync(Clairvoyant(), watched(tmp_path), SyncVerdictConfig())
    assert isinstance(report, SyncReport)
    assert report.verdict == verdict
    assert report.to_json()["offset_frames"] == offset


@pytest.mark.parametrize(
    ("frames", "late", "verdict", "reason"),
    [
        (16, 0, "in-sync", ""),
        (16, 2, "cannot-tell", "the offset is 2 frames or more, beyond what is searched"),
        (20, -6, "cannot-tell", "the offset is 6 frames or more, beyond what is searched"),
        (60, 4, "out-of-sync", ""),
    ],
)
def test_short_videos_are_told_how_far_was_searched(
    frames, late, verdict, reason, tmp_path, monkeypatch
):
    from se4lip.evaluation import sync_video

    rows = torch.randn(frames + 40, 64, generator=torch.Generator().manual_seed(0))
    speech, lips = rows[20 - late : 20 - late + frames], rows[20 : 20 + frames]
    monkeypatch.setattr(sync_video, "embed_video", lambda *_: (speech, lips))
    monkeypatch.setattr(Watched, "speaking", lambda self: np.ones(frames, bool))
    video = watched(tmp_path, seen=np.ones(frames, bool), track=track(frames))
    report = judge_sync(Clairvoyant(), video, SyncVerdictConfig())
    assert (report.verdict, report.reason) == (verdict, reason)


# --- what the watcher says of a video, by a tracker that sees drawn faces ---

ONE = {"red": (40, 20, 60, 80)}
SHOTS = {
    "": [ONE] * 30,
    "two faces at 0.20 s": [ONE] * 5 + [ONE | {"blue": (110, 20, 40, 60)}] * 4 + [ONE] * 21,
    "a cut at 0.80 s": [ONE] * 20 + [{"red": (90, 30, 60, 80), "ground": 200}] * 10,
}
PASSERBY = [ONE] * 5 + [ONE | {"blue": (110, 20, 40, 60)}] * 3 + [ONE] * 22


def shot(path, frames):
    pictures = [draw(**frame) for frame in frames]
    return record(path, pictures, [t / 25 for t in range(len(pictures))], tone(1.2, 48_000))


@pytest.mark.parametrize("trouble", SHOTS)
def test_a_second_face_and_a_cut_are_seen(trouble, tmp_path):
    shares = []
    video = shot(tmp_path / "a.mp4", SHOTS[trouble])
    found = watch(video, DrawnFaceTracker(), shares.append)
    assert found.trouble == trouble
    assert len(found.face()) == 30  # the judges of pictures still have a face to look at
    assert shares == [pytest.approx(25 / 30)]


def test_who_passes_by_is_no_second_face(tmp_path):
    assert watch(shot(tmp_path / "a.mp4", PASSERBY), DrawnFaceTracker()).trouble == ""


@pytest.mark.parametrize("trouble", ["two faces at 0.20 s", "a cut at 0.80 s"])
def test_sync_cannot_tell_whose_lips_they_are(trouble, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "mediapipe_tracker", lambda model: DrawnFaceTracker())
    video = shot(tmp_path / "a.mp4", SHOTS[trouble])
    reason = f"{trouble}: give a part that shows one upright face without a cut"
    assert cli.main(["sync", str(video)]) == 3
    assert capsys.readouterr().out == f"{video}: cannot tell: {reason}\n"
    assert cli.main(["sync", str(video), "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["reason"]) == ("cannot-tell", reason)
    assert report["offset_frames"] is report["offset_ms"] is report["confidence"] is None


def test_a_second_that_chance_may_have_read_is_told_as_such(tmp_path, monkeypatch, capsys):
    # Weak and otherwise, sure, and weak but as the whole says.
    seconds = [reading(lead=0.5), reading(), reading(offset_frames=0, lead=0.5)]
    found = SyncReport("in-sync", "", reading(offset_frames=0), seconds, 3.0)
    monkeypatch.setattr(commands, "mediapipe_tracker", lambda model: DrawnFaceTracker())
    monkeypatch.setattr(commands, "measure", lambda *_, **__: found)
    video = shot(tmp_path / "a.mp4", SHOTS["a cut at 0.80 s"])
    assert cli.main(["sync", str(video)]) == 0
    first, second, third, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("late, by chance perhaps") and second.endswith("late")
    assert "by chance" not in third
    timeline = found.to_json()["timeline"]
    assert [one["lead"] for one in timeline] == [0.5, 9.0, 0.5]
    assert all(one["offset_ms"] == seconds[0].offset_ms for one in timeline)


def test_the_bar_of_sync_moves_to_its_end(tmp_path, monkeypatch):
    from se4lip.evaluation import sync_video

    monkeypatch.setattr(sync_video, "load_encoder", lambda path: sync_video_encoder())
    shares = []
    video = shot(tmp_path / "a.mp4", SHOTS[""])
    sync_video.sync(video, DrawnFaceTracker(), on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[0] < 0.8 < shares[-1] == pytest.approx(1.0)


def sync_video_encoder():
    torch.manual_seed(0)
    return SE4Lip(
        SE4LipConfig(
            speech=SpeechEncoderConfig(projection=16, hidden=16),
            lips=LipEncoderConfig(channels=(8, 8, 8, 8)),
        )
    ).eval()


# --- the command on data sets ---


@pytest.mark.parametrize(("late", "verdict", "code"), [(0, "in-sync", 0), (7, "out-of-sync", 1)])
def test_the_command_judges_a_data_set(late, verdict, code, tmp_path, capsys):
    folder = data_set(tmp_path / "set", 4, late)
    assert cli.main(["sync", str(folder), "--json", "--store"]) == code
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["reason"], report["offset_frames"]) == (verdict, "", late)
    assert report["offset_ms"] == pytest.approx(40 * late, abs=2)
    assert report["confidence"] > 0.1
    assert [row["source"] for row in report["offsets"]] == [None, "clip00"]
    assert (report["stored"], report["stored_frames"]) == (2, 0)
    assert cli.main(["sync", str(folder)]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert third == "3 of 4 recordings have less than 10 s of speech, and go by all"
    assert first.startswith(f"{folder}: in-sync: sound {late}.00 frames (")
    assert second.startswith("clip00: in-sync: sound")
    assert ("of them stored before" in first) is (late > 0)


def test_what_is_for_the_other_kind_of_input_is_refused(tmp_path, capsys):
    folder = data_set(tmp_path / "set", 2, 0)
    assert cli.main(["sync", str(folder), "-o", str(tmp_path / "a.png")]) == 2
    assert "is a data set, and -o draws the seconds of one video" in capsys.readouterr().err
    assert cli.main(["sync", str(folder), "--face-landmarker", "model.task"]) == 2
    assert "whose faces are tracked already" in capsys.readouterr().err
    for flags in (["--store"], ["--split", "test"], ["--least-lead", "3"]):
        assert cli.main(["sync", str(tmp_path / "talk.mp4"), *flags]) == 2
        assert "are for data sets, and" in " ".join(capsys.readouterr().err.split())


def test_the_command_does_not_guess_of_a_data_set(tmp_path, capsys):
    folder = data_set(tmp_path / "set", 4, 7)
    flags = ["sync", str(folder), "--least-lead", "1e9"]
    assert cli.main([*flags, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["offset_frames"], report["offset_ms"]) == (
        *("cannot-tell", None, None),
    )
    assert "standard errors, and 1000000000.0 are needed to be sure" in report["reason"]
    assert cli.main(flags) == 3
    assert capsys.readouterr().out.startswith(f"{folder}: cannot tell: the best offset leads by ")


@pytest.mark.parametrize(
    ("frames", "ms", "said"),
    [
        (2, 81.0, "2 frames (81 ms) late"),
        (1, 24.0, "1 frame (24 ms) late"),
        (-1, -24.0, "1 frame (24 ms) early"),
        (0, -15.0, "0 frames (15 ms) early"),
        (0, 0.0, "0 frames (0 ms) late"),
    ],
)
def test_early_and_late_are_told_in_words(frames, ms, said):
    assert lateness(frames, ms) == said


def test_a_data_set_without_speech_has_no_offset(tmp_path):
    folder = tmp_path / "set"
    silent = np.zeros(30 * 640, np.float32)
    write_clip(folder, "a", silent, np.zeros((30, 96, 96, 3), np.uint8), track(30), {"source": "a"})
    write_index(folder, Index({}, (SourceEntry("a", "a", "..", 1, "0", (ClipEntry("a", 0, 30),)),)))
    with pytest.raises(InputError, match="holds too little speech to find an offset"):
        syncing.dataset_offsets(folder)
