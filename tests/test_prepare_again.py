"""Preparing again: what is done stays, after a stop, a kill, and beside somebody else."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faces import DrawnFaceTracker, draw
from se4lip.io.dataset import open_dataset, read_index, set_av_offset
from se4lip.io.files import only_one
from se4lip.prepare.dataset import PrepareConfig
from se4lip.types import InputError
from test_prepare import clip_bytes, run, said, talk


def test_what_is_done_is_not_done_again(tmp_path):
    for n in range(3):
        talk(tmp_path / "v" / f"{n}.mp4")
    talk(tmp_path / "v" / "faceless.mp4", pictures=[draw(red=None)] * 30)
    run([tmp_path / "v"], tmp_path / "set")
    before = clip_bytes(tmp_path / "set")
    talk(tmp_path / "v" / "new.mp4")
    talk(tmp_path / "v" / "1.mp4", 40)
    told: list[str] = []
    done = run([tmp_path / "v"], tmp_path / "set", on_source=lambda e: told.append(e.name))
    assert told == ["1", "new"]
    assert (done.clips, done.sources_reused, len(done.skipped)) == (4, 3, 1)
    after = clip_bytes(tmp_path / "set")
    assert {name for name in before if before[name] != after[name]} == {"1.safetensors"}
    (tmp_path / "set" / "clips" / "2.safetensors").unlink()
    assert run([tmp_path / "v"], tmp_path / "set").sources_reused == 4
    assert clip_bytes(tmp_path / "set") == after


def test_a_clip_that_was_cut_short_is_prepared_again(tmp_path):
    for n in range(2):
        talk(tmp_path / "v" / f"{n}.mp4")
    run([tmp_path / "v"], tmp_path / "set")
    before = clip_bytes(tmp_path / "set")
    for damage in (lambda whole: whole[:1000], lambda whole: b"", lambda whole: b"x" * 2000):
        clip = tmp_path / "set" / "clips" / "1.safetensors"
        clip.write_bytes(damage(clip.read_bytes()))
        assert run([tmp_path / "v"], tmp_path / "set").sources_reused == 1
        assert clip_bytes(tmp_path / "set") == before


def test_an_empty_recording_that_is_named_is_skipped_as_in_a_folder(tmp_path):
    good, empty = talk(tmp_path / "good.mp4"), tmp_path / "empty.mp4"
    empty.touch()
    done = run([good, empty], tmp_path / "set")
    assert (done.clips, [skip.name for skip in done.skipped]) == (1, ["empty"])
    with pytest.raises(InputError, match=r"nosuch\.mp4"):
        run([good, tmp_path / "nosuch.mp4"], tmp_path / "other")


def offsets(out: Path) -> dict[str, float]:
    return {entry.name: entry.av_offset_frames for entry in read_index(out).sources}


def test_a_stored_offset_stays_while_its_recording_does(tmp_path):
    out = tmp_path / "set"
    for n in range(3):
        talk(tmp_path / "v" / f"{n}.mp4")
    run([tmp_path / "v"], out)
    set_av_offset(out, 1.5)
    for n in (0, 1):
        (out / "clips" / f"{n}.safetensors").unlink()
    talk(tmp_path / "v" / "1.mp4", 40)  # who knows how late the sound of this one is?
    assert run([tmp_path / "v"], out).sources_reused == 1
    assert offsets(out) == {"0": 1.5, "1": 0, "2": 1.5}


def test_a_stored_offset_outlives_an_interrupted_run(tmp_path):
    class Interrupted(DrawnFaceTracker):
        def track(self, rgb):
            raise KeyboardInterrupt

    out = tmp_path / "set"
    for n in range(2):
        talk(tmp_path / "v" / f"{n}.mp4")
    run([tmp_path / "v"], out)
    set_av_offset(out, 1.5)
    (out / "clips" / "0.safetensors").unlink()
    with pytest.raises(KeyboardInterrupt):
        run([tmp_path / "v"], out, tracker=Interrupted)
    assert open_dataset(out).names == ("1",)  # what is listed can be loaded
    assert run([tmp_path / "v"], out).sources_reused == 1
    assert offsets(out) == {"0": 1.5, "1": 1.5}


def test_a_whole_recording_takes_no_clip_from_a_piece_that_was_there_before(tmp_path):
    out, config = tmp_path / "set", PrepareConfig(longest_clip_s=0.6)
    talk(tmp_path / "v" / "talk-0001.mp4", 15)
    run([tmp_path / "v"], out, config)
    before = clip_bytes(out)
    talk(tmp_path / "v" / "talk.mp4", 30)
    run([tmp_path / "v"], out, config)
    assert open_dataset(out).names == ("talk-0001", "talk-mp4-0001", "talk-mp4-0002")
    assert clip_bytes(out)["talk-0001.safetensors"] == before["talk-0001.safetensors"]


def test_what_is_written_over_is_in_no_index_meanwhile(tmp_path):
    class Stopped(DrawnFaceTracker):
        def track(self, rgb):
            raise KeyboardInterrupt

    out, video = tmp_path / "set", tmp_path / "v" / "me.mp4"
    talk(video, 30)
    run([video], out)
    old = video.read_bytes()
    talk(video, 40)
    with pytest.raises(KeyboardInterrupt):
        run([video], out, tracker=Stopped)
    assert open_dataset(out).names == ()  # its clips may be of either
    video.write_bytes(old)
    assert run([video], out).sources_reused == 0
    assert open_dataset(out).frame_count("me") == 30


def test_a_recording_that_was_renamed_stays_the_recording_it_was(tmp_path):
    out = tmp_path / "set"
    for n in range(2):
        talk(tmp_path / "v" / f"{n}.mp4", 30 + n)
    run([tmp_path / "v"], out)
    set_av_offset(out, 1.5)
    (tmp_path / "v" / "1.mp4").rename(tmp_path / "v" / "last.mp4")
    assert run([tmp_path / "v"], out).sources_reused == 2
    assert open_dataset(out).names == ("0", "1")
    assert [entry.source for entry in read_index(out).sources] == ["0.mp4", "last.mp4"]
    assert offsets(out) == {"0": 1.5, "1": 1.5}


def test_a_recording_that_was_gone_for_a_while_is_tried_again(tmp_path):
    video = tmp_path / "v" / "b.mp4"

    class Unplugged(DrawnFaceTracker):
        def track(self, rgb):
            if video.exists():
                video.rename(tmp_path / "away.mp4")
            return super().track(rgb)

    out = tmp_path / "set"
    talk(tmp_path / "v" / "a.mp4")
    talk(video)
    run([tmp_path / "v" / "a.mp4"], out)
    with contextlib.suppress(InputError):
        run([video], out, tracker=Unplugged)
    (tmp_path / "away.mp4").rename(video)
    assert run([tmp_path / "v"], out).clips == 2


def test_what_a_kill_before_the_first_index_left_is_ours(tmp_path):
    talk(tmp_path / "v" / "a.mp4")
    out = tmp_path / "set"
    out.mkdir()
    (out / ".dataset.12-34.part.json").write_text("{")
    assert run([tmp_path / "v"], out).clips == 1


def test_what_cannot_be_read_stops_no_later_run(tmp_path):
    for name in ("a", "b"):
        talk(tmp_path / "v" / f"{name}.mp4", 30 + len(name))
    (tmp_path / "v" / "empty.mp4").touch()
    for reused in (0, 2):
        done = run([tmp_path / "v"], tmp_path / "set")
        assert (done.clips, done.sources_reused, len(done.skipped)) == (2, reused, 1)
    (tmp_path / "v" / "b.mp4").unlink()
    (tmp_path / "v" / "c.mp4").touch()
    done = run([tmp_path / "v"], tmp_path / "set")
    assert (done.clips, done.sources_reused, len(done.skipped)) == (1, 1, 2)


def test_children_of_the_caller_live_on(tmp_path):
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    child.start()
    try:
        for n in range(2):
            talk(tmp_path / "v" / f"{n}.mp4")
        run([tmp_path / "v"], tmp_path / "set", workers=2)
        assert child.is_alive()
    finally:
        child.terminate()
        child.join()


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    for n in range(4):
        talk(tmp_path / "v" / f"{n}.mp4")

    class Interrupted(DrawnFaceTracker):
        def track(self, rgb):
            Interrupted.pictures += 1
            if Interrupted.pictures > 2:  # a held frame is tracked once, and it is all one here
                raise KeyboardInterrupt
            return super().track(rgb)

    Interrupted.pictures = -58  # two clips of 30 pictures, each decoded anew
    with pytest.raises(KeyboardInterrupt):
        run([tmp_path / "v"], tmp_path / "set", tracker=Interrupted)
    assert len(open_dataset(tmp_path / "set")) == 2
    done = run([tmp_path / "v"], tmp_path / "set")
    assert (done.clips, done.sources_reused) == (4, 2)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are listed by /proc")
def test_a_killed_run_leaves_no_workers_and_goes_on_where_it_stopped(tmp_path):
    for n in range(6):
        talk(tmp_path / "v" / f"{n}.mp4", 25)
    code = f"""
