"""``se4lip encode``"""

from pathlib import Path
from typing import Annotated

import tyro

from se4lip.commands.shared import print_json, progress, run
from se4lip.dropin import PROFILES, describe, feature_files, file_names
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
        audio: Annotated[Path, tyro.conf.Positional],
        out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
        system: Annotated[str | None, tyro.conf.arg(name="for")] = None,
        encoder: Path | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Lip features of any audio or video file: float32 [T, 512] at 25 fps in a .npy file.

        A note of the encoder lies beside it in a .json file; `se4lip speak --features` asks for it.

        With --for, the files that an existing talking-head system loads unchanged; AUDIO may then
        be that system's data folder, and the files go where it looks. --for list names them all.

        Args:
            audio: The sound, or with --for a data folder of that system.
            out: The .npy file; with --for the folder.
            system: Write for this system (list: show all, with the flags to type there).
            encoder: Weights to encode with, the shipped ones by default.
            overwrite: With --for: replace files that are there.
            json: Print a summary as JSON on standard output.
        """
        profile = PROFILES.get(system) if system else None
        if system and profile is None:
            raise InputError(f"no system {system!r} is known: one of {', '.join(PROFILES)}")
        if profile and out is not None and out.suffix == ".npy":
            raise InputError(f"with --for a folder is written, and {out} is none: give -o FOLDER")
        place = place_in_dataset(profile, audio) if profile and audio.is_dir() else None
        if profile and not audio.exists():  # a mistyped folder is no missing output
            existing_file(audio, "audio")
        if place is None and out is None:
            raise InputError("no output was named: give -o FEATURES.npy, or -o FOLDER with --for")
        sound = place.audio if place else audio
        total = promised_duration_s(sound)
        written: list[Path]
        with progress("encoding") as (_, advance):

            def tell(done_s: float) -> None:
                advance(done_s / max(total, 1e-9))

            if profile is None:
                assert out is not None
                shape: tuple[int, ...] = encode_to_file(sound, out, encoder, tell)
                written = [out, note_of(out)]
            else:
                goal = place.folder if place and out is None else out
                assert goal is not None
                folder = writable_folder(goal)
                frames = place.frames if place else None
                if not overwrite:
                    free(folder, file_names(profile, total, stem=sound.stem, frames=frames))
                features = encode_file(sound, encoder, tell)
                files = feature_files(profile, features, stem=sound.stem, frames=frames)
                written = write(files, folder, overwrite=overwrite)
                shape = files[0].array.shape
        if json:
            print_json({"audio": sound, "shape": shape, "files": written})
        elif profile is None:
            print(f"{counted(shape[0], 'frame')} of {shape[1]} features: {_list(written)}")
        else:
            rows = ", ".join(map(str, shape[1:]))
            print(f"{counted(shape[0], 'row')} of [{rows}] for {profile.title}: {_list(written)}")

    return run(command, "encode", arguments)


def _asks_for_list(arguments: list[str]) -> bool:
    """Whether the value of --for is missing or "list"; a file or folder may be called so too."""
    if "--for=list" in arguments:
        return True
    after = arguments[arguments.index("--for") + 1 :] if "--for" in arguments else ["-"]
    return after[:1] in ([], ["list"])


def _list(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)
