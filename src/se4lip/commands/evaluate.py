"""``se4lip evaluate video``"""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from se4lip.commands.shared import print_json, run
from se4lip.evaluate import EvaluateConfig, missing, table
from se4lip.evaluate import evaluate_video as judge_video
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.prepare import mediapipe_tracker


def evaluate_video(arguments: list[str]) -> int | None:
    def command(
        predicted: Annotated[Path, tyro.conf.Positional],
        reference: Path | None = None,
        audio: Path | None = None,
        phones: Path | None = None,
        sheet: Path | None = None,
        face_landmarker: Path | None = None,
        json: bool = False,
        config: Annotated[EvaluateConfig, tyro.conf.arg(name="")] = EvaluateConfig(),  # noqa: B008
    ) -> None:
        """Measure a talking-head video: pictures, lips, closure, sync.

        Figures that cannot be computed are named with the reason. A confidence by itself says
        little: give the real video too, it is judged in the same table.

        Args:
            predicted: The video to judge.
            reference: The real video of the same moments, framed alike.
            audio: What is said, if it is not the sound of the video itself.
            phones: Forced alignment, lines of START_S END_S PHONE, for closure on b, m, p.
            sheet: Picture to write, of moments of both videos.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the figures as JSON on standard output.
        """
        writable_files(sheet)
        tracker = mediapipe_tracker(face_landmarker)
        report, pictures = judge_video(predicted, reference, audio, phones, config, tracker=tracker)
        if sheet is not None:
            save_picture(sheet, pictures)
        if json:
            print_json(report.plain())
            return
        Console().print(table(report))
        for line in (*report.notes, *missing(report)):
            print(line)

    return run(command, "evaluate video", arguments)
