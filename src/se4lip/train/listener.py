"""Whose features an avatar hears, and in which voices it hears each take.

Our own encoder hears other voices as changed powers, with no sound in between. Features chosen by
name hear them as sound (`audio.revoice`), ours among them when it is chosen so: in a comparison all
hear the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from se4lip.artifacts.avatar import Avatar
from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity, load_encoder
from se4lip.audio.augment import SpeechAugmentConfig, augment_speech, draw_speech
from se4lip.audio.revoice import in_another_voice as revoiced
from se4lip.audio.timebase import frame_count
from se4lip.encoder.streaming import encode_offline
from se4lip.features.base import SpeechFeatures
from se4lip.features.catalogue import KINDS, OURS, load_features
from se4lip.io.feature_files import read_features
from se4lip.types import SAMPLE_RATE_HZ, InputError, Speech

_SILENCE_S = 4.0
FILES = "files"  # the kind of features of which nobody knows who wrote them

Features = Float32[np.ndarray, "T D"]

OTHER_VOICES = SpeechAugmentConfig(
    voice=1.0, noise=0.3, noise_snr_db=(15.0, 40.0), babble=0.0, reverberation=0.3
)


@dataclass(frozen=True)
class Listener:
    """Features of a named clip's speech. ``silence`` are those of digital silence;
    ``in_another_voice`` hears the same words from another mouth, drawn by a seed."""

    identity: EncoderIdentity
    features: Callable[[str, Speech], Features]
    silence: Features | None
    in_another_voice: Callable[[Speech, int], Features] | None = None


def voice_seed(voice: int, take: int, takes: int) -> int:
    """Which other voice speaks a take: each take has its own voices, the same for all features."""
    return voice * takes + take


def listener_of(
    encoder: Path | None = None,
    features: Path | str | None = None,
    weights: Path | None = None,
    voice: SpeechAugmentConfig = OTHER_VOICES,
) -> Listener:
    """``features`` is a name (`features.catalogue`) or a folder of files; without it, our encoder.

    Raises:
        InputError: no such features, or what they need is not here.
    """
    if features is None:
        return encoder_listener(encoder, voice)
    name = str(features)
    if encoder is not None and name != OURS:
        raise InputError(
            f"an encoder and features of {name} were given, and a head hears one of them: leave "
            "--encoder or --features out"
        )
    if name not in KINDS and Path(features).is_dir():
        return file_listener(Path(features))
    return named_listener(load_features(name, encoder if name == OURS else weights), voice)


def listener_of_avatar(
    avatar: Avatar,
    encoder: Path | None = None,
    features: Path | str | None = None,
    weights: Path | None = None,
) -> Listener:
    """What ``avatar`` was trained to hear; ``features`` need only be given as a folder of files,
    of which all that can be checked is their width.

    Raises:
        InputError: features of another kind, or of other weights, than the avatar's.
    """
    trained = avatar.encoder
    if features is None and not trained.sha256:
        raise InputError(
            f"this avatar was trained on {trained.name}, not on an encoder's features: "
            "give --features of the same kind"
        )
    if features is None and trained.features != OURS:
        features = trained.features
    # An encoder may also be given to judge sync by.
    heard = encoder if features in (None, OURS) else None
    found = listener_of(heard, features, weights)
    if found.identity.features != FILES:
        avatar.check_encoder(found.identity)
    return found


def named_listener(kind: SpeechFeatures, voice: SpeechAugmentConfig = OTHER_VOICES) -> Listener:
    """Any features that come from samples, other voices as sound."""
    return Listener(
        identity=kind.identity,
        features=lambda name, heard: kind(heard.samples),
        silence=kind(np.zeros(round(_SILENCE_S * SAMPLE_RATE_HZ), np.float32)),
        in_another_voice=lambda heard, seed: kind(revoiced(heard.samples, voice, seed)),
    )


def encoder_listener(encoder: Path | None, voice: SpeechAugmentConfig = OTHER_VOICES) -> Listener:
    """Features of se4lip's encoder, the shipped one by default."""
    speech = load_encoder(encoder).speech
    bins = speech.config.spectrogram.bins

    def features(name: str, heard: Speech) -> Features:
        return encode_offline(speech, heard.samples, heard.sample_rate_hz)

    @torch.inference_mode()
    def in_another_voice(heard: Speech, seed: int) -> Features:
        power = speech.power_of_frames(
            torch.from_numpy(heard.samples)[None], frame_count(len(heard.samples))
        )
        draws = draw_speech(1, bins, voice, torch.Generator().manual_seed(seed))
        return speech(augment_speech(power, power, draws))[0].numpy()

    silence = np.zeros(round(_SILENCE_S * SAMPLE_RATE_HZ), np.float32)
    quiet = features("", Speech(silence))
    return Listener(encoder_identity(encoder), features, quiet, in_another_voice)


def file_listener(folder: Path) -> Listener:
    """Features that some other encoder wrote, one ``[T, D]`` file for each clip."""

    widths: set[int] = set()

    def features(name: str, heard: Speech) -> Features:
        found = read_features(folder / f"{name}.npy")
        widths.add(found.shape[1])
        if len(widths) > 1:
            raise InputError(
                f"features in {folder} are {' and '.join(map(str, sorted(widths)))} numbers wide, "
                f"that of {name} {found.shape[1]}: write all of them by one encoder"
            )
        return found

    return Listener(EncoderIdentity(f"files in {folder.name}", "", 0, FILES), features, None)
