"""``se4lip evaluate silence`` and ``se4lip evaluate languages``"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from se4lip.commands.shared import print_json, print_table, progress, run
from se4lip.evaluation.languages import evaluate_languages as judge_languages
from se4lip.evaluation.plots import languages_picture
from se4lip.evaluation.silence import SilenceConfig
from se4lip.evaluation.silence import evaluate_silence as judge_silence
from se4lip.io.audio import promised_duration_s
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.prepare.dataset import mediapipe_tracker


def evaluate_silence(arguments: list[str]) -> int | None:
    def command(
        avatar: Annotated[Path, tyro.conf.Positional],
        recordings: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
        encoder: Path | None = None,
        draw: bool = False,
        face_landmarker: Path | None = None,
        json: bool = False,
        config: Annotated[SilenceConfig, tyro.conf.arg(name="")] = SilenceConfig(),  # noqa: B008
    ) -> None:
        """Does the mouth rest while nobody speaks? In made sounds, and in recordings.

        Rooms, machines, breath and music are made by code, from other seeds than in training;
        three kinds of sound are in no training at all.

        Args:
            avatar: File that `se4lip train avatar` wrote.
            recordings: Sounds in which nobody speaks, to be judged too.
            encoder: Encoder the avatar was trained with, the shipped one by default.
            draw: Also draw a part of each kind and track its lips.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the table as JSON on standard output.
        """
        for recording in recordings:  # they are heard last: what is no sound is told at once
            promised_duration_s(recording)
        with progress("listening") as (_, advance):
            tracker = mediapipe_tracker(face_landmarker) if draw else None
            rows = judge_silence(avatar, recordings, tracker, encoder, config, advance)
        if json:
            print_json({"kinds": [row.plain() for row in rows]})
            return
        table = Table(
            *("sound", "frames", "mouth moves", "in sounds", "99 of 100 under (px)", "drawn"),
            box=None,
        )
        for row in rows:
            note = {True: "", False: " (in no training)", None: " (given)"}[row.heard_in_training]
            table.add_row(
                f"{row.name}{note}",
                str(row.frames),
                f"{row.moving_share:.2%}",
                f"{row.moving_sounds} of {row.sounds}",
                f"{row.worst_px256:.2f}",
                f"{row.drawn_moving_share:.2%}" if row.drawn_frames else "-",
            )
        frames, moving = sum(row.frames for row in rows), sum(row.moving for row in rows)
        table.add_row("all", str(frames), f"{moving / max(1, frames):.2%}", "", "", "")
        print_table(table)

    return run(command, "evaluate silence", arguments)


def evaluate_languages(arguments: list[str]) -> int | None:
    def command(
        avatar: Annotated[Path, tyro.conf.Positional],
        folder: Annotated[Path, tyro.conf.Positional],
        encoder: Path | None = None,
        draw: bool = False,
        most_recordings: int | None = None,
        plot: Path | None = None,
        face_landmarker: Path | None = None,
        json: bool = False,
    ) -> None:
        """Do the lips close on b, m, p and round on o, u in other languages and voices?

        Args:
            avatar: File that `se4lip train avatar` wrote.
            folder: Folders LANGUAGE-VOICE of recordings, the times of their phones beside them.
            encoder: Encoder the avatar was trained with, the shipped one by default.
            draw: Draw the head and track its lips, instead of reading them off its codes.
            most_recordings: Judge so many of each voice.
            plot: Picture to write, of both figures of each voice.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the table as JSON on standard output.
        """
        writable_files(plot, reading=folder.glob("*/*"))
        with progress("listening") as (_, advance):
            tracker = mediapipe_tracker(face_landmarker) if draw else None
            rows = judge_languages(avatar, folder, tracker, encoder, most_recordings, advance)
        if plot is not None:
            save_picture(plot, languages_picture(rows))
        if json:
            print_json({"voices": [asdict(row) for row in rows]})
            return
        table = Table(
            "voice", "b m p", "others", "recall", "precision", "F1", "by chance", box=None
        )
        for title in ("closing AUC", "o u / e i", "rounding AUC", "at rest"):
            table.add_column(title)
        for row in rows:
            table.add_row(
                row.name,
                *(str(count) for count in (row.bilabials, row.other_phones)),
                *(f"{x:.2f}" for x in (row.recall, row.precision, row.f1, row.chance_f1)),
                _auc(row.closing_auc, row.closing_auc_low, row.closing_auc_high),
                f"{row.rounded} / {row.spread}",
                _auc(row.rounding_auc, row.rounding_auc_low, row.rounding_auc_high),
                f"{row.at_rest:.1%}",
            )
        print_table(table)

    return run(command, "evaluate languages", arguments)


def _auc(value: float, low: float, high: float) -> str:
    return f"{value:.2f}" if math.isnan(low) else f"{value:.2f} ({low:.2f}-{high:.2f})"
