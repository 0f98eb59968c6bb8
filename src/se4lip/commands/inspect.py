"""``se4lip inspect``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, run
from se4lip.synthesis.inspect_video import inspect_video

EXIT_CODES = {"holds": 0, "broken": 1, "none": 3}


def inspect(arguments: list[str]) -> int | None:
    def command(
        video: Annotated[Path, tyro.conf.Positional],
        trust: Path | None = None,
        json: bool = False,
    ) -> int:
        """What a video says of its making: its content credential (C2PA) and its tags.

        Exit code: 0 there is a credential and it holds, 1 it is broken or the file was changed
        since it was signed, 3 there is none, 2 wrong input.

        Args:
            video: Any media file, of ours or of others.
            trust: PEM file of authorities whose signers you believe.
            json: Print what was found as JSON on standard output.
        """
        found = inspect_video(video, trust)
        if json:
            print_json(found.plain())
            return EXIT_CODES[found.verdict]
        print(found.sentence())
        for name, value in found.tags.items():
            print(f"  tag {_printable(name)}: {_printable(value)}")
        return EXIT_CODES[found.verdict]

    return run(command, "inspect", arguments)


def _printable(text: str) -> str:
    """Whoever wrote a tag must not write lines, or colours, that look like ours."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
