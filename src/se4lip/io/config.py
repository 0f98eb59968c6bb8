"""Configurations to plain values and back, for the header of a weights file."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar

from se4lip.types import InputError

C = TypeVar("C")


def to_plain(config: Any) -> dict[str, Any]:
    """A frozen dataclass, nested ones and tuples included, as JSON values."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def from_plain(kind: type[C], plain: dict[str, Any]) -> C:
    """The inverse of ``to_plain``. Missing fields take their defaults, unknown ones are refused.

    Raises:
        InputError: ``plain`` has a field that ``kind`` does not know.
    """
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - fields)
    if unknown:
        raise InputError(
            f"{kind.__name__} holds {', '.join(unknown)}, which is unknown here: update se4lip"
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _restored(hints[name], value) for name, value in plain.items()})


def _restored(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_plain(typing.cast(type, hint), value)
    return tuple(value) if isinstance(value, list) else value
