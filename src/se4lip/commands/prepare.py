"""``se4lip prepare``"""

import functools
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, progress, run
from se4lip.io.dataset import SourceEntry
from se4lip.prepare.dataset import PrepareConfig, mediapipe_tracker
from se4lip.prepare.dataset import prepare as prepare_dataset
from se4lip.types import FRAME_RATE_HZ
from se4lip.wording import counted


def prepare(arguments: list[str]) -> int | None:
    def command(
        sources: Annotated[tuple[Path, ...], tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        workers: int = 0,
        face_landmarker: Path | None = None,
        json: bool = False,
        config: Annotated[PrepareConfig, tyro.conf.arg(name="")] = PrepareConfig(),  # noqa: B008
    ) -> None:
        """Turn recordings into a data set: tracked faces, stabilised lips, sound.

        Clips that cannot be used are named with the reason and skipped. A run that was
        interrupted goes on where it stopped.

        Args:
            sources: Videos, or folders of videos.
            out: Folder of the data set.
            workers: Processes that work in parallel; 0 is one for each processor core.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the summary as JSON on standard output.
        """

        told = set()

        def tell(entry: SourceEntry) -> None:
            for skip in entry.skipped:
                told.add(skip)
                say(f"skipped {skip.name}: {skip.reason}")

        with progress("preparing") as (say, advance):
            done = prepare_dataset(
                sources,
                out,
                config,
                tracker=functools.partial(mediapipe_tracker, face_landmarker),
                workers=workers or os.cpu_count() or 1,
                on_source=tell,
                on_progress=advance,
            )
        for skip in done.skipped:
            if skip not in told:  # but by an earlier run
                print(f"skipped {skip.name}: {skip.reason}", file=sys.stderr)
        if json:
            print_json({"dataset": out, **asdict(done)})
            return
        minutes = done.frames / FRAME_RATE_HZ / 60
        print(
            f"{counted(done.clips, 'clip')}, {minutes:.1f} minutes in {out} "
            f"({len(done.skipped)} skipped, {counted(done.filled_frames, 'frame')} filled in)\n"
            f"look at {done.contact_sheet}"
        )

    return run(command, "prepare", arguments)
