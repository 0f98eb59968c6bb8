"""``se4lip train encoder`` and ``se4lip evaluate encoder``"""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table

from se4lip.commands.shared import print_json, print_table, progress, run
from se4lip.commands.trained import tell_trained
from se4lip.evaluation.encoder import evaluate_encoder as evaluate
from se4lip.evaluation.plots import matrix_picture
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.train.encoder import EncoderRecipe
from se4lip.train.encoder import train_encoder as train
from se4lip.train.split import Split


def train_encoder(arguments: list[str]) -> int | None:
    def command(
        datasets: Annotated[tuple[Path, ...], tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        validation: tuple[Path, ...] = (),
        split: Split = "train",
        device: str = "auto",
        name: str = "se4lip",
        start: Path | None = None,
        pictures_alone: tuple[Path, ...] = (),
        json: bool = False,
        recipe: Annotated[EncoderRecipe, tyro.conf.arg(name="")] = EncoderRecipe(),  # noqa: B008
    ) -> None:
        """Train speech and lip encoder against each other on prepared data sets.

        Give the same command again to go on with a run that was stopped. torchrun shares the work
        among processes.

        Args:
            datasets: Folders that `se4lip prepare` wrote.
            out: Folder of the run: checkpoint, TensorBoard curves, and encoder.safetensors.
            validation: Further data sets to examine the encoder on while it trains.
            split: Which recordings train: of ten, one tests, one validates, eight train; or all.
            device: auto, cpu or cuda.
            name: The encoder's name, which heads trained with its features remember.
            start: Weights to begin from, to adapt an encoder or to train it for another round.
            pictures_alone: Further data sets that train, all of them, by pictures of lips and not
                by contours: drawn faces (examples/drawn_faces).
            json: Print path, steps, seconds and validation figures as JSON on standard output.
        """
        file = train(datasets, out, recipe, validation, split, device, name, start, pictures_alone)
        tell_trained(file, {"training": out}, json)

    return run(command, "train encoder", arguments)


def evaluate_encoder(arguments: list[str]) -> int | None:
    def command(
        datasets: Annotated[tuple[Path, ...], tyro.conf.Positional],
        encoder: Path | None = None,
        split: Split = "all",
        branch: Literal["both", "picture", "contour"] = "both",
        matrix: Path | None = None,
        phones: Path | None = None,
        json: bool = False,
    ) -> None:
        """How often the true offset is found among 31, on prepared data sets.

        Args:
            datasets: Folders that `se4lip prepare` wrote.
            encoder: Weights to examine, the shipped ones by default.
            split: Which recordings to look at; `test` for the speaker it was trained on.
            branch: Let the lip encoder see only pictures, or only contours.
            phones: A folder of forced alignments, CLIP.txt with lines of START_S END_S PHONE: leave
                out questions with a frame that is all pause, which energy alone takes for speech.
            matrix: Write the similarity matrix of the clip with most speech to this PNG.
            json: Print the figures as JSON on standard output.
        """
        writable_files(matrix, reading=(encoder,))
        with progress("asking") as (_, advance):
            report = evaluate(datasets, encoder, split, branch, phones, advance)
        if matrix is not None:
            name, similarity = report.matrix
            save_picture(matrix, matrix_picture(similarity, name))
        if json:
            print_json(report.to_json())
            return
        table = Table("data set", "context", "right", "questions", "candidates", "by chance")
        for row in report.rows:
            figures = ["-", "0", "-", "-"]
            if row.questions:
                figures = [f"{row.accuracy:.1%}", str(row.questions)]
                figures += [f"{row.mean_candidates:.1f}", f"{row.chance:.1%}"]
            table.add_row(row.dataset, f"{row.context_frames} frames", *figures)
        print_table(table)

    return run(command, "evaluate encoder", arguments)