import functools, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from faces import DrawnFaceTracker
from se4lip.prepare import dataset as module
module._SAVE_EVERY_S = 0.0
if __name__ == "__main__":
    module.prepare([{str(tmp_path / "v")!r}], {str(tmp_path / "set")!r}, workers=2,
                   tracker=functools.partial(DrawnFaceTracker, 0.02))
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    child = subprocess.Popen([sys.executable, script], start_new_session=True)
    index = tmp_path / "set" / "dataset.json"
    deadline = time.monotonic() + 60
    while not index.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    finished = len(open_dataset(tmp_path / "set"))
    assert 1 <= finished < 6
    while group_lives(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_lives(child.pid)
    done = run([tmp_path / "v"], tmp_path / "set", workers=1)
    assert (done.clips, done.sources_reused) == (6, finished)
    run([tmp_path / "v"], tmp_path / "fresh")
    assert clip_bytes(tmp_path / "set") == clip_bytes(tmp_path / "fresh")


def group_lives(group: int) -> bool:
    """Whether a process of the group still runs; one that waits to be buried does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgid = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgid) == group and state != "Z":
                return True
    return False


def test_a_data_set_is_written_by_one_at_a_time(tmp_path):
    video = talk(tmp_path / "v" / "a.mp4")

    class Meanwhile(DrawnFaceTracker):
        def track(self, rgb):
            if not Meanwhile.said:
                Meanwhile.said = said([video], tmp_path / "set")
            return super().track(rgb)

    Meanwhile.said = ""
    assert run([video], tmp_path / "set", tracker=Meanwhile).clips == 1
    assert Meanwhile.said == (
        f"another se4lip is writing data set {tmp_path / 'set'}: wait until it has ended, or "
        "choose another output"
    )
    assert run([video], tmp_path / "set").sources_reused == 1


def test_who_is_refused_leaves_the_folder_to_whom_it_belongs(tmp_path):
    """Also while nothing is in it yet, and a lock on a folder that was removed is none."""
    out, video = tmp_path / "set", talk(tmp_path / "v" / "a.mp4")
    out.mkdir()
    with only_one(out, "data set"):
        assert "another se4lip is writing" in said([video], out)
        assert out.is_dir()
    refused = pytest.raises(InputError, match="another se4lip")
    with refused, _removed_meanwhile(out), only_one(out, "data set"):
        pass


@contextlib.contextmanager
def _removed_meanwhile(folder: Path):
    """Between opening and locking somebody removes the folder and another makes it again."""
    real = os.open

    def late(path, *how):
        handle = real(path, *how)
        folder.rename(folder.with_name("gone"))
        folder.mkdir()
        return handle

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", late)
        yield


def test_what_killed_writers_left_is_swept_and_no_clip_with_such_a_name(tmp_path):
    for name in ("x.part.1.mp4", ".y.1-1.part.mp4"):
        talk(tmp_path / "v" / name)
    files = [tmp_path / "v" / "x.part.1.mp4", tmp_path / "v" / ".y.1-1.part.mp4"]
    run(files, tmp_path / "set")
    left = tmp_path / "set" / "clips" / ".a.12-345.part.safetensors"
    left.touch()
    assert run(files, tmp_path / "set").sources_reused == 2
    assert not left.exists()
    assert len(list(open_dataset(tmp_path / "set"))) == 2
