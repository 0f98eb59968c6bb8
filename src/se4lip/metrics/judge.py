"""The second sync judge: a network that shares nothing with the encoder it judges.

The encoder hears a linear STFT through a GRU and sees pictures of lips; the judge hears a mel
spectrogram through dilated convolutions and sees distances on the face mesh
(``metrics.judge_lips``). Its weights come from ``train.judge`` and carry their own examination, the
gate: how much speech the judge needs to find a known offset on people it never saw. With less it
says that it may not judge.

Frame ``t`` is embedded from ``window_frames`` frames around it, of lips and of sound alike, so
``metrics.sync`` reads its embeddings as it reads the encoder's.

Source: temporal convolutions after Bai, Kolter & Koltun 2018 (arXiv 1803.01271), without their
causality; mel scale after O'Shaughnessy 1987.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.metrics.judge_lips import MOTION_WIDTH
from se4lip.metrics.sync import SyncConfig, SyncReading, read_similarity, similarity_by_sound
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError, within

COLUMN_HOP, COLUMN_SAMPLES, FFT_SAMPLES = 160, 400, 512
COLUMNS_PER_FRAME = SAMPLES_PER_FRAME // COLUMN_HOP
LEAD_COLUMNS = 1  # the first column begins 10 ms before the first frame: four are centred on it
_FLOOR = 1e-10  # power of a full-scale sine is 1


@dataclass(frozen=True)
class JudgeConfig:
    """``dilations`` are in frames; a window is ``1 + 2 sum(dilations)`` frames of 40 ms."""

    mel_bands: int = 32
    lowest_hz: float = 80.0
    highest_hz: float = 7600.0
    width: int = 128
    embedding: int = 128
    dilations: tuple[int, ...] = (1, 2, 3)
    dropout: float = 0.2

    def __post_init__(self) -> None:
        within(self, mel_bands=(1, 200), width=(1, 8192), embedding=(1, 8192), dropout=(0, 1))
        within(self, lowest_hz=(0, 8000), highest_hz=(0, 8000), dilations=(1, 50))
        if not self.dilations or not self.lowest_hz < self.highest_hz:
            raise InputError(
                f"a judge with dilations {self.dilations} that hears {self.lowest_hz} to "
                f"{self.highest_hz} Hz was asked for: give one dilation at least, and Hz that rise"
            )

    @property
    def window_frames(self) -> int:
        return 1 + 2 * sum(self.dilations)


@dataclass(frozen=True)
class Gate:
    """What a judge has shown on people it never saw: from so much speech on it found a known offset
    in a share of ``needed`` or more of all questions, within ``tolerance_frames``.

    ``least_speech_s`` holds for clips of any length, ``least_speech_long_s`` for clips of
    ``long_clip_s`` and more, of which less is lost at their ends. None: with no amount of speech
    that was tried.
    """

    least_speech_s: float | None = None
    least_speech_long_s: float | None = None
    long_clip_s: float = 2.0
    needed: float = 0.95
    tolerance_frames: int = 1
    examined_on: tuple[str, ...] = ()

    def check(self, speech_s: float, clip_s: float = 0.0) -> None:
        """``clip_s`` is the length of the shortest clip.

        Raises:
            InputError: the judge may not judge so little speech.
        """
        long = self.least_speech_long_s if clip_s >= self.long_clip_s else None
        known = [least for least in (self.least_speech_s, long) if least is not None]
        if self.least_speech_s is None and self.least_speech_long_s is None:
            raise InputError(
                "the second judge may not judge: it has not shown on unseen speakers that it finds "
                "known offsets (se4lip evaluate judge)"
            )
        if self.least_speech_s is None and long is None:
            raise InputError(
                f"the second judge may not judge clips of {clip_s:.2f} s: it finds known offsets "
                f"of unseen speakers in clips of {self.long_clip_s:g} s and more"
            )
        if speech_s < min(known):
            raise InputError(
                f"the second judge may not judge {speech_s:.1f} s of speech: it finds known "
                f"offsets of unseen speakers in {self.needed:.0%} of cases from "
                f"{min(known):g} s on"
            )


class Judge(nn.Module):
    """Lips and sound of every moment as directions in one space."""

    mel_filters: Tensor

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.sound = _Convolutions(COLUMNS_PER_FRAME * config.mel_bands, config)
        self.lips = _Convolutions(MOTION_WIDTH, config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.register_buffer("mel_filters", _mel_filters(config))

    def heard(self, power: Float[Tensor, "B L F"]) -> Float[Tensor, "B T M"]:
        """Log-mel of four columns a frame, less the channel; ``L = 4 T`` columns.

        The channel is the mean over the clip, weighted towards loud columns.
        """
        mel = (power @ self.mel_filters).clamp_min(_FLOOR)
        weight = mel.mean(-1, keepdim=True) ** 0.3
        bands = mel.log10()
        channel = (bands * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        level = (bands - channel).clamp_min(-4.0) / 0.7
        return level.reshape(len(level), -1, COLUMNS_PER_FRAME * self.config.mel_bands)

    def embed_sound(self, heard: Float[Tensor, "B T M"]) -> Float[Tensor, "B T-w+1 D"]:
        """One unit vector for every whole window of ``window_frames`` frames."""
        return self.sound(heard)

    def embed_lips(self, motion: Float[Tensor, "B T 59"]) -> Float[Tensor, "B T-w+1 D"]:
        """As ``embed_sound``, of ``judge_lips.face_motion``."""
        return self.lips(motion)

    @torch.inference_mode()
    def embed_clip(
        self, samples: Float[Tensor, " S"], motion: Float[Tensor, "T 59"]
    ) -> tuple[Float[Tensor, "T D"], Float[Tensor, "T D"]]:
        """Sound and lips of every frame; zeros at either end, where the window is not whole.

        Sound that is too short is silent to the end of the lips, sound that is longer is cut.
        """
        frames, half = len(motion), self.config.window_frames // 2
        if frames < self.config.window_frames:
            raise InputError(
                f"the judge looks at {self.config.window_frames} frames at once, but there are "
                f"{frames}: give a longer clip"
            )
        length = frames * SAMPLES_PER_FRAME
        sound = functional.pad(samples[:length], (0, max(0, length - len(samples))))
        power = clip_power(sound)[None]
        speech, lips = self.embed_sound(self.heard(power))[0], self.embed_lips(motion[None])[0]
        ends = (0, 0, half, half)
        return functional.pad(speech, ends), functional.pad(lips, ends)


def judge_rows(
    judge: Judge,
    samples: Float[Tensor, " S"],
    motion: Float[Tensor, "T 59"],
    speaking: Bool[Tensor, " T"],
    max_shift: int = 15,
) -> Float[Tensor, "N K"]:
    """What the judge says of every frame of speech at every offset: rows of
    ``sync.similarity_by_sound``, of which those of several clips may be read together."""
    speech, lips = judge.embed_clip(samples, motion)
    config = SyncConfig(max_shift, judge.config.window_frames)
    return similarity_by_sound(speech, lips, config)[speaking]


def read_rows(
    judge: Judge, rows: Sequence[Float[Tensor, "N K"]], max_shift: int = 15
) -> SyncReading | None:
    """What ``judge_rows`` of one video, or of several recorded alike, say together."""
    together = torch.cat([*rows]) if rows else torch.zeros(0, 2 * max_shift + 1)
    config = SyncConfig(max_shift, judge.config.window_frames, centred=True)
    return read_similarity(together, torch.ones(len(together), dtype=torch.bool), config)


def read_judge(
    judge: Judge, gate: Gate, rows: Sequence[Float[Tensor, "N K"]], clip_s: float = 0.0
) -> SyncReading:
    """As ``read_rows``, when ``gate`` lets the judge judge clips of which the shortest is
    ``clip_s`` long.

    Raises:
        InputError: there is less speech than the judge has shown to need.
    """
    gate.check(sum(map(len, rows)) / FRAME_RATE_HZ, clip_s)
    reading = read_rows(judge, rows)
    if reading is None:
        raise InputError("the second judge has too little speech whose lips are in sight")
    return reading


class _Convolutions(nn.Module):
    def __init__(self, inputs: int, config: JudgeConfig) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.Linear(inputs, config.width), nn.GELU())
        self.blocks = nn.ModuleList(
            _Block(config.width, dilation, config.dropout) for dilation in config.dilations
        )
        self.end = nn.Linear(config.width, config.embedding)

    def forward(self, rows: Float[Tensor, "B T C"]) -> Float[Tensor, "B T-w+1 D"]:
        rows = self.start(rows)
        for block in self.blocks:
            rows = block(rows)
        return functional.normalize(self.end(rows), dim=-1)


class _Block(nn.Module):
    """A residual convolution over whole windows only: nothing knows where a clip ends."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Float[Tensor, "B T C"]) -> Float[Tensor, "B T-2d C"]:
        seen = self.convolution(self.norm(rows).transpose(1, 2)).transpose(1, 2)
        kept = rows[:, self.dilation : rows.shape[1] - self.dilation]
        return kept + self.dropout(self.mix(functional.gelu(seen)))


