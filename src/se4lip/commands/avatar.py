"""``se4lip train avatar``, ``se4lip speak`` and ``se4lip evaluate avatar``"""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from se4lip.artifacts.avatar import Renderer, load_avatar
from se4lip.commands.shared import print_json, progress, run
from se4lip.commands.trained import tell_trained
from se4lip.evaluate import EvaluateConfig
from se4lip.evaluate_avatar import Driver, drawn_on, side_by_side, side_by_side_origin
from se4lip.evaluate_avatar import curves as curves_of
from se4lip.evaluate_avatar import evaluate_avatar as judge
from se4lip.evaluate_avatar import sheet as sheet_of
from se4lip.head.nerf.head import Shortcut
from se4lip.io.audio import promised_duration_s
from se4lip.io.files import writable_files
from se4lip.io.pictures import save_picture
from se4lip.io.video import writable_video, write_video
from se4lip.plots import need_matplotlib
from se4lip.prepare import mediapipe_tracker
from se4lip.rendered_takes import Rendered, sound_of
from se4lip.speak_audio import speak as say
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar import relisten as hear
from se4lip.train.avatar import train_avatar as train
from se4lip.train.hearing_of_another import AUTO
from se4lip.train.split import Split
from se4lip.types import InputError


def train_avatar(arguments: list[str]) -> int | None:
    def command(
        dataset: Annotated[Path, tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        renderer: Renderer | None = None,
        encoder: Path | None = None,
        features: str | None = None,
        feature_weights: Path | None = None,
        split: Split = "train",
        videos: Path | None = None,
        seen: Path | None = None,
        device: str = "auto",
        name: str | None = None,
        also_heard: tuple[Path, ...] = (),
        also_still: tuple[Path, ...] = (),
        also_spoken: tuple[Path, ...] = (),
        hearing_of: str = AUTO,
        json: bool = False,
        recipe: Annotated[AvatarRecipe, tyro.conf.arg(name="")] = AvatarRecipe(),  # noqa: B008
    ) -> None:
        """Make a talking head of the person in a prepared data set.

        Give the same command again to go on with a run that was stopped.

        Args:
            dataset: Folder that `se4lip prepare` wrote, of one person filmed by one camera.
            out: Folder of the run: checkpoints, TensorBoard curves, and avatar.safetensors.
            renderer: What draws the head: 3D Gaussians (the default), or a radiance field; with
                --seen, what drew that avatar.
            encoder: Weights whose features drive the head, the shipped ones by default.
            features: Others to be used instead of an encoder's: logmel, whisper-base, ... by name
                (docs/features.md), or a folder of NAME.npy, [T, D] for each clip.
            feature_weights: Where the weights of those features are, if not where they are looked
                for.
            split: Which recordings train: of ten, one tests, one validates, eight train; or all.
            videos: Where the recordings are now, if they have moved.
            seen: An avatar of this person whose looks to keep: only hearing is learned anew.
            device: auto, cpu or cuda; what --seen learns is learned on the CPU.
            name: The avatar's name.
            also_heard: Data sets of the same lips in other voices (examples/other_voices.py), so
                that other voices move the lips as well.
            also_still: Recordings in which nobody speaks, music for one, in which and under which
                the mouth learns to rest (examples/made_music.py).
            also_spoken: Recordings of people whom nobody filmed, in any language: they teach when
                the mouth moves, not how (examples/spoken_words.py --wav).
            hearing_of: An avatar with whose knowledge of the same features hearing begins: auto is
                the shipped one if it has any, none begins with nothing.
            json: Print path, steps, seconds and validation figures as JSON on standard output.
        """
        say = Console(stderr=True, highlight=False).print
        if seen is not None:
            _check_seen(seen, renderer, videos, device)
            file = hear(
                *(dataset, out, recipe, seen, encoder, features, split, name, say),
                feature_weights=feature_weights,
                also_heard=also_heard,
                also_still=also_still,
                also_spoken=also_spoken,
                hearing_of=hearing_of,
            )
            tell_trained(file, {"speech": out / "speech"}, json)
            return
        file = train(
            *(dataset, out, recipe, encoder, features, split, videos, device, name, say),
            feature_weights=feature_weights,
            renderer=renderer or "splat",
            also_heard=also_heard,
            also_still=also_still,
            also_spoken=also_spoken,
            hearing_of=hearing_of,
        )
        tell_trained(file, {part: out / part for part in ("speech", "pictures")}, json)

    return run(command, "train avatar", arguments)


def _check_seen(seen: Path, renderer: Renderer | None, videos: Path | None, device: str) -> None:
    """Raises: InputError on what could not be heeded, because an avatar is given that stays."""
    found = load_avatar(seen).renderer
    if renderer not in (None, found):
        raise InputError(
            f"{seen} was drawn by the renderer {found!r}, and --seen keeps it: leave "
            f"--renderer {renderer} out, or leave --seen out to make another head"
        )
    if videos is not None or device not in ("auto", "cpu"):
        raise InputError(
            "with --seen only hearing is learned, on the CPU and without pictures: leave --videos "
            "and --device out"
        )


def speak(arguments: list[str]) -> int | None:
    def command(
        avatar: Annotated[Path, tyro.conf.Positional],
        audio: Annotated[Path, tyro.conf.Positional],
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
        """Let an avatar say what is heard in a recording.

        Args:
            avatar: File that `se4lip train avatar` wrote.
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
            f"{done.frames / 25:.2f} s of video at {done.size_px}x{done.size_px} in "
            f"{done.elapsed_s:.2f} s: {done.frames_per_s:.1f} frames a second\n"
            f"a frame: {shares}\n{done.video}"
        )

    return run(command, "speak", arguments)


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
    ) -> None:
        """Rendered beside real, on recordings the avatar was not made from.

        Head, eyes and look move as in the real video; the mouth moves by the sound.

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
        writable_files(sheet, curves)
        if curves is not None:
            need_matplotlib()
        if video is not None:
            writable_video(video)
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
                encoder,
                features,
                driver,
                all_looks,
                most_takes,
                phones,
                videos,
                keep,
                advance,
                feature_weights,
                judges,
                device,
            )
        if sheet is not None:
            save_picture(sheet, sheet_of(shown))
        if curves is not None:
            save_picture(curves, curves_of(shown))
        if video is not None:
            frames = itertools.chain.from_iterable(map(side_by_side, shown))
            write_video(video, frames, map(sound_of, shown), origin=side_by_side_origin(avatar))
        if json:
            print_json(report.plain())
            return
        table = Table("figure", "rendered", "real", box=None)
        plain = report.plain()
        why = plain.pop("not_computed")
        for key, value in plain.items():
            if not key.startswith("real_"):
                real = plain.get(f"real_{key}")
                table.add_row(key, _shown(value), "" if real is None else _shown(real))
        Console().print(table)
        for key, reason in why.items():
            print(f"not computed: {key}: {reason}")

    return run(command, "evaluate avatar", arguments)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
