"""``se4lip sync``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, progress, run
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.metrics.sync import FRAME_MS
from se4lip.plots import sync_picture
from se4lip.prepare import mediapipe_tracker
from se4lip.sync_dataset import OffsetConfig, SourceOffset, dataset_offsets, store_offsets
from se4lip.sync_video import sync as measure
from se4lip.train.split import Split
from se4lip.wording import lateness

EXIT_CODES = {"in-sync": 0, "out-of-sync": 1, "cannot-tell": 3}


def sync(arguments: list[str]) -> int | None:
    def command(
        video: Annotated[Path, tyro.conf.Positional],
        picture: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
        encoder: Path | None = None,
        face_landmarker: Path | None = None,
        store: bool = False,
        split: Split = "all",
        offsets: Annotated[OffsetConfig, tyro.conf.arg(name="")] = OffsetConfig(),  # noqa: B008
        json: bool = False,
    ) -> int:
        """How far sound and lips of a video, or of a whole prepared data set, are apart.

        Exit code: 0 in sync (within one frame), 1 out of sync, 3 it cannot be told, 2 wrong input.
        Positive offsets mean that the sound comes later than the picture. A video must show one
        face without a cut. It takes 1.8 GB of memory an hour: judge a long one in parts.

        Args:
            video: The video to judge, or the folder of a prepared data set.
            picture: Write the offset of every second to this PNG.
            encoder: Weights to judge with, the shipped ones by default.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            store: Data sets: store what is sure, to be applied whenever a clip is loaded.
            split: Data sets: listen to these recordings alone, and store for them alone.
            json: Print the report as JSON on standard output.
        """
        if video.is_dir():
            return _sync_dataset(video, encoder, store, split, offsets, json)
        writable_files(picture)
        tracker = mediapipe_tracker(face_landmarker)
        with progress("watching") as (_, advance):
            report = measure(video, tracker, encoder, on_progress=advance)
        if picture is not None:
            title = f"{video.name}: {report.verdict}"
            save_picture(picture, sync_picture(report.timeline, report.reading, title))
        if json:
            print_json({"video": video} | report.to_json())
        elif report.verdict == "cannot-tell":
            print(f"{video}: cannot tell: {report.reason}")
        elif report.reading is not None:
            for second, one in enumerate(report.timeline):
                said = lateness(one.offset_frames, one.offset_ms) if one else "no speech"
                print(f"  second {second:4d}  {said}")
            reading = report.reading
            print(
                f"{video}: {report.verdict}: sound "
                f"{lateness(reading.offset_frames, reading.offset_ms)}, "
                f"confidence {reading.confidence:.3f}, lead {reading.lead:.1f}"
            )
        return EXIT_CODES[report.verdict]

    return run(command, "sync", arguments)


def _sync_dataset(
    path: Path, encoder: Path | None, store: bool, split: Split, config: OffsetConfig, json: bool
) -> int:
    found = dataset_offsets(path, encoder, split, config)
    stored = store_offsets(path, found, split) if store else []
    whole, *_ = found
    if json:
        rows = [{"source": one.name} | one.to_json() for one in found]
        print_json({"dataset": path} | whole.to_json() | {"offsets": rows, "stored": len(stored)})
    else:
        for one in found:
            print(f"{one.name or path}: {_told(one)}{', stored' if one in stored else ''}")
    return EXIT_CODES[whole.verdict]


def _told(one: SourceOffset) -> str:
    if one.doubt:
        return f"cannot tell: {one.doubt}"
    before = f", {one.stored_frames:+.2f} of them stored before" if one.stored_frames else ""
    return (
        f"{one.verdict}: sound {lateness(one.frames, one.frames * FRAME_MS, digits=2)} in the "
        f"recording{before}, lead {one.reading.lead:.1f} over {one.speech_seconds:.0f} s of speech"
    )