# --- sound ---------------------------------------------------------------------------------------


def clip_power(samples: Float[Tensor, " S"]) -> Float[Tensor, "L F"]:
    """Power of four columns for every whole frame, those of a frame centred on its middle."""
    frames = len(samples) // SAMPLES_PER_FRAME
    before = LEAD_COLUMNS * COLUMN_HOP
    after = COLUMN_SAMPLES - COLUMN_HOP - before
    return column_power(functional.pad(samples[: frames * SAMPLES_PER_FRAME], (before, after)))


def column_power(samples: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch L F"]:
    """Power spectrum of every 25-ms column, 10 ms apart; a full-scale sine has 1 in its bin."""
    window = _hann().to(samples)
    columns = samples.unfold(-1, COLUMN_SAMPLES, COLUMN_HOP) * window
    return torch.fft.rfft(columns, n=FFT_SAMPLES).abs().square()


@functools.cache
def _hann() -> Float[Tensor, " N"]:
    window = torch.hann_window(COLUMN_SAMPLES, dtype=torch.float64)
    return window * (2 / window.sum())


def _mel_filters(config: JudgeConfig) -> Float[Tensor, "F M"]:
    """Triangles equally wide in mel, that overlap by half, each of sum 1."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = torch.linspace(
        mel(config.lowest_hz),
        mel(config.highest_hz),
        config.mel_bands + 2,
        dtype=torch.float64,
    )
    edges = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64) * SAMPLE_RATE_HZ / FFT_SAMPLES
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - low) / (middle - low)
    falling = (high - bins[:, None]) / (high - middle)
    filters = torch.minimum(rising, falling).clamp_min(0)
    # The lowest triangles are narrower than a bin: each holds at least the bin nearest to it.
    nearest = (bins[:, None] - middle).abs().argmin(0)
    filters[nearest, torch.arange(config.mel_bands)] += 1e-3
    return (filters / filters.sum(0)).float()
