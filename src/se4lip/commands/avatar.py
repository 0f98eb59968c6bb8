"""``se4lip train avatar`` and ``se4lip speak``"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from se4lip.commands.shared import print_json, progress, run
from se4lip.speak_audio import speak as say
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar import train_avatar as train
from se4lip.train.split import Split


def train_avatar(arguments: list[str]) -> int | None:
    def command(
        dataset: Annotated[Path, tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        renderer: Literal["splat"] = "splat",
        encoder: Path | None = None,
        features: Path | None = None,
        split: Split = "train",
        videos: Path | None = None,
        device: str = "auto",
        name: str | None = None,
        recipe: Annotated[AvatarRecipe, tyro.conf.arg(name="")] = AvatarRecipe(),  # noqa: B008
    ) -> None:
        """Make a talking head of the person in a prepared data set.

        Give the same command again to go on with a run that was stopped.

        Args:
            dataset: Folder that `se4lip prepare` wrote, of one person filmed by one camera.
            out: Folder of the run: checkpoints, TensorBoard curves, and avatar.safetensors.
            renderer: What draws the head: 3D Gaussians.
            encoder: Weights whose features drive the head, the shipped ones by default.
            features: Folder of NAME.npy, [T, D] for each clip, to be used instead of an encoder.
            split: Which recordings train: of ten, one tests, one validates, eight train; or all.
            videos: Where the recordings are now, if they have moved.
            device: auto, cpu or cuda.
            name: The avatar's name.
        """
        say = Console(stderr=True, highlight=False).print
        print(train(dataset, out, recipe, encoder, features, split, videos, device, name, say))

    return run(command, "train avatar", arguments)


def speak(arguments: list[str]) -> int | None:
    def command(
        avatar: Annotated[Path, tyro.conf.Positional],
        audio: Annotated[Path, tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        size: int | None = None,
        encoder: Path | None = None,
        features: Path | None = None,
        json: bool = False,
    ) -> None:
        """Let an avatar say what is heard in a recording.

        Args:
            avatar: File that `se4lip train avatar` wrote.
            audio: Any audio or video file with speech.
            out: The video to write.
            size: Width and height in pixels, those trained at by default.
            encoder: Encoder the avatar was trained with, the shipped one by default.
            features: File of features [T, D] at 25 rows a second, instead of an encoder's.
            json: Print the summary as JSON on standard output.
        """
        with progress("speaking") as (_, advance):
            done = say(
                avatar, audio, out, size, encoder, features, on_progress=lambda _: advance(0)
            )
        if json:
            print_json({**asdict(done), "frames_per_s": done.frames_per_s})
            return
        shares = ", ".join(
            f"{what} {1000 * took / done.frames:.1f} ms" for what, took in done.profile_s.items()
        )
        print(
            f"{done.frames / 25:.2f} s of video at {done.size_px}x{done.size_px} in "
            f"{done.elapsed_s:.2f} s: {done.frames_per_s:.1f} frames a second\n"
            f"a frame: {shares}\n{done.video}"
        )

    return run(command, "speak", arguments)
