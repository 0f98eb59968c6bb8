"""``se4lip sync``"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, progress, run
from se4lip.evaluation.plots import sync_picture
from se4lip.evaluation.sync_dataset import (
    OffsetConfig,
    SourceOffset,
    dataset_offsets,
    store_offsets,
)
from se4lip.evaluation.sync_video import SyncVerdictConfig
from se4lip.evaluation.sync_video import sync as measure
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.io.video import probe_video
from se4lip.metrics.sync import FRAME_MS
from se4lip.prepare.dataset import mediapipe_tracker
from se4lip.train.split import Split
from se4lip.types import InputError
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

        Exit code: 0 in sync (within one frame), 1 out of sync (of a data set: any recording that is
        sure), 3 it cannot be told, 2 wrong input.
        Positive offsets mean that the sound comes later than the picture; 15 frames (600 ms) either
        way are searched. A video must show one face without a cut. It takes 1.8 GB of memory an
        hour: judge a long one in parts.

        Args:
            video: The video to judge, or the folder of a prepared data set.
            picture: Videos: write the offset of every second to this PNG.
            encoder: Weights to judge with, the shipped ones by default.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            store: Data sets: store what is sure, to be applied whenever a clip is loaded.
            split: Data sets: listen to these recordings alone, and store for them alone.
            json: Print the report as JSON on standard output.
        """
        if video.is_dir():
            if picture is not None:
                raise InputError(
                    f"{video} is a data set, and -o draws the seconds of one video: leave it out"
                )
            if face_landmarker is not None:
                raise InputError(
                    f"{video} is a data set, whose faces are tracked already: leave "
                    "--face-landmarker out"
                )
            return _sync_dataset(video, encoder, store, split, offsets, json)
        if store or split != "all" or offsets != OffsetConfig():
            raise InputError(
                "--store, --split, --least-lead and --least-speech-s are for data sets, and "
                f"{video} is no folder: leave them out"
            )
        writable_files(picture, reading=(video, encoder))
        probe_video(video)  # what cannot be judged is told before a model is looked for
        tracker = mediapipe_tracker(face_landmarker)
        with progress("watching") as (_, advance):
            report = measure(video, tracker, encoder, on_progress=advance)
        if picture is not None and not report.timeline:
            print(f"{picture} was not drawn: there is no second to show", file=sys.stderr)
        elif picture is not None:
            title = f"{video.name}: {report.verdict}"
            save_picture(picture, sync_picture(report.timeline, report.reading, title))
        if json:
            print_json({"video": video} | report.to_json())
        elif report.verdict == "cannot-tell":
            print(f"{video}: cannot tell: {report.reason}")
        elif report.reading is not None:
            for second, one in enumerate(report.timeline):
                said = lateness(one.offset_frames, one.offset_ms) if one else "no speech"
                # A second says little alone; what the whole says as well is not by chance.
                agrees = one and abs(one.offset_frames - report.reading.offset_frames) <= 1
                unsure = one and not agrees and one.lead < SyncVerdictConfig.least_lead
                print(f"  second {second:4d}  {said}{', by chance perhaps' if unsure else ''}")
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
    told = [found.whole, *found.own, *found.apart]
    if json:
        rows = [{"source": one.name} | one.to_json() for one in told]
        print_json(
            {"dataset": path}
            | found.whole.to_json()
            | {"verdict": found.verdict, "offsets": rows}
            | {"stored": len(stored), "brief": len(found.brief)}
        )
    else:
        for one in told:
            kept = ", stored" if one in stored else ""
            print(f"{one.name or path}: {_told(one)}{kept}{_APART if one in found.apart else ''}")
        if found.brief:
            print(
                f"{len(found.brief)} of {len(found.own) + len(found.apart) + len(found.brief)} "
                f"recordings have less than {config.least_speech_s:g} s of speech, and go by all"
            )
    return EXIT_CODES[found.verdict]


_APART = ", too short to store, and not what all say"


def _told(one: SourceOffset) -> str:
    if one.doubt:
        return f"cannot tell: {one.doubt}"
    before = f", {one.stored_frames:+.2f} of them stored before" if one.stored_frames else ""
    return (
        f"{one.verdict}: sound {lateness(one.frames, one.frames * FRAME_MS, digits=2)} in the "
        f"recording{before}, lead {one.reading.lead:.1f} over {one.speech_seconds:.0f} s of speech"
    )
