"""What a head's lips do while it hears something, without a film to compare with.

Its mouth codes become landmarks through the person's own mouth model, in the form in which a
tracker gives them, so that `metrics.landmarks` judges both alike. With a tracker the head is drawn
and its lips are found in the pictures: slower, and the last word.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from se4lip.artifacts.avatar import Avatar
from se4lip.face.follow import follow_every_face, where_seen
from se4lip.face.tracker import Tracker
from se4lip.head.motion import there_and_back
from se4lip.train.listener import Listener
from se4lip.types import Speech


def codes_heard(avatar: Avatar, listener: Listener, speech: Speech) -> Float[torch.Tensor, "T K"]:
    with torch.inference_mode():
        return avatar.head.speech(torch.from_numpy(listener.features("", speech)))


def lip_landmarks(
    avatar: Avatar, codes: Float[torch.Tensor, "T K"], tracker: Tracker | None = None
) -> Float[np.ndarray, "T 478 3"]:
    """In centimetres of the head, or tracked in its pictures, the head moving as it was filmed; NaN
    in pictures without a face.

    Raises: InputError when a tracker finds no face at all.
    """
    if tracker is None:
        return avatar.person.mouth.decode(codes.double().cpu().numpy())
    motion = avatar.replay[there_and_back(len(avatar.replay), 0, len(codes))]
    track, seen = follow_every_face(avatar.head.pictures(codes, motion), tracker)
    return where_seen(track.landmarks_px, seen)
