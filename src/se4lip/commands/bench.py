"""``se4lip bench ambiguity``, ``bench features`` and ``bench ablation``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.bench.ablation import ablation as measure_ablation
from se4lip.bench.ablation_config import AblationConfig
from se4lip.bench.ambiguity import ambiguity as measure_ambiguity
from se4lip.bench.ambiguity_figures import AmbiguityConfig
from se4lip.bench.features import compare_features
from se4lip.bench.features_config import FeaturesConfig
from se4lip.commands.shared import progress, run
from se4lip.prepare.dataset import mediapipe_tracker


def ambiguity(arguments: list[str]) -> int | None:
    def command(
        dataset: Annotated[Path, tyro.conf.Positional],
        phones: Path,
        work: Path,
        results: Path = Path("docs/results"),
        quick: bool = False,
        config: Annotated[AmbiguityConfig, tyro.conf.arg(name="")] = AmbiguityConfig(),  # noqa: B008
    ) -> None:
        """Whether features coincide where lips do, and differ where lips do.

        Give the same command again to go on with a run that was stopped.

        Args:
            dataset: Folder that `se4lip prepare` wrote.
            phones: Folder of forced alignments CLIP.txt of the test clips (examples/align_grid.py).
            work: Folder for what was computed, to go on with.
            results: Folder for the page, its plots and figures.
            quick: A smaller version that takes minutes on two cores.
        """
        config = config.quick() if quick else config
        with progress("ambiguity") as (say, advance):
            page = measure_ambiguity(dataset, phones, work, results, config, advance, say)
        print(page)

    return run(command, "bench ambiguity", arguments)


def features(arguments: list[str]) -> int | None:
    def command(
        dataset: Annotated[Path, tyro.conf.Positional],
        heads: tuple[Path, ...],
        work: Path,
        others: tuple[Path, ...] = (),
        same_lips: tuple[Path, ...] = (),
        phones: Path | None = None,
        results: Path = Path("docs/results"),
        videos: Path | None = None,
        grid: Path | None = None,
        begun_with: tuple[Path, Path] | None = None,
        quick: bool = False,
        face_landmarker: Path | None = None,
        config: Annotated[FeaturesConfig, tyro.conf.arg(name="")] = FeaturesConfig(),  # noqa: B008
    ) -> None:
        """Which features make the better head: the same looks, takes and steps for all of them.

        Give the same command again to go on with a run that was stopped.

        Args:
            dataset: Folder that `se4lip prepare` wrote, of the person whom the heads show.
            heads: Avatars of one person, one a renderer (`se4lip train avatar`), or grid-s1.
            work: Folder for what was computed, to go on with.
            others: Data sets of other people and languages.
            same_lips: Data sets of the person's test clips in other voices, lips re-timed to them
                (`examples/other_voices.py`).
            phones: Folder of forced alignments CLIP.txt of the test clips, for closures.
            results: Folder for the page, its plots and figures.
            videos: Where the recordings are now, if they have moved.
            grid: Folder for videos of all features saying the same sentence.
            begun_with: Data set and head of another person, on whom all features first learn to
                hear; every window begins with what its own features learned there.
            quick: A smaller version that takes minutes on two cores; what is named stays.
            face_landmarker: MediaPipe's face_landmarker.task, if it is not to be downloaded.
        """
        whole, said = config, ""
        if quick:
            config = whole.quick(_named(arguments))
            said = config.left_out(whole)
        tracker = mediapipe_tracker(face_landmarker) if config.drawn_takes else None
        with progress("features") as (say, advance):
            if said:
                say(f"quick: {said}")
            page = compare_features(
                *(dataset, heads, others, phones, work, results, tracker, config, videos, grid),
                same_lips=same_lips,
                left_out=said,
                begun_with=begun_with,
                on_progress=advance,
                report=say,
            )
        print(page)

    return run(command, "bench features", arguments)


def _named(arguments: list[str]) -> set[str]:
    """The options that were typed, as fields are called."""
    typed = (one.partition("=")[0] for one in arguments if one.startswith("--"))
    return {one.removeprefix("--").replace("-", "_") for one in typed}


def ablation(arguments: list[str]) -> int | None:
    def command(
        dataset: Annotated[Path, tyro.conf.Positional],
        work: Path,
        others: tuple[Path, ...] = (),
        results: Path = Path("docs/results"),
        quick: bool = False,
        config: Annotated[AblationConfig, tyro.conf.arg(name="")] = AblationConfig(),  # noqa: B008
    ) -> None:
        """Which front and which net in time hear lips best, at an equal budget.

        First all fronts with all nets for a short time, then the best few for longer. The weights
        of each stay in WORK, to be heard by a head: --features variant:FILE. Give the same command
        again to go on with a run that was stopped.

        Args:
            dataset: Folder that `se4lip prepare` wrote.
            work: Folder for what was computed, to go on with.
            others: Data sets of people whom no variant heard or saw, all clips of which may be
                asked about.
            results: Folder for the page, its plots and figures.
            quick: A smaller version that takes minutes on two cores; what is named stays.
        """
        config = config.quick(_named(arguments)) if quick else config
        with progress("ablation") as (say, advance):
            page = measure_ablation(dataset, others, work, results, config, advance, say)
        print(page)

    return run(command, "bench ablation", arguments)
