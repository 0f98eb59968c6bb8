"""What recognisers of speech make of it: HuBERT and wav2vec 2.0, DeepSpeech, phonemes.

Each network is a callable from samples to rows, made by its usual library; here is only what turns
sound into its input, as its publishers do, and where its rows lie in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.features.base import Network, Rows, Samples, Timing, in_pieces
from se4lip.metrics.syncnet import mfcc

_PIECE_S, _CONTEXT_S = 30.0, 2.5


class Recogniser:
    """A network and the timing of its rows."""

    def __init__(self, network: Network, timing: Timing, identity: EncoderIdentity) -> None:
        self.identity = identity
        self.timing = timing
        self.network = in_pieces(network, timing.hop, _PIECE_S, _CONTEXT_S)

    def __call__(self, samples: Samples) -> Rows:
        return self.timing.framed(self.network, samples)


# --- HuBERT, wav2vec 2.0 (transformers) ----------------------------------------------------------

# The names under which talking heads use them.
CONVOLVED = {
    "hubert-large": "facebook/hubert-large-ls960-ft",  # ER-NeRF, GeneFace, TalkingGaussian
    "wav2vec2-base": "facebook/wav2vec2-base-960h",
    "wav2vec2-large": "facebook/wav2vec2-large-960h",
    "wav2vec2-xlsr-53": "facebook/wav2vec2-large-xlsr-53",
    "wav2vec2-esperanto": "cpierse/wav2vec2-large-xlsr-53-esperanto",  # RAD-NeRF
}


def convolved_timing(kernels: Sequence[int], strides: Sequence[int]) -> Timing:
    """Of rows behind a stack of unpadded convolutions: 400 samples every 320 for both networks."""
    sees, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        sees += (kernel - 1) * hop
        hop *= stride
    return Timing(hop=hop, first=sees // 2, reach=sees)


def convolved_network(model: Any, normalise: bool) -> Network:
    """``model`` is a transformers HubertModel or Wav2Vec2Model: its last hidden states.

    ``normalise``: to mean 0 and variance 1, which its preprocessor's ``do_normalize`` asks for.
    """

    @torch.inference_mode()
    def rows(samples: Samples) -> Float32[np.ndarray, "R D"]:
        sound = torch.from_numpy(samples)[None]
        if normalise:
            sound = (sound - sound.mean()) / torch.sqrt(sound.var(correction=0) + 1e-7)
        return model(sound).last_hidden_state[0].numpy()

    return rows


# --- DeepSpeech 0.1.0 (AD-NeRF and its heirs) ----------------------------------------------------

_CONTEXT_ROWS, _CEPSTRA = 9, 26
DEEPSPEECH_WIDTH = 29
DEEPSPEECH = Timing(hop=320, first=200, reach=400)


def deepspeech_network(
    logits: Callable[[Float32[np.ndarray, "R 494"]], Float32[np.ndarray, "R 29"]],
) -> Network:
    """``logits`` is the frozen graph: nineteen rows of 26 cepstra in, 29 letters' logits out."""
    return lambda samples: logits(deepspeech_input(samples))


def deepspeech_input(samples: Samples) -> Float32[np.ndarray, "R 494"]:
    """Every second column of cepstra with nine neighbours on either side, standardised as one."""
    kept: Float[np.ndarray, "R 26"] = mfcc(samples, _CEPSTRA).T[::2]
    around = np.pad(kept, ((_CONTEXT_ROWS, _CONTEXT_ROWS), (0, 0)))
    width = 2 * _CONTEXT_ROWS + 1
    windows = np.lib.stride_tricks.sliding_window_view(around, width, axis=0).swapaxes(1, 2)
    flat = windows.reshape(len(kept), -1)
    return ((flat - flat.mean()) / max(flat.std(), 1e-9)).astype(np.float32)


# --- phonemes (hama) -----------------------------------------------------------------------------

PHONEMES = 191
PHONEME = Timing(hop=320, first=0, reach=320)  # columns centred every 160, of which every second


def phoneme_network(log_posteriors: Network, floor: float = -20.0) -> Network:
    """Log posteriors of hama's 191 symbols (IPA, Hangul, blank); logarithms, because posteriors of
    a CTC network are nearly always 0 or 1. Below ``floor`` there is only rounding."""
    return lambda samples: np.maximum(log_posteriors(samples), floor)
