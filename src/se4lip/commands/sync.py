"""``se4lip sync``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, run
from se4lip.io.pictures import save_picture
from se4lip.plots import sync_picture
from se4lip.prepare import mediapipe_tracker
from se4lip.sync import sync as measure

EXIT_CODES = {"in-sync": 0, "out-of-sync": 1, "cannot-tell": 3}


def sync(arguments: list[str]) -> int | None:
    def command(
        video: Annotated[Path, tyro.conf.Positional],
        picture: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
        encoder: Path | None = None,
        face_landmarker: Path | None = None,
        json: bool = False,
    ) -> int:
        """How far sound and lips of a video are apart.

        Exit code: 0 in sync (within one frame), 1 out of sync, 3 it cannot be told, 2 wrong input.
        Positive offsets mean that the sound comes later than the picture.

        Args:
            video: The video to judge.
            picture: Write the offset of every second to this PNG.
            encoder: Weights to judge with, the shipped ones by default.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the report as JSON on standard output.
        """
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
