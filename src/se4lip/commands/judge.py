"""``se4lip train judge`` and ``se4lip evaluate judge``"""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from se4lip.commands.shared import print_json, print_table, progress, run
from se4lip.commands.trained import tell_trained
from se4lip.evaluation.judge import ExamConfig
from se4lip.evaluation.judge import evaluate_judge as examine
from se4lip.train.judge import JudgeRecipe
from se4lip.train.judge import train_judge as train
from se4lip.train.split import Split


def train_judge(arguments: list[str]) -> int | None:
    def command(
        datasets: Annotated[tuple[Path, ...], tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        split: Split = "validation",
        validation: tuple[Path, ...] = (),
        name: str = "judge",
        json: bool = False,
        recipe: Annotated[JudgeRecipe, tyro.conf.arg(name="")] = JudgeRecipe(),  # noqa: B008
    ) -> None:
        """Train the second sync judge, which shares no clip and no network with the encoder.

        Give the same command again to go on with a run that was stopped. Examine the judge before
        it is used: se4lip evaluate judge.

        Args:
            datasets: Folders that `se4lip prepare` wrote.
            out: Folder of the run: checkpoint, TensorBoard curves, and judge.safetensors.
            split: Which recordings train; the encoder's are those of `train`.
            validation: Further data sets to look at while it trains.
            name: The judge's name.
            json: Print path, steps, seconds and validation figures as JSON on standard output.
        """
        tell_trained(train(datasets, out, recipe, split, validation, name), {"training": out}, json)

    return run(command, "train judge", arguments)


def evaluate_judge(arguments: list[str]) -> int | None:
    def command(
        datasets: Annotated[tuple[Path, ...], tyro.conf.Positional],
        judge: Path | None = None,
        split: Split = "all",
        store: bool = False,
        json: bool = False,
        config: Annotated[ExamConfig, tyro.conf.arg(name="")] = ExamConfig(),  # noqa: B008
    ) -> None:
        """How much speech the second judge needs to find a known offset of people it never saw.

        Args:
            datasets: Folders that `se4lip prepare` wrote, of recordings it was not trained on.
            judge: Weights to examine, the shipped ones by default.
            split: Which recordings to ask about.
            store: Write the outcome into the weights file: it says when the judge may judge.
            json: Print the figures as JSON on standard output.
        """
        with progress("asking") as (_, advance):
            exam = examine(datasets, judge, split, store, config, advance)
        if json:
            print_json(exam.plain())
            return
        table = Table("data set", "speech, s", "clips", "right", "questions")
        for row in exam.rows:
            table.add_row(
                row.dataset,
                f"{row.speech_s:g}",
                f"{row.mean_clips:.1f}",
                f"{row.accuracy:.1%}",
                str(row.questions),
            )
        print_table(table)
        for name, offset in exam.own_offset_frames.items():
            print(f"{name} as it is stored: the sound lies {offset:+.2f} frames late")
        gate = exam.gate
        for least, what in (
            (gate.least_speech_s, ""),
            (gate.least_speech_long_s, f", in clips of {gate.long_clip_s:g} s and more"),
        ):
            if least is None:
                print(f"the judge may not judge{what}: no length was enough in every data set")
            else:
                print(f"the judge may judge {least:g} s of speech and more{what}")

    return run(command, "evaluate judge", arguments)
