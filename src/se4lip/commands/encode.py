"""``se4lip encode``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.artifacts.encoder import encoder_identity
from se4lip.commands.shared import print_json, progress, run
from se4lip.dropin import PROFILES, Profile, describe, feature_files, file_names
from se4lip.io.audio import promised_duration_s
from se4lip.io.feature_files import free, place_in_dataset, write
from se4lip.io.feature_notes import note_of
from se4lip.io.files import existing_file, writable_folder
from se4lip.synthesis.encode_speech import encode_file, encode_to_file
from se4lip.types import InputError
from se4lip.wording import counted


def encode(arguments: list[str]) -> int | None:
    if _asks_for_list(arguments):
        print(describe(PROFILES))
        return 0

    def command(
        audio: Annotated[tuple[Path, ...], tyro.conf.Positional],
        out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
        system: Annotated[str | None, tyro.conf.arg(name="for")] = None,
        encoder: Path | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Lip features of any audio or video file: float32 [T, 512] at 25 fps in a .npy file.

        A note of the encoder lies beside it in a .json file; `se4lip speak --features` asks for it.
        Of several files, or where OUT is a folder that is there, each is written into it, as
        NAME.npy.

        With --for, the files that an existing talking-head system loads unchanged; AUDIO may then
        be that system's data folder, and the files go where it looks. --for list names them all.

        Args:
            audio: The sound, or several, or with --for a data folder of that system.
            out: The .npy file; of several, and with --for, the folder.
            system: Write for this system (list: show all, with the flags to type there).
            encoder: Weights to encode with, the shipped ones by default.
            overwrite: With --for: replace files that are there.
            json: Print a summary as JSON on standard output.
        """
        if not audio:
            raise InputError("no sound was named: give one audio or video file, or several")
        if system is None:
            if out is None:
                raise InputError(
                    "no output was named: give -o FEATURES.npy, or -o FOLDER for several sounds"
                )
            if overwrite:
                raise InputError(
                    "--overwrite is of files for another system: add --for, or leave it out"
                )
            if len(audio) == 1 and not out.is_dir():
                _encode_one(audio[0], out, encoder, json)
            else:
                _encode_many(audio, out, encoder, json)
            return
        profile = PROFILES.get(system)
        if profile is None:
            raise InputError(f"no system {system!r} is known: one of {', '.join(PROFILES)}")
        if len(audio) > 1:
            raise InputError(
                f"{len(audio)} sounds were named, and --for takes one: give them one by one"
            )
        _encode_for(profile, audio[0], out, encoder, overwrite, json)

    return run(command, "encode", arguments)


def _encode_one(audio: Path, out: Path, encoder: Path | None, json: bool) -> None:
    total = promised_duration_s(audio)
    with progress("encoding") as (_, advance):
        shape = encode_to_file(
            audio, out, encoder, lambda done_s: advance(done_s / max(total, 1e-9))
        )
    if json:
        print_json(_summary(audio, shape, out))
    else:
        print(f"{counted(shape[0], 'frame')} of {shape[1]} features: {out}, {note_of(out)}")


def _encode_many(sounds: tuple[Path, ...], out: Path, encoder: Path | None, json: bool) -> None:
    """What cannot be encoded is told and left out, and none of the others is lost for it."""
    if out.suffix == ".npy":
        raise InputError(f"{len(sounds)} sounds were named, and {out} is one file: give -o FOLDER")
    goals = {out / f"{sound.stem}.npy": sound for sound in sounds}
    for sound in sounds:
        if (first := goals[out / f"{sound.stem}.npy"]) != sound:
            raise InputError(
                f"{sound} and {first} would both be written to {sound.stem}.npy: give them one by "
                "one"
            )
    writable_folder(out)
    encoder_identity(encoder)  # weights that cannot be read are told once
    written, skipped = [], []
    with progress("encoding") as (say, advance):
        for goal, sound in goals.items():
            try:
                written.append(_summary(sound, encode_to_file(sound, goal, encoder), goal))
            except InputError as error:
                skipped.append({"audio": sound, "reason": str(error)})
                say(f"skipped: {error}")
            advance((len(written) + len(skipped)) / len(goals))
    if json:
        print_json({"written": written, "skipped": skipped})
    else:
        print(f"{counted(len(written), 'recording')} encoded: {out}")
    if skipped:
        raise InputError(
            f"{len(skipped)} of {counted(len(goals), 'recording')} could not be encoded: see above"
        )


def _encode_for(
    profile: Profile,
    audio: Path,
    out: Path | None,
    encoder: Path | None,
    overwrite: bool,
    json: bool,
) -> None:
    if out is not None and out.suffix == ".npy":
        raise InputError(f"with --for a folder is written, and {out} is none: give -o FOLDER")
    place = place_in_dataset(profile, audio) if audio.is_dir() else None
    if not audio.exists():  # a mistyped folder is no missing output
        existing_file(audio, "audio")
    goal = place.folder if place and out is None else out
    if goal is None:
        raise InputError("no output was named: give -o FOLDER")
    sound, frames = (place.audio, place.frames) if place else (audio, None)
    total = promised_duration_s(sound)
    folder = writable_folder(goal)
    if not overwrite:
        free(folder, file_names(profile, total, stem=sound.stem, frames=frames))
    with progress("encoding") as (_, advance):
        features = encode_file(sound, encoder, lambda done_s: advance(done_s / max(total, 1e-9)))
        files = feature_files(profile, features, stem=sound.stem, frames=frames)
        written = write(files, folder, overwrite=overwrite)
    shapes = [list(file.array.shape) for file in files]
    if json:
        print_json({"audio": sound, "shapes": shapes, "files": written})
    else:
        listed = ", ".join(f"{file} {shape}" for file, shape in zip(written, shapes, strict=True))
        print(f"for {profile.title}: {listed}")


def _summary(audio: Path, shape: tuple[int, ...], out: Path) -> dict[str, object]:
    return {"audio": audio, "shape": shape, "files": [out, note_of(out)]}


def _asks_for_list(arguments: list[str]) -> bool:
    """Whether the value of --for is missing or "list"; a file or folder may be called so too."""
    if "--for=list" in arguments:
        return True
    after = arguments[arguments.index("--for") + 1 :] if "--for" in arguments else ["-"]
    return after[:1] in ([], ["list"])
