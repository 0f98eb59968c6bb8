"""Writing the feature files of other systems, beside or into the data sets those systems made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from se4lip.io import files
from se4lip.types import InputError

_PICTURES = ("ori_imgs", "gt_imgs")  # where preparations that number their frames keep them


class DatasetKind(Protocol):
    """What is read of a `dropin.Profile`."""

    @property
    def title(self) -> str: ...
    @property
    def frames_from(self) -> str: ...


class NamedArray(Protocol):
    """What is read of a `dropin.FeatureFile`."""

    @property
    def name(self) -> str: ...
    @property
    def array(self) -> np.ndarray: ...


@dataclass(frozen=True)
class ForeignDataset:
    """A data set of another system: files go into ``folder``, named after ``audio``."""

    folder: Path
    audio: Path
    frames: int  # of its video, those without a face included


def place_in_dataset(profile: DatasetKind, dataset_folder: Path | str) -> ForeignDataset:
    """Where a system's data set keeps its sound and looks for features, and its frames counted.

    Raises:
        InputError: the folder is none of that system's, or not finished.
    """
    folder = Path(dataset_folder)
    audio = folder / "aud.wav"
    if not audio.is_file():
        raise InputError(
            f"{folder} holds no aud.wav, so it is no {profile.title} data set: "
            f"run {profile.title}'s preparation first, or give an audio file"
        )
    if profile.frames_from == "transforms":
        frames = _numbered_frames(profile, folder)
    else:
        frames = _pictures(profile, folder / profile.frames_from)
    return ForeignDataset(folder, audio, frames)


def write(
    feature_files: Sequence[NamedArray], folder: Path | str, *, overwrite: bool = False
) -> list[Path]:
    """Save arrays as .npy under their names in ``folder``, each whole or not at all, unpickled.

    Raises:
        InputError: a file is there already and ``overwrite`` is false (then none is written), the
            folder cannot be written, or the disk is full.
    """
    goals = [Path(folder) / file.name for file in feature_files]
    if not overwrite:
        free(folder, [goal.name for goal in goals])
    for goal, file in zip(goals, feature_files, strict=True):
        files.write_array(goal, file.array)
    return goals


def free(folder: Path | str, names: Iterable[str]) -> None:
    """Raises: InputError when ``folder`` holds one of ``names`` already."""
    there = [name for name in names if (Path(folder) / name).exists()]
    if there:
        raise InputError(
            f"{folder} already holds {', '.join(there)}, perhaps another extractor's: "
            "move it away, or overwrite it with --overwrite"
        )


def read_features(path: Path | str) -> np.ndarray:
    """Features ``[T, D]`` of a ``.npy`` file as float32.

    Raises:
        InputError: missing, damaged, or not finite floating point of two axes and a row or more.
    """
    found = files.read_array(path, "feature file")
    if found.ndim != 2 or not found.size or found.dtype.kind != "f" or not np.isfinite(found).all():
        spoilt = " with NaN" if found.dtype.kind == "f" and np.isnan(found).any() else ""
        raise InputError(
            f"feature file {path} holds {found.dtype} {list(found.shape)}{spoilt}, but finite "
            "floating point [T, D] at 25 rows a second is needed: write it again"
        )
    return found.astype(np.float32)


def _numbered_frames(profile: DatasetKind, folder: Path) -> int:
    last = -1
    for split in ("train", "val"):
        path = folder / f"transforms_{split}.json"
        content = files.read_json(path, f"the {profile.title} frame list")
        try:
            # Some loaders index features by one number, some by the other.
            ids = [max(int(f["img_id"]), int(f["aud_id"])) for f in content["frames"]]
            last = max([last, *ids])  # a short video may have nothing left to validate on
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path} lists no frames with img_id and aud_id: "
                f"run {profile.title}'s preparation again"
            ) from error
    # Frames in which no face was found are not listed, but their pictures lie there.
    return max(last + 1, *(_count(folder / name, ".jpg", ".png") for name in _PICTURES))


def _count(folder: Path, *suffixes: str) -> int:
    return sum(path.suffix in suffixes for path in folder.iterdir()) if folder.is_dir() else 0


def _pictures(profile: DatasetKind, folder: Path) -> int:
    count = _count(folder, ".jpg")
    if not count:
        raise InputError(
            f"{folder} holds no pictures: run {profile.title}'s preparation to the end first"
        )
    return count
