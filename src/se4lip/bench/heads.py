"""The heads of one comparison: one a renderer, all of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.bench.memory import digest_of
from se4lip.face.person import Person, same_mouth
from se4lip.types import InputError


@dataclass(frozen=True)
class NamedHead:
    label: str
    avatar: Avatar


def opened(files: Sequence[Path]) -> list[NamedHead]:
    """Heads of files or of shipped names. They share one way from features to mouth codes, so
    their codes must mean the same.

    Raises:
        InputError: none, one that cannot be read, or heads of different persons.
    """
    if not files:
        raise InputError("no head was given: name one a renderer with --heads")
    avatars = [load_avatar(file) for file in files]
    for file, avatar in zip(files[1:], avatars[1:], strict=True):
        if not same_mouth(avatars[0].person, avatar.person):
            raise InputError(
                f"{files[0]} and {file} are heads of different persons or of different data, their "
                "mouth codes do not mean the same: train both from one data set, or compare them "
                "one by one"
            )
    labels = [
        f"{avatar.renderer} head of {avatar.details.get('name', file.stem)}"
        for file, avatar in zip(files, avatars, strict=True)
    ]
    return [
        NamedHead(label if labels.count(label) == 1 else f"{label} {avatar.sha256[:6]}", avatar)
        for label, avatar in zip(labels, avatars, strict=True)
    ]


def person_digest(person: Person) -> str:
    """Of all that decides how tracked lips become mouth codes; not of how the person looks."""
    skull, mouth = person.skull, person.mouth
    return digest_of(
        *(skull.camera, skull.shape_cm, skull.sigma_px),
        *(mouth.shape_cm, mouth.basis_cm, mouth.encoder),
    )


def hearing_as(head: NamedHead, person: Person) -> NamedHead:
    """The same head with the mouth model that all of them share to the bit."""
    shared = replace(head.avatar.person, mouth=person.mouth, skull=person.skull)
    return replace(head, avatar=replace(head.avatar, person=shared))
