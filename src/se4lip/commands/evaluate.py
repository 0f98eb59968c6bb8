"""``se4lip evaluate video``"""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from se4lip.commands.shared import print_json, print_table, progress, run
from se4lip.evaluation.video import EvaluateConfig
from se4lip.evaluation.video import evaluate_video as judge_video
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.io.video import probe_video
from se4lip.metrics.report import Report, Value
from se4lip.prepare.dataset import mediapipe_tracker

NO_FACE = 3  # exit code, as of `se4lip sync` where it cannot tell


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
    ) -> int:
        """Measure a talking-head video: pictures, lips, closure, sync.

        Figures that cannot be computed are named with the reason. A confidence by itself says
        little: give the real video too, it is judged in the same table.

        Exit code 3 where no frame has a face and only the pictures could be compared.

        Args:
            predicted: The video to judge.
            reference: The real video of the same moments, framed alike.
            audio: What is said, if it is not the sound of the video itself.
            phones: Forced alignment, lines of START_S END_S PHONE, for closure on b, m, p.
            sheet: Picture to write, of moments of both videos.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the figures as JSON on standard output.
        """
        writable_files(sheet, reading=(predicted, reference, audio, phones))
        probe_video(predicted)  # what cannot be judged is told before a model is looked for
        with progress("judging") as (_, advance):
            report, pictures = judge_video(
                *(predicted, reference, audio, phones, config),
                tracker=mediapipe_tracker(face_landmarker),
                on_progress=advance,
            )
        if sheet is not None:
            save_picture(sheet, pictures)
        code = 0 if report["face_seen"].predicted.number else NO_FACE
        if json:
            print_json(report.plain())
            return code
        print_table(_table(report))
        for line in (*report.notes, *report.missing()):
            print(line)
        return code

    return run(command, "evaluate video", arguments)


def _table(report: Report) -> Table:
    """A dash is explained by ``Report.missing``."""
    made = Table("figure", box=None)
    for name in ("predicted", "real"):
        made.add_column(name, justify="right")
    made.add_column("better", style="dim")
    for figure in report.figures:
        values = (figure.predicted, figure.real)
        made.add_row(figure.label, *map(_shown, values), figure.better)
    return made


def _shown(value: Value | None) -> str:
    if value is None:
        return ""
    return "-" if value.number is None else f"{value.number:.4g}"
