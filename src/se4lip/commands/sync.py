"""``se4lip sync``"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, run
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.plots import sync_picture
from se4lip.prepare import mediapipe_tracker
from se4lip.sync_dataset import OffsetConfig, dataset_offsets, store_offsets
from se4lip.sync_video import sync as measure
from se4lip.train.split import Split

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
        Positive offsets mean that the sound comes later than the picture.

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
        report = measure(video, mediapipe_tracker(face_landmarker), encoder)
        if picture is not None:
            title = f"{video.name}: {report.verdict}"
            save_picture(picture, sync_picture(report.timeline, report.reading, title))
        if json:
            print_json({"video": video} | report.to_json())
        elif report.verdict == "cannot-tell":
            print(f"{video}: cannot tell: {report.reason}")
        elif report.reading is not None:
            for second, one in enumerate(report.timeline):
                said = f"{one.offset_frames:+4d} frames" if one else "   no speech"
                print(f"  second {second:4d}  {said}")
            print(
                f"{video}: {report.verdict}: sound {report.reading.offset_frames:+d} frames "
                f"({report.reading.offset_ms:+.0f} ms) late, confidence "
                f"{report.reading.confidence:.3f}, lead {report.reading.lead:.1f}"
            )
        return EXIT_CODES[report.verdict]

    return run(command, "sync", arguments)


def _sync_dataset(
    path: Path, encoder: Path | None, store: bool, split: Split, config: OffsetConfig, json: bool
) -> int:
    found = dataset_offsets(path, encoder, split, config)
    stored = store_offsets(path, found, split) if store else []
    if json:
        rows = [
            {"source": one.name, "offset_frames": round(one.frames, 3), "sure": one.sure}
            | {"speech_seconds": one.speech_seconds, **asdict(one.reading)}
            for one in found
        ]
        print_json({"dataset": path, "offsets": rows, "stored": len(stored)})
    else:
        for one in found:
            print(
                f"{one.name or path}: sound {one.frames:+.2f} frames ({one.frames * 40:+.0f} ms) "
                f"late, lead {one.reading.lead:.1f} over {one.speech_seconds:.0f} s of speech"
                f"{'' if one.sure else ': not sure'}{', stored' if one in stored else ''}"
            )
    whole = found[0]
    return EXIT_CODES["in-sync" if abs(whole.reading.offset_frames) <= 1 else "out-of-sync"]
