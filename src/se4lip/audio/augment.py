"""Other voices, rooms and microphones, made out of one: augmentation of power spectrograms.

Everything happens in the power domain, batched and on any device, because only powers reach the
encoder. Every draw is made on the CPU for the whole batch from one generator, so that a run can be
resumed to the bit and split over processes without changing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from se4lip.audio.timebase import COLUMN_HOP
from se4lip.types import SAMPLE_RATE_HZ, within


@dataclass(frozen=True)
class SpeechAugmentConfig:
    """Ranges are uniform unless said otherwise; a probability of 0 turns a change off."""

    voice: float = 0.8  # probability of another vocal tract and pitch
    formants: tuple[float, float] = (0.82, 1.3)  # factor on the envelope's frequencies, log-uniform
    pitch: tuple[float, float] = (0.65, 2.1)  # factor on the harmonics, log-uniform
    equalizer_db: float = 8.0  # size of a smooth random frequency response
    tilt_db: float = 9.0  # from 0 to 8 kHz, up or down
    band_limit: float = 0.2  # probability of losing everything above 3.2 to 7.5 kHz
    reverberation: float = 0.5
    decay_s: tuple[float, float] = (0.1, 0.7)  # RT60
    noise: float = 0.6
    noise_snr_db: tuple[float, float] = (3.0, 35.0)
    babble: float = 0.25
    babble_snr_db: tuple[float, float] = (5.0, 25.0)
    gain_db: tuple[float, float] = (-20.0, 10.0)
    untouched: float = 0.0  # share of clips that are heard as they were recorded, but for gain

    def __post_init__(self) -> None:
        chances = ("voice", "band_limit", "reverberation", "noise", "babble", "untouched")
        within(self, **dict.fromkeys(chances, (0, 1)))
        within(self, formants=(0.1, 10), pitch=(0.1, 10), decay_s=(1e-3, 60))
        within(self, equalizer_db=(0, 100), tilt_db=(0, 100))
        within(self, **dict.fromkeys(("noise_snr_db", "babble_snr_db", "gain_db"), (-200, 200)))


@dataclass(frozen=True)
class SpeechDraws:
    """The random numbers of one batch; every field has the batch as its first axis."""

    formants: Float[Tensor, " B"]
    pitch: Float[Tensor, " B"]
    equalizer_db: Float[Tensor, "B F"]
    decay_s: Float[Tensor, " B"]  # 0: dry
    wet: Float[Tensor, " B"]
    noise_db: Float[Tensor, " B"]  # relative to the speech; -inf: none
    noise_colour_db: Float[Tensor, "B F"]
    noise_seed: Int[Tensor, " B"]
    babble_db: Float[Tensor, " B"]
    gain_db: Float[Tensor, " B"]

    def __getitem__(self, rows: slice) -> SpeechDraws:
        return SpeechDraws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device) -> SpeechDraws:
        return SpeechDraws(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def draw_speech(
    batch: int, bins: int, config: SpeechAugmentConfig, generator: torch.Generator
) -> SpeechDraws:
    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator)

    def chance(probability: float) -> Tensor:
        return torch.rand(batch, generator=generator) < probability

    def factor(limits: tuple[float, float], applies: Tensor) -> Tensor:
        drawn = uniform(math.log(limits[0]), math.log(limits[1])).exp()
        return torch.where(applies, drawn, torch.ones(batch))

    voice = chance(config.voice)
    response = _smooth_curves(batch, bins, config.equalizer_db, generator)
    response += uniform(-config.tilt_db, config.tilt_db)[:, None] * torch.linspace(-0.5, 0.5, bins)
    cutoff = torch.where(chance(config.band_limit), uniform(0.4, 0.95), torch.ones(batch))
    response -= 600 * (torch.linspace(0, 1, bins) - cutoff[:, None]).clamp(min=0)
    quiet = torch.full((batch,), -math.inf)
    draws = SpeechDraws(
        formants=factor(config.formants, voice),
        pitch=factor(config.pitch, voice),
        equalizer_db=response,
        decay_s=torch.where(
            chance(config.reverberation), uniform(*config.decay_s), torch.zeros(batch)
        ),
        wet=uniform(0.05, 0.6),
        noise_db=torch.where(chance(config.noise), -uniform(*config.noise_snr_db), quiet),
        noise_colour_db=_smooth_curves(batch, bins, 12.0, generator)
        + uniform(-40.0, 5.0)[:, None] * torch.linspace(0, 1, bins),
        noise_seed=torch.randint(1 << 30, (batch,), generator=generator),
        babble_db=torch.where(chance(config.babble), -uniform(*config.babble_snr_db), quiet),
        gain_db=uniform(*config.gain_db),
    )
    return _but_for(chance(config.untouched), draws) if config.untouched else draws


def _but_for(untouched: Bool[Tensor, " B"], draws: SpeechDraws) -> SpeechDraws:
    """``draws``, in which the ``untouched`` clips keep voice, room and microphone."""
    rows = untouched[:, None]
    return replace(
        draws,
        formants=draws.formants.masked_fill(untouched, 1),
        pitch=draws.pitch.masked_fill(untouched, 1),
        equalizer_db=draws.equalizer_db.masked_fill(rows, 0),
        decay_s=draws.decay_s.masked_fill(untouched, 0),
        noise_db=draws.noise_db.masked_fill(untouched, -math.inf),
        babble_db=draws.babble_db.masked_fill(untouched, -math.inf),
    )


def augment_speech(
    power: Float[Tensor, "B L F"], babble: Float[Tensor, "B L F"], draws: SpeechDraws
) -> Float[Tensor, "B L F"]:
    """Powers of the same words from another mouth, room and microphone.

    ``babble`` are powers of other speech of the same length. Order: voice, room, other sounds, then
    the microphone's response and gain, as in the world.
    """
    power = change_voice(power, draws.formants, draws.pitch)
    power = reverberate(power, draws.decay_s, draws.wet)
    level = power.mean(dim=(1, 2))
    power = power + _scaled(babble, level, draws.babble_db)
    power = power + _scaled(_noise(power, draws), level, draws.noise_db)
    return power * (10 ** ((draws.equalizer_db + draws.gain_db[:, None]) / 10))[:, None]


_ENVELOPE_QUEFRENCIES = 36  # of 512 points, 16 kHz: detail wider than 440 Hz is the vocal tract


def change_voice(
    power: Float[Tensor, "B L F"], formants: Float[Tensor, " B"], pitch: Float[Tensor, " B"]
) -> Float[Tensor, "B L F"]:
    """Stretch the envelope by ``formants`` and the harmonics under it by ``pitch``.

    Cepstral split (Oppenheim & Schafer 1975, ch. 10): slow ripples of the log spectrum along
    frequency are the vocal tract, fast ones the voice's harmonics.
    """
    log = power.clamp_min(1e-12).log()
    cepstrum = torch.fft.irfft(log, dim=-1)
    keep = torch.zeros(cepstrum.shape[-1], device=power.device)
    keep[:_ENVELOPE_QUEFRENCIES] = 1
    keep[-_ENVELOPE_QUEFRENCIES + 1 :] = 1
    envelope = torch.fft.rfft(cepstrum * keep, dim=-1).real
    changed = _stretch(envelope, formants) + _stretch(log - envelope, pitch)
    return changed.exp()


def reverberate(
    power: Float[Tensor, "B L F"], decay_s: Float[Tensor, " B"], wet: Float[Tensor, " B"]
) -> Float[Tensor, "B L F"]:
    """Add an exponentially decaying tail (RT60 ``decay_s``, total tail power ``wet``; 0 s is
    dry)."""
    age = (
        torch.arange(power.shape[1], device=power.device, dtype=power.dtype)
        * COLUMN_HOP
        / SAMPLE_RATE_HZ
    )
    age = age[:, None] - age
    tail = torch.exp(-math.log(1e6) * age.clamp(min=0) / decay_s.clamp_min(1e-3)[:, None, None])
    tail = tail * (age > 0)
    tail = tail * (wet / tail.sum(dim=(1, 2)).clamp_min(1e-6) * power.shape[1])[:, None, None]
    return power + torch.where((decay_s > 0)[:, None, None], tail, 0.0) @ power


def _stretch(curves: Float[Tensor, "B L F"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B L F"]:
    """``out[f] = in[f / factor]``, linear between bins, the last bin held."""
    bins = curves.shape[-1]
    at = (torch.arange(bins, device=curves.device) / factor[:, None]).clamp(max=bins - 1)
    low = at.floor().long().clamp(max=bins - 2)
    share = (at - low)[:, None]
    low = low[:, None].expand(-1, curves.shape[1], -1)
    return curves.gather(2, low) * (1 - share) + curves.gather(2, low + 1) * share


def _smooth_curves(batch: int, bins: int, size_db: float, generator: torch.Generator) -> Tensor:
    """Random frequency responses: a handful of cosines, finer ones smaller."""
    order = torch.arange(1, 9)
    weights = torch.randn(batch, len(order), generator=generator) * size_db / (1 + order)
    phase = torch.rand(batch, len(order), 1, generator=generator) * 2 * math.pi
    grid = torch.linspace(0, math.pi, bins)
    return (weights[..., None] * torch.cos(order[:, None] * grid + phase)).sum(1)


def _noise(power: Float[Tensor, "B L F"], draws: SpeechDraws) -> Float[Tensor, "B L F"]:
    """Steady coloured noise: its bins' powers are exponentially distributed about their colour.

    The uniform numbers come from a hash of (seed, column, bin), so they need no generator on the
    device.
    """
    _, length, bins = power.shape
    cell = torch.arange(length * bins, device=power.device).reshape(length, bins)
    mixed = (cell * 0x9E3779B1 + draws.noise_seed[:, None, None] * 0x85EBCA6B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    uniform = ((mixed ^ (mixed >> 15)) & 0xFFFFFF).to(power.dtype) / float(1 << 24)
    return -torch.log1p(-uniform) * (10 ** (draws.noise_colour_db / 10))[:, None]


def _scaled(sound: Tensor, level: Float[Tensor, " B"], relative_db: Float[Tensor, " B"]) -> Tensor:
    own = sound.mean(dim=(1, 2)).clamp_min(1e-12)
    return sound * (level / own * 10 ** (relative_db / 10))[:, None, None]
