"""``se4lip demo``"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, progress, run
from se4lip.io.audio import promised_duration_s
from se4lip.synthesis.demo import demo as show
from se4lip.synthesis.demo import shipped_speech


def demo(arguments: list[str]) -> int | None:
    def command(
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo"),
        audio: Path | None = None,
        avatar: Path | None = None,
        size: int | None = None,
        label: bool = False,
        credentials: tuple[Path, Path] | None = None,
        json: bool = False,
    ) -> None:
        """A photographic head says a sentence, its lips moved by SE4Lip features of that sentence.

        Args:
            out: Folder for the video and the picture of how it came about.
            audio: What is to be said, the shipped sentence by default.
            avatar: Who is to say it, the shipped head by default.
            size: Width of the video in pixels.
            label: Burn the word "synthetic" into the picture.
            credentials: Your certificate chain and private key, two PEM files, to sign the video
                with; a self-made certificate of this computer by default.
            json: Print where things are as JSON on standard output.
        """
        total_s = promised_duration_s(audio or shipped_speech())
        with progress("speaking") as (_, advance):
            shown = show(
                out,
                audio,
                avatar,
                size,
                lambda done_s: advance(done_s / (total_s or 60)),
                label=label,
                credentials=credentials,
            )
        if json:
            print_json(asdict(shown))
        else:
            print(
                f"{shown.seconds:.1f} s of video at {shown.frames_per_s:.0f} frames "
                f"a second\nwatch   {shown.video}\nlook at {shown.sheet}"
            )

    return run(command, "demo", arguments)
