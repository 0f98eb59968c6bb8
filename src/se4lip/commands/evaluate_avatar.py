"""``se4lip evaluate avatar``"""

import itertools
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from se4lip.commands.evaluate import NO_FACE
from se4lip.commands.shared import print_json, print_table, progress, run
from se4lip.evaluation.avatar import Driver, side_by_side, side_by_side_origin
from se4lip.evaluation.avatar import curves as curves_of
from se4lip.evaluation.avatar import evaluate_avatar as judge
from se4lip.evaluation.avatar import sheet as sheet_of
from se4lip.evaluation.plots import need_matplotlib
from se4lip.evaluation.rendered_takes import Rendered, sound_of
from se4lip.evaluation.video import EvaluateConfig
from se4lip.io.dataset import open_dataset
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.io.video_writing import writable_video, write_video
from se4lip.metrics.report import FIGURES
from se4lip.prepare.dataset import mediapipe_tracker
from se4lip.train.log import say
from se4lip.train.split import Split
from se4lip.types import at_least_one


def evaluate_avatar(arguments: list[str]) -> int | None:
    def command(
        avatar: Annotated[Path, tyro.conf.Positional],
        dataset: Annotated[Path, tyro.conf.Positional],
        split: Split = "test",
        encoder: Path | None = None,
        features: Path | None = None,
        feature_weights: Path | None = None,
        driver: Driver = "speech",
        all_looks: bool = False,
        most_takes: int | None = None,
        phones: Path | None = None,
        videos: Path | None = None,
        sheet: Path | None = None,
        curves: Path | None = None,
        video: Path | None = None,
        device: str = "cpu",
        show_takes: int = 4,
        face_landmarker: Path | None = None,
        json: bool = False,
        judges: EvaluateConfig = EvaluateConfig(),  # noqa: B008
    ) -> int:
        """Rendered beside real, on recordings the avatar was not made from.

        Head, eyes and look move as in the real video; the mouth moves by the sound.

        Exit code 3 where no drawn frame has a face, as of a head drawn on another person's film.

        Args:
            avatar: File that `se4lip train avatar` wrote.
            dataset: The data set it was made from.
            split: Which recordings to judge on.
            encoder: Encoder the avatar was trained with, the shipped one by default.
            features: Folder of NAME.npy, instead of the features the avatar was trained on.
            feature_weights: Where the weights of those are, if not where they are looked for.
            driver: Let the real mouth drive, to see the drawing's errors alone.
            all_looks: Judge on recordings with other hair, clothes or light too.
            most_takes: Stop after so many recordings.
            phones: Folder of forced alignments CLIP.txt, for closure on b, m, p.
            videos: Where the recordings are now, if they have moved.
            sheet: Picture to write, real and rendered under each other.
            curves: Picture to write, how far rendered and real lips are apart over time.
            video: Video to write, real and rendered side by side.
            device: What draws: auto, cpu or cuda.
            show_takes: How many recordings sheet, curves and video show.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
            json: Print the figures as JSON on standard output.
            judges: Judges that come from elsewhere, as in `se4lip evaluate video`.
        """
        at_least_one(show_takes, "--show-takes")
        inputs = [avatar, *open_dataset(dataset).files(videos)]
        inputs += [] if phones is None else phones.glob("*")
        writable_files(sheet, curves, reading=inputs)
        if curves is not None:
            need_matplotlib()
        if video is not None:
            writable_video(video, reading=inputs)
        shown: list[Rendered] = []

        def keep(one: Rendered) -> None:
            if len(shown) < show_takes and (sheet or curves or video):
                shown.append(one)

        with progress("judging") as (_, advance):
            report = judge(
                avatar,
                dataset,
                mediapipe_tracker(face_landmarker),
                split,
                encoder=encoder,
                features=features,
                driver=driver,
                all_looks=all_looks,
                most_takes=most_takes,
                phones=phones,
                videos=videos,
                on_take=keep,
                on_progress=advance,
                feature_weights=feature_weights,
                judges=judges,
                device=device,
            )
        if sheet is not None:
            save_picture(sheet, sheet_of(shown))
        if curves is not None:
            save_picture(curves, curves_of(shown))
        if video is not None:
            frames = itertools.chain.from_iterable(map(side_by_side, shown))
            write_video(video, frames, map(sound_of, shown), origin=side_by_side_origin(avatar))
        code = 0 if report.face_seen else NO_FACE
        if report.frames_learned:
            say(
                f"{report.frames_learned} of {report.frames} frames are such as this avatar "
                "learned from: they do not test it"
            )
        if json:
            print_json(report.plain())
            return code
        table = Table("figure", "rendered", "real", "better", box=None)
        plain = report.plain()
        why = plain.pop("not_computed")
        for key, value in plain.items():
            if not key.startswith("real_"):
                label, better = FIGURES.get(key, (key.replace("_", " "), ""))
                real = plain.get(f"real_{key}")
                table.add_row(label, _shown(value), "" if real is None else _shown(real), better)
        print_table(table)
        for key, reason in why.items():
            of = "the real video's " if key.startswith("real_") else ""
            label, _ = FIGURES.get(key.removeprefix("real_"), (key, ""))
            print(f"not computed: {of}{label}: {reason}")
        if code:
            print(f"no face in any drawn frame: is {dataset} what {avatar} was made from?")
        return code

    return run(command, "evaluate avatar", arguments)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
