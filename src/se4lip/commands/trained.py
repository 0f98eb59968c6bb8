"""What the trainings say when they are done."""

from pathlib import Path

from se4lip.commands.shared import print_json
from se4lip.train.checkpoint import progress_of
from se4lip.train.devices import is_chief


def tell_trained(file: Path, parts: dict[str, Path], json: bool) -> None:
    """Where the weights are; as JSON also how far each part came, by the folder of its run.

    Of several processes only one says so.
    """
    if not is_chief():
        return
    if json:
        come = {name: progress_of(folder).plain() for name, folder in parts.items()}
        print_json({"path": file, **come})
    else:
        print(file)
