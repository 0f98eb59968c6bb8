"""``se4lip speak``"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from se4lip.artifacts.avatar import SHIPPED, avatar_file, load_avatar
from se4lip.commands.shared import print_json, progress, run
from se4lip.evaluation.avatar import drawn_on
from se4lip.head.nerf.head import Shortcut
from se4lip.io.audio import promised_duration_s
from se4lip.synthesis.speak_audio import speak as say
from se4lip.types import FRAME_RATE_HZ, InputError


def speak(arguments: list[str]) -> int | None:
    def command(
        avatar: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="AVATAR")],
        audio: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOUND")],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        size: int | None = None,
        encoder: Path | None = None,
        features: Path | None = None,
        feature_weights: Path | None = None,
        unchecked: bool = False,
        label: bool = False,
        credentials: tuple[Path, Path] | None = None,
        shortcut: Shortcut = "none",
        device: str = "cpu",
        json: bool = False,
    ) -> None:
        """Let an avatar say what is heard in a recording; the video has its sound in one channel.

        Args:
            avatar: File or run folder of `se4lip train avatar`, or grid-s1, who comes along.
            audio: Any audio or video file with speech.
            out: The video to write.
            size: Width and height in pixels, those trained at by default.
            encoder: Encoder the avatar was trained with, the shipped one by default.
            features: File of features [T, D] at 25 rows a second that `se4lip encode` wrote, with
                its note beside it, instead of computing those the avatar was trained on.
            feature_weights: Where the weights of those are, if not where they are looked for.
            unchecked: Take --features on your word: no note is asked for.
            label: Burn the word "synthetic" into the picture.
            credentials: Your certificate chain and private key, two PEM files, to sign the video
                with; a self-made certificate of this computer by default.
            shortcut: What the drawing of a radiance field may leave out, to be faster; on a CPU.
            device: What draws: auto, cpu or cuda.
            json: Print the summary as JSON on standard output.
        """
        if str(audio) == SHIPPED or audio.suffix == ".safetensors":
            raise InputError(f"{audio} is an avatar and stands second: give AVATAR, then AUDIO")
        avatar_file(avatar)  # what is no head is told before what is no sound
        total_s = promised_duration_s(audio)  # 0 where the header does not say: the bar stands

        with progress("speaking") as (_, advance):
            done = say(
                avatar if device == "cpu" else drawn_on(load_avatar(avatar), device),
                audio,
                out,
                size,
                encoder,
                features,
                on_progress=lambda done_s: advance(min(1.0, done_s / total_s) if total_s else 0.0),
                label=label,
                credentials=credentials,
                feature_weights=feature_weights,
                shortcut=shortcut,
                unchecked=unchecked,
            )
        if json:
            print_json({**asdict(done), "frames_per_s": done.frames_per_s})
            return
        shares = ", ".join(
            f"{what} {1000 * took / done.frames:.1f} ms" for what, took in done.profile_s.items()
        )
        print(
            f"{done.frames / FRAME_RATE_HZ:.2f} s of video at {done.size_px}x{done.size_px} in "
            f"{done.elapsed_s:.2f} s: {done.frames_per_s:.1f} frames a second\n"
            f"a frame: {shares}\n{done.video}"
        )

    return run(command, "speak", arguments)
