"""Lip features while somebody speaks: any chunk size, any sample rate, the same numbers as offline.

The encoder sees a fixed window per frame, so nothing is carried but a little sound, a few columns
and the running channel. A feature waits for the end of its window, 80 ms after its frame's time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from se4lip.audio.resample import ResampleState, resample, start_resampling
from se4lip.audio.spectrogram import ChannelState, power_spectrogram
from se4lip.audio.timebase import COLUMN_HOP, COLUMNS_PER_FRAME
from se4lip.encoder.speech import SpeechEncoder
from se4lip.types import FRAME_RATE_HZ, LOUDEST, SAMPLES_PER_FRAME, InputError

_BLOCK_S = 60  # what is encoded at once at most, so that memory does not grow with the chunk


@dataclass(frozen=True)
class StreamState:
    """Everything that a stream carries from one step to the next. Its size never grows."""

    resampler: ResampleState
    samples: Float[Tensor, " S"]  # 16 kHz, from the start of the next column
    columns: Float[Tensor, "L F"]  # cleaned, from the start of the next frame's window
    channel: ChannelState
    frames: int = 0  # features given so far
    ended: bool = False  # nothing can follow the silence that `finish` put behind the sound


class SpeechStream:
    """``init() -> state``, ``step(state, samples) -> (state, features)``, ``finish(state)``
    likewise."""

    def __init__(self, encoder: SpeechEncoder, sample_rate_hz: int) -> None:
        self.encoder = encoder.eval()
        # A wrong rate is refused here, not at the first step.
        self.sample_rate_hz = start_resampling(sample_rate_hz).rate_hz

    @property
    def lookahead_s(self) -> float:
        """How long after a frame's time its feature can first be known."""
        return self.encoder.config.window.lookahead_s

    def init(self) -> StreamState:
        window = self.encoder.config.window
        before = window.past_frames * SAMPLES_PER_FRAME
        bins = self.encoder.config.spectrogram.bins
        weights = self.encoder.mean
        return StreamState(
            resampler=start_resampling(self.sample_rate_hz),
            samples=weights.new_zeros(before),
            columns=weights.new_zeros((0, bins)),
            channel=self.encoder.initial_channel(),
        )

    def step(
        self, state: StreamState, samples: Float32[np.ndarray, " S"]
    ) -> tuple[StreamState, Float32[np.ndarray, "T D"]]:
        """Take ``samples`` in [-1, 1], return the features that they complete (perhaps none).

        Raises:
            InputError: not one channel of finite floating-point samples, or a stream that ended
                or is of another rate.
        """
        self._check(state)
        samples, block = checked_samples(samples), _BLOCK_S * self.sample_rate_hz
        parts = []
        for start in range(0, max(1, len(samples)), block):
            resampler, heard = resample(state.resampler, samples[start : start + block])
            state, features = self._advance(state, resampler, heard)
            parts.append(features)
        return state, parts[0] if len(parts) == 1 else np.concatenate(parts)

    def finish(self, state: StreamState) -> tuple[StreamState, Float32[np.ndarray, "T D"]]:
        """The features of the last frames, which silence completes: ``ceil(duration * 25)`` in
        all.

        Raises:
            InputError: a stream that ended, or is of another rate.
        """
        self._check(state)
        resampler, heard = resample(state.resampler, np.zeros(0, np.float32), last=True)
        window = self.encoder.config.window
        frames = window.past_frames + self._begun(resampler) - 1 + window.lookahead_frames
        given = window.past_frames * SAMPLES_PER_FRAME + resampler.given
        silence = max(0, frames * SAMPLES_PER_FRAME - given)
        heard = np.concatenate((heard, np.zeros(silence, np.float32)))
        state, features = self._advance(state, resampler, heard)
        return replace(state, ended=True), features

    def _check(self, state: StreamState) -> None:
        if state.ended:
            raise InputError("this stream has ended: begin another with init()")
        if state.resampler.rate_hz != self.sample_rate_hz:
            raise InputError(
                f"this stream was begun at {state.resampler.rate_hz} Hz, and goes on at "
                f"{self.sample_rate_hz} Hz: go on with the encoder that began it"
            )

    def _begun(self, resampler: ResampleState) -> int:
        """How many frames have begun in the sound that was taken: there are no others."""
        return -(-resampler.taken * FRAME_RATE_HZ // self.sample_rate_hz)

    @torch.inference_mode()
    def _advance(
        self, state: StreamState, resampler: ResampleState, heard: Float32[np.ndarray, " S"]
    ) -> tuple[StreamState, Float32[np.ndarray, "T D"]]:
        encoder, config = self.encoder, self.encoder.config
        samples = torch.cat((state.samples, torch.from_numpy(heard).to(state.samples)))
        power = power_spectrogram(samples, config.spectrogram)
        cleaned, channel = encoder.clean(power, state.channel)
        samples = samples[len(power) * COLUMN_HOP :]
        columns = torch.cat((state.columns, cleaned))
        whole = (len(columns) - config.window_columns) // COLUMNS_PER_FRAME + 1
        ready = max(0, min(whole, self._begun(resampler) - state.frames))
        if ready == 0:
            features = np.zeros((0, config.embedding), np.float32)
        else:
            used = columns[: config.window_columns + (ready - 1) * COLUMNS_PER_FRAME]
            features = encoder.embed(used[None])[0].cpu().numpy()
        columns = columns[ready * COLUMNS_PER_FRAME :]
        # Clones, so that the state does not keep whole chunks alive through a view.
        state = StreamState(
            resampler, samples.clone(), columns.clone(), channel, state.frames + ready
        )
        return state, features


def encode_offline(
    encoder: SpeechEncoder, samples: Float32[np.ndarray, " S"], sample_rate_hz: int
) -> Float32[np.ndarray, "T D"]:
    """Features of a whole recording."""
    stream = SpeechStream(encoder, sample_rate_hz)
    state, features = stream.step(stream.init(), samples)
    return np.concatenate((features, stream.finish(state)[1]))


def checked_samples(samples: Float32[np.ndarray, " S"]) -> Float32[np.ndarray, " S"]:
    """``samples``, laid out as torch takes them. Raises: InputError unless they are one channel of
    finite floating point, of a size that sound has."""
    samples = np.require(samples, requirements=("C", "W"))
    if samples.ndim != 1:
        raise InputError(
            f"samples have shape {samples.shape}, but one channel [S] is needed: "
            "average the channels first"
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise InputError(
            f"samples are {samples.dtype}, but floating point in [-1, 1] is needed: "
            "divide by the largest value of their type"
        )
    if not np.isfinite(samples).all():
        raise InputError("samples hold NaN or infinite values: repair the recording first")
    loudest = float(np.abs(samples).max(initial=0))
    if loudest > LOUDEST:
        raise InputError(
            f"samples are as large as {loudest:.0f}, but floating point sound must lie in [-1, 1]: "
            "divide by the largest value of their scale"
        )
    return samples
