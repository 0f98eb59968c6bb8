"""Whose features an avatar hears, and in which voices it hears each take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity, load_encoder
from se4lip.audio.augment import SpeechAugmentConfig, augment_speech, draw_speech
from se4lip.audio.timebase import frame_count
from se4lip.encoder.streaming import encode_offline
from se4lip.io.files import read_array
from se4lip.types import SAMPLE_RATE_HZ, InputError, Speech

_SILENCE_S = 4.0

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

    def features(name: str, heard: Speech) -> Features:
        found = read_array(folder / f"{name}.npy", "feature file")
        if found.ndim != 2 or found.dtype.kind != "f" or not np.isfinite(found).all():
            raise InputError(
                f"{folder / name}.npy holds {found.dtype} {list(found.shape)}, but finite floating "
                "point [T, D] at 25 rows a second is needed"
            )
        return found.astype(np.float32)

    return Listener(EncoderIdentity(f"files in {folder.name}", "", 0), features, None)
