"""What every head is: features and motion in, pictures out. A head never knows whose features."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from se4lip.head.speech_window import SpeechWindow
from se4lip.types import Camera, InputError


@dataclass(frozen=True)
class Motion:
    """What moves in a head besides speech, one row a frame.

    ``camera_from_head`` is the pose, ``camera_from_torso`` that of the shoulders in the same
    coordinates, ``eyes`` are blinks, gaze and brows (`face.expression`), ``look`` is how hair,
    clothes and light differ from their mean.
    """

    camera_from_head: Float32[np.ndarray, "T 3 4"]
    camera_from_torso: Float32[np.ndarray, "T 3 4"]
    eyes: Float32[np.ndarray, "T E"]
    look: Float32[np.ndarray, "T L"]

    def __post_init__(self) -> None:
        rows = [len(getattr(self, field.name)) for field in fields(self)]
        if len(set(rows)) != 1:
            raise InputError(
                f"motion has {rows} rows of head, torso, eyes and look: equal counts are needed"
            )

    def __len__(self) -> int:
        return len(self.eyes)

    def __getitem__(self, rows: slice | np.ndarray) -> Motion:
        return Motion(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def end_to_end(cls, pieces: Sequence[Motion]) -> Motion:
        return cls(
            *(np.concatenate([getattr(p, field.name) for p in pieces]) for field in fields(cls))
        )


class Head(Protocol):
    """A renderer of one person: features become mouth codes, codes and motion become pictures."""

    @property
    def camera(self) -> Camera: ...

    @property
    def feature_width(self) -> int: ...

    def speech(self, features: Float[Tensor, "T D"]) -> Float[Tensor, "T K"]:
        """Mouth codes; row ``t`` hears `PAST_CONTEXT` rows back and `FUTURE_CONTEXT` ahead."""
        ...

    def pictures(
        self, codes: Float[Tensor, "T K"], motion: Motion, size_px: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """One picture per row; ``motion`` has as many rows."""
        ...


class LearnedHead(nn.Module):
    """What the renderers share: they hear by a `SpeechWindow` and draw frame by frame.

    A renderer has a ``config`` with ``camera``, ``feature_width`` and ``speech_hidden``, and a
    method ``draw``, which is given mouth, eyes, look, pose, pose of the torso and ``width_px``, and
    gives colours, sRGB in [0, 1], as in the video.
    """

    config: Any
    speech: SpeechWindow
    draw: Callable[..., Float[Tensor, "H W 3"]]

    @property
    def camera(self) -> Camera:
        camera: Camera = self.config.camera
        return camera

    @property
    def feature_width(self) -> int:
        return self.speech.config.feature_width

    @property
    def device(self) -> torch.device:
        return self.speech.feature_mean.device

    def hearing_with(self, speech: SpeechWindow) -> Self:
        """The same head, driven by other features through ``speech``."""
        twin = copy.deepcopy(self)
        twin.config = replace(
            self.config,
            feature_width=speech.config.feature_width,
            speech_hidden=speech.config.hidden,
        )
        twin.speech = copy.deepcopy(speech).to(self.device)
        return twin

    def pictures(
        self, codes: Float[Tensor, "T K"], motion: Motion, size_px: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """One picture per row of mouth codes (`speech` makes them of features).

        On a CPU several are drawn at once, a few ahead of the one that is asked for.
        """
        driven = codes, motion.eyes, motion.look, motion.camera_from_head, motion.camera_from_torso
        tracks = (torch.as_tensor(track).to(self.device) for track in driven)
        rows = zip(*tracks, strict=True)
        draw = functools.partial(self._shown, size_px)
        if self.device.type != "cpu":
            yield from map(draw, rows)
        else:
            from se4lip.head.lanes import in_order

            yield from in_order(draw, rows)

    def _shown(self, size_px: int | None, row: tuple[Tensor, ...]) -> UInt8[np.ndarray, "H W 3"]:
        with torch.inference_mode():
            picture = self.draw(*row, size_px)
            if picture.device.type != "cpu":
                return (picture.clamp_(0, 1) * 255).round_().to(torch.uint8).cpu().numpy()
        # In numpy: torch would wake its threads for it, and wait for them.
        return np.rint(picture.numpy().clip(0, 1) * np.float32(255)).astype(np.uint8)
