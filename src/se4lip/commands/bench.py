"""``se4lip bench ambiguity``, ``bench features`` and ``bench ablation``"""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from se4lip.bench.ambiguity import AmbiguityConfig
from se4lip.bench.ambiguity import ambiguity as measure_ambiguity
from se4lip.commands.shared import progress, run


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
        Console().print(str(page))

    return run(command, "bench ambiguity", arguments)
