"""The features that a head can be given, by name: ``--features NAME``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity, load_encoder
from se4lip.encoder.streaming import encode_offline
from se4lip.features.acoustic import LogMel, Mfcc
from se4lip.features.ave import Ave, AveEncoder
from se4lip.features.base import Rows, Samples, SpeechFeatures
from se4lip.features.recognisers import (
    CONVOLVED,
    DEEPSPEECH,
    DEEPSPEECH_WIDTH,
    PHONEME,
    PHONEMES,
    Recogniser,
    convolved_network,
    convolved_timing,
    deepspeech_network,
    phoneme_network,
)
from se4lip.features.variant import VARIANT, variant_features
from se4lip.features.whisper import Whisper, WhisperEncoder
from se4lip.io import recognisers as files
from se4lip.io.ctranslate2 import read_ctranslate2
from se4lip.io.judges import read_tensors
from se4lip.types import SAMPLE_RATE_HZ, InputError

OURS = "se4lip"


@dataclass(frozen=True)
class Kind:
    """``weights`` says where they come from; ``load`` is given the file the user named, if any."""

    weights: str
    load: Callable[[str, Path | None], SpeechFeatures]


class Se4lip:
    """Our own encoder's, exactly as ``se4lip encode`` gives them: row ``t`` has heard 120 ms before
    its frame's time and 80 ms after, so it lags the middle of its frame by 40 ms, which is what a
    live head can have."""

    def __init__(self, encoder: Path | None = None) -> None:
        self.speech = load_encoder(encoder).speech
        self.identity = encoder_identity(encoder)

    def __call__(self, samples: Samples) -> Rows:
        return encode_offline(self.speech, samples, SAMPLE_RATE_HZ)


def load_features(name: str, weights: Path | None = None) -> SpeechFeatures:
    """The features called ``name``, ready to hear. ``weights`` names their file or folder.
    ``variant:FILE`` are those of an encoder that `se4lip bench ablation` made.

    Raises:
        InputError: no such features, or their weights or library are not here.
    """
    if name.startswith(VARIANT):
        return variant_features(name, weights)
    kind = KINDS.get(name)
    if kind is None:
        raise InputError(
            f"there are no features {name!r}; one of {', '.join(KINDS)} is needed, variant:FILE "
            "of `se4lip bench ablation`, or a folder of NAME.npy"
        )
    return kind.load(name, weights)


def _whisper(name: str, weights: Path | None) -> SpeechFeatures:
    content, sha256 = files.whisper_model(name, weights)
    return Whisper(name, WhisperEncoder.from_ctranslate2(read_ctranslate2(content)), sha256)


def _ave(name: str, weights: Path | None) -> SpeechFeatures:
    file = files.find_published(files.AVE, weights, otherwise=files.GIVEN)
    return Ave(AveEncoder.from_published(read_tensors(file)), files.sha256_of(file))


def _convolved(name: str, weights: Path | None) -> SpeechFeatures:
    model, normalise, sha256 = files.transformers_model(CONVOLVED[name], weights)
    timing = convolved_timing(model.config.conv_kernel, model.config.conv_stride)
    width = model.config.hidden_size * timing.rows_per_frame
    identity = EncoderIdentity(name, sha256, width, name)
    return Recogniser(convolved_network(model, normalise), timing, identity)


def _deepspeech(name: str, weights: Path | None) -> SpeechFeatures:
    logits, sha256 = files.deepspeech_graph(weights)
    width = DEEPSPEECH_WIDTH * DEEPSPEECH.rows_per_frame
    identity = EncoderIdentity(name, sha256, width, name)
    return Recogniser(deepspeech_network(logits), DEEPSPEECH, identity)


def _phoneme(name: str, weights: Path | None) -> SpeechFeatures:
    session, sha256 = files.hama_session(weights)
    width = PHONEMES * PHONEME.rows_per_frame
    identity = EncoderIdentity(name, sha256, width, name)

    def log_posteriors(samples: Samples) -> Rows:
        feeds = {"waveform": samples[None], "waveform_lengths": np.array([len(samples)])}
        return session.run(["log_probs"], feeds)[0][0]

    return Recogniser(phoneme_network(log_posteriors), PHONEME, identity)


KINDS: dict[str, Kind] = {
    OURS: Kind("come with se4lip", lambda name, weights: Se4lip(weights)),
    "logmel": Kind("none", lambda name, weights: LogMel()),
    "mfcc": Kind("none", lambda name, weights: Mfcc()),
    "whisper-tiny.en": Kind("pip install '.[rivals]' in se4lip's checkout", _whisper),
    "whisper-base": Kind("pip install '.[rivals]' in se4lip's checkout", _whisper),
    "phoneme": Kind("pip install '.[rivals]' in se4lip's checkout", _phoneme),
    **{
        name: Kind(f"{hub} of huggingface.co, read by transformers", _convolved)
        for name, hub in CONVOLVED.items()
    },
    "deepspeech": Kind(files.DEEPSPEECH.how_to_supply, _deepspeech),
    "ave": Kind(files.AVE.how_to_supply, _ave),
}
