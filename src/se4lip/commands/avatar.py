"""``se4lip train avatar``"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import tyro

from se4lip.artifacts.avatar import Renderer, load_avatar
from se4lip.commands.shared import run
from se4lip.commands.trained import tell_trained
from se4lip.evaluation.sync_dataset import dataset_offsets
from se4lip.metrics.sync import FRAME_MS
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar import train_avatar as train
from se4lip.train.avatar_again import make_wary
from se4lip.train.avatar_again import relisten as hear
from se4lip.train.hearing_of_another import AUTO, HEARING, WARINESS
from se4lip.train.log import say
from se4lip.train.split import Split
from se4lip.types import InputError
from se4lip.wording import lateness

_LISTENED_TO = 40  # clips, before a head is made of them


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
        keep_hearing: str | None = None,
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
            split: What trains: of ten recordings one tests, one validates, eight train; fewer are
                each cut in time, the last tenth tests, the tenth before validates; or all.
            videos: Where the recordings are now, if they have moved.
            seen: An avatar of this person whose looks to keep: only hearing is learned anew.
            device: Where pictures are learned: auto, cpu or cuda. Hearing is learned on the CPU.
            name: The avatar's name.
            also_heard: Data sets of the same lips in other voices (examples/other_voices.py), so
                that other voices move the lips as well.
            also_still: Recordings in which nobody speaks, music for one, in which and under which
                the mouth learns to rest (examples/made_music.py).
            also_spoken: Recordings of people whom nobody filmed, in any language: they teach when
                the mouth moves, and where NAME.phones lies beside NAME.wav (lines of START_S END_S
                PHONE in IPA), where it shuts, rounds and spreads (examples/spoken_words.py --wav).
            hearing_of: An avatar with whose knowledge of the same features hearing begins: auto is
                the shipped one if it has any, none begins with nothing.
            keep_hearing: An avatar made from the same takes whose hearing to keep: only looks are
                learned anew, or, with --seen too, only what noise is.
            json: Print path, steps, seconds and validation figures as JSON on standard output.
        """
        if keep_hearing is not None:
            asked: dict[str, object] = {
                "--features": features,
                "--also-spoken": also_spoken,
                "--hearing-of": hearing_of != AUTO,
            }
            of_noise: dict[str, object] = {
                "--encoder": encoder,
                "--feature-weights": feature_weights,
                "--also-heard": also_heard,
                "--also-still": also_still,
            }
            if seen is None:
                _refuse_with_kept_hearing(asked | of_noise, recipe, HEARING)
            else:
                parts = [part for part in HEARING if part not in WARINESS]
                _refuse_with_kept_hearing(asked, recipe, parts)
        if seen is not None:
            _check_seen(seen, renderer, videos, device, recipe)
        if seen is not None and keep_hearing is not None:
            file = make_wary(
                dataset,
                out,
                recipe,
                seen=seen,
                keep_hearing=keep_hearing,
                encoder=encoder,
                split=split,
                name=name,
                report=say,
                feature_weights=feature_weights,
                also_heard=also_heard,
                also_still=also_still,
            )
            tell_trained(file, {}, json)
            return
        if seen is not None:
            file = hear(
                dataset,
                out,
                recipe,
                seen=seen,
                encoder=encoder,
                features=features,
                split=split,
                name=name,
                report=say,
                feature_weights=feature_weights,
                also_heard=also_heard,
                also_still=also_still,
                also_spoken=also_spoken,
                hearing_of=hearing_of,
            )
            tell_trained(file, {"speech": out / "speech"}, json)
            return
        _refuse_of_other_renderer(renderer or "splat", recipe)
        _warn_of_late_sound(dataset, say)
        file = train(
            dataset,
            out,
            recipe,
            encoder=encoder,
            features=features,
            split=split,
            videos=videos,
            device=device,
            name=name,
            report=say,
            feature_weights=feature_weights,
            renderer=renderer or "splat",
            also_heard=also_heard,
            also_still=also_still,
            also_spoken=also_spoken,
            hearing_of=hearing_of,
            keep_hearing=keep_hearing,
        )
        parts = ["pictures"] if keep_hearing else ["speech", "pictures"]
        tell_trained(file, {part: out / part for part in parts}, json)

    return run(command, "train avatar", arguments)


def _warn_of_late_sound(dataset: Path, report: Callable[[str], None]) -> None:
    """A head of sound that is out of step speaks out of step."""
    try:
        found = dataset_offsets(dataset, most_clips=_LISTENED_TO).whole
    except InputError:  # too little speech, or what training will tell
        return
    if found.verdict == "out-of-sync":
        late = lateness(round(found.left_frames), found.left_frames * FRAME_MS)
        report(
            f"the sound of {dataset} is {late}, and the head will speak so: "
            f"`se4lip sync {dataset} --store` puts it right"
        )


def _changed(recipe: AvatarRecipe, parts: Sequence[str]) -> list[str]:
    """The flags of those ``parts`` that are not as they usually are."""
    usual = AvatarRecipe()
    changed = [part for part in parts if getattr(recipe, part) != getattr(usual, part)]
    return [f"--{part.replace('_', '-')}" for part in changed]


def _refuse_with_kept_hearing(
    asked: Mapping[str, object], recipe: AvatarRecipe, parts: Sequence[str]
) -> None:
    """Raises: InputError when what hearing is learned from was asked for, by a flag or in one of
    the ``parts`` of the recipe, and none is learned."""
    flags = [flag for flag, value in asked.items() if value] + _changed(recipe, parts)
    if flags:
        raise InputError(
            f"with --keep-hearing no hearing is learned: leave {' and '.join(flags)} out"
        )


_ONLY_OF: dict[Renderer, tuple[str, ...]] = {
    "splat": ("canonical", "curves", "picture_loss", "pictures"),
    "nerf": ("nerf",),
}


def _refuse_of_other_renderer(renderer: Renderer, recipe: AvatarRecipe) -> None:
    """Raises: InputError on options of looks that this renderer has not."""
    for other, parts in _ONLY_OF.items():
        if other != renderer and (flags := _changed(recipe, parts)):
            raise InputError(
                f"heads drawn by {renderer!r} know nothing of {' and '.join(flags)}: give "
                f"--renderer {other}, or leave {' and '.join(flags)} out"
            )


def _check_seen(
    seen: Path, renderer: Renderer | None, videos: Path | None, device: str, recipe: AvatarRecipe
) -> None:
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
    looks = [one.name for one in fields(AvatarRecipe) if one.name not in HEARING]
    if flags := _changed(recipe, looks):
        raise InputError(f"with --seen no looks are learned: leave {' and '.join(flags)} out")
