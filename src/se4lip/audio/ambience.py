"""Sounds that nobody speaks: rooms, machines, breath, music. Made by code, from a seed.

An avatar learns from them when to keep its mouth shut, and is judged on some that it never heard:
`LEARNED` kinds are for training, `KEPT_OUT` kinds and other seeds of all are for judging. They are
caricatures: spectra and envelopes are drawn at random in ranges wider than real rooms have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, Float64

from se4lip.types import SAMPLE_RATE_HZ, InputError

Sound = Float64[np.ndarray, " S"]
Random = np.random.Generator


def ambience(kind: str, samples: int, seed: int) -> Float32[np.ndarray, " S"]:
    """``samples`` of 16 kHz sound with RMS 1 (digital silence has 0).

    Raises: InputError when there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"there is no ambience {kind!r}; one of {', '.join(KINDS)} is needed")
    sound = KINDS[kind](samples, np.random.default_rng([seed, len(kind), ord(kind[0])]))
    rms = np.sqrt(np.square(sound).mean()) if samples else 0.0
    return (sound / max(rms, 1e-12)).astype(np.float32)


def at_level(
    sound: Float32[np.ndarray, " S"],
    level_db: float,
    beside: Float32[np.ndarray, " S"] | None = None,
) -> Float32[np.ndarray, " S"]:
    """``sound`` of RMS 1 at ``level_db`` of full scale, added to ``beside``, clipped at 1."""
    scaled = sound * np.float32(10 ** (level_db / 20))
    return np.clip(scaled if beside is None else beside + scaled, -1, 1)


# --- kinds --------------------------------------------------------------------------------------


def _silence(n: int, random: Random) -> Sound:
    return np.zeros(n)


def _room(n: int, random: Random) -> Sound:
    """Steady noise of any colour, its level wandering by a few decibels."""
    return _coloured(n, random) * _wandering(n, random, 0.5, 0.3)


def _hum(n: int, random: Random) -> Sound:
    """The mains and its harmonics, over a little noise."""
    mains = random.choice([50.0, 60.0]) * random.choice([1, 2])
    partials = np.arange(1, random.integers(4, 40))
    sizes = random.exponential(1, len(partials)) / partials ** random.uniform(0.3, 1.5)
    return _tone(np.full(n, mains), sizes, random) + _coloured(n, random) * random.uniform(0, 0.3)


def _fan(n: int, random: Random) -> Sound:
    """Air that blades chop, and the whine of a motor."""
    blades = _wandering(n, random, 0.3, 0.02) * random.uniform(8, 90)
    chopped = 1 + random.uniform(0.1, 0.9) * np.sin(_phase(blades))
    whine = _tone(blades * random.integers(2, 12), 1 / np.arange(1, 6), random)
    return _coloured(n, random) * chopped + whine * random.uniform(0, 0.7)


def _traffic(n: int, random: Random) -> Sound:
    """Rumble that comes and goes."""
    passing = np.exp(3 * (_wandering(n, random, 0.4, 1.0) - 1))
    return _coloured(n, random, slope_db=(-70, -30)) * passing


def _breath(n: int, random: Random) -> Sound:
    """In and out through mouth or nose: noise in two or three broad resonances, without a voice."""
    sound, at = np.zeros(n), int(random.uniform(0, 0.8) * SAMPLE_RATE_HZ)
    while at < n:
        length = int(random.uniform(0.25, 1.6) * SAMPLE_RATE_HZ)
        peaks = random.uniform([300, 900, 2200], [900, 2200, 5500])
        widths = random.uniform(200, 1200, 3)
        sizes = random.uniform(0.2, 1, 3)

        def resonances(f: Sound, of: tuple[Sound, ...] = (peaks, widths, sizes)) -> Sound:
            return sum(
                size / (1 + ((f - p) / width) ** 2) for p, width, size in zip(*of, strict=True)
            )

        air = _filtered(random.standard_normal(length), resonances)
        rise = random.uniform(0.2, 0.8)
        swell = np.interp(np.linspace(0, 1, length), [0, rise, 1], [0, 1, 0]) ** random.uniform(
            1, 2
        )
        stop = min(n, at + length)
        sound[at:stop] += (air * swell)[: stop - at] * random.uniform(0.4, 1)
        at = stop + int(random.uniform(0.1, 1.2) * SAMPLE_RATE_HZ)
    return sound + 0.003 * _coloured(n, random)


def _taps(n: int, random: Random) -> Sound:
    """Keys, knocks, cups: short blows on something that rings."""
    sound = 0.01 * _coloured(n, random)
    a_second = np.exp(random.uniform(0, np.log(60)))
    return sound + _blows(n, random, a_second, (0.003, 0.12), (150, 6000))


def _music(n: int, random: Random) -> Sound:
    """Chords, a bass, a melody and drums, each there or not."""
    beat_s, root = random.uniform(0.3, 0.9), random.uniform(45, 62)
    scale = np.array([(0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)][random.integers(2)])
    timbre = random.uniform(0.5, 2.2)
    sustained = random.random() < 0.4
    parts = random.random(4) < (0.8, 0.6, 0.7, 0.6)
    parts[random.integers(3)] = True
    sound = np.zeros(n)
    for beat in range(int(n / SAMPLE_RATE_HZ / beat_s) + 1):
        if beat % 4 == 0:
            degree = random.integers(7)
        notes: list[tuple[float, float, float]] = []  # pitch, beats, size
        if parts[0] and beat % 4 == 0:
            notes += [(12 + _degree(scale, int(degree) + third), 4, 0.5) for third in (0, 2, 4)]
        if parts[1] and beat % 2 == 0:
            notes.append((_degree(scale, int(degree)) - 12, 2, 0.9))
        if parts[2]:
            steps = random.integers(1, 4)
            notes += [(24 + _degree(scale, int(random.integers(10))), 1 / steps, 0.6)] * steps
        for index, (pitch, beats, size) in enumerate(notes):
            hertz = 440 * 2 ** ((root + pitch - 69) / 12)
            delay = (index * beats if beats < 1 else 0) * beat_s
            start = int((beat * beat_s + delay) * SAMPLE_RATE_HZ)
            _add_note(sound, start, beats * beat_s, hertz, size, timbre, sustained, random)
    if parts[3]:
        drums = _blows(n, random, 2 / beat_s, (0.02, 0.15), (60, 4000))
        sound += (
            drums
            * np.sqrt(np.square(sound).mean() + 1e-9)
            / np.sqrt(np.square(drums).mean() + 1e-9)
        )
    return sound + 1e-4 * random.standard_normal(n)


def _rain(n: int, random: Random) -> Sound:
    """Thousands of drops, near and far."""
    drops = np.zeros(n)
    at = random.integers(0, n, max(1, n // int(random.uniform(60, 600))))
    drops[at] = random.standard_normal(len(at)) * random.exponential(1, len(at)) ** 2
    return _filtered(drops, lambda f: f / (f + 800)) + 0.1 * _coloured(n, random)


def _ringing(n: int, random: Random) -> Sound:
    """A telephone, an alarm, a lorry in reverse: one or two tones, on and off."""
    period = random.uniform(0.3, 3) * SAMPLE_RATE_HZ
    low, high = random.uniform(350, 3000, 2)
    warble = np.sign(np.sin(2 * np.pi * np.arange(n) / SAMPLE_RATE_HZ * random.uniform(4, 25)))
    hertz = np.where(warble > 0, low, high if random.random() < 0.6 else low)
    is_on = (np.arange(n) + random.uniform(0, period)) % period < random.uniform(0.3, 0.8) * period
    smooth = np.convolve(is_on, np.ones(160) / 160)[80 : 80 + n]
    return _tone(hertz, 1 / np.arange(1, random.integers(2, 9)) ** 1.5, random) * smooth


def _organ(n: int, random: Random) -> Sound:
    """Slow chords without attacks, many partials, a trembling pitch: near to sung vowels."""
    sound, at = np.zeros(n), 0
    while at < n:
        stop = min(n, at + int(random.uniform(0.6, 2.5) * SAMPLE_RATE_HZ))
        fade = np.minimum(1, np.minimum(np.arange(stop - at), np.arange(stop - at)[::-1]) / 1500)
        tremble = 1 + 0.01 * np.sin(np.arange(stop - at) / SAMPLE_RATE_HZ * 2 * np.pi * 5.5)
        for step in random.choice([0, 3, 4, 5, 7, 9, 12, 16], 3, replace=False):
            hertz = 2 ** (step / 12) * random.uniform(110, 260) * tremble
            sound[at:stop] += fade * _tone(hertz, random.random(12) / np.arange(1, 13), random)
        at = stop
    return sound


KEPT_OUT: dict[str, Callable[[int, Random], Sound]] = {
    "rain": _rain,
    "ringing": _ringing,
    "organ": _organ,
}
LEARNED: dict[str, Callable[[int, Random], Sound]] = {
    "silence": _silence,
    "room": _room,
    "hum": _hum,
    "fan": _fan,
    "traffic": _traffic,
    "breath": _breath,
    "taps": _taps,
    "music": _music,
}
KINDS = LEARNED | KEPT_OUT


# --- what they are made of ----------------------------------------------------------------------


def _filtered(sound: Sound, response: Callable[[Sound], Sound]) -> Sound:
    """``response`` is the gain at a frequency in hertz."""
    spectrum = np.fft.rfft(sound)
    return np.fft.irfft(
        spectrum * response(np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)), len(sound)
    )


def _coloured(n: int, random: Random, slope_db: tuple[float, float] = (-60.0, 10.0)) -> Sound:
    """Noise of RMS 1 whose spectrum falls by ``slope_db`` up to 8 kHz, with a few broad humps."""
    slope, sizes = random.uniform(*slope_db), random.standard_normal(6) * 6 / np.arange(2, 8)
    phases = random.uniform(0, 2 * np.pi, 6)

    def response(hertz: Sound) -> Sound:
        along = np.sqrt(hertz / (SAMPLE_RATE_HZ / 2))  # more detail where ears have more
        humps = sum(
            s * np.cos(np.pi * (k + 1) * along + p)
            for k, (s, p) in enumerate(zip(sizes, phases, strict=True))
        )
        return 10 ** ((slope * along + humps) / 20)

    sound = _filtered(random.standard_normal(n), response)
    return sound / np.sqrt(np.square(sound).mean() + 1e-12)


def _wandering(n: int, random: Random, changes_hz: float, size: float) -> Sound:
    """A positive curve about 1 that changes a few times a second."""
    knots = random.standard_normal(int(n / SAMPLE_RATE_HZ * changes_hz) + 3) * size
    return np.exp(np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots))


def _phase(hertz: Float[np.ndarray, " S"]) -> Sound:
    return 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE_HZ


def _tone(hertz: Float[np.ndarray, " S"], sizes: Sound, random: Random) -> Sound:
    """Partials of a pitch that may move; those beyond 7.6 kHz are left out."""
    phase, sound = _phase(hertz), np.zeros(len(hertz))
    top = float(hertz.max(initial=0.0))
    for index, size in enumerate(sizes, 1):
        if index * top < 7600:
            sound += size * np.sin(index * phase + random.uniform(0, 2 * np.pi))
    return sound


def _blows(
    n: int,
    random: Random,
    a_second: float,
    decay_s: tuple[float, float],
    hertz: tuple[float, float],
) -> Sound:
    """Decaying noise bursts, each through its own resonance."""
    sound = np.zeros(n + SAMPLE_RATE_HZ)
    for at in random.integers(0, max(1, n), random.poisson(a_second * n / SAMPLE_RATE_HZ) + 1):
        decay = random.uniform(*decay_s)
        length = int(min(0.9, 5 * decay) * SAMPLE_RATE_HZ)
        seconds = np.arange(length) / SAMPLE_RATE_HZ
        pitch = np.exp(random.uniform(*np.log(hertz)))
        ring = np.sin(2 * np.pi * pitch * seconds) + random.uniform(0, 2) * random.standard_normal(
            length
        )
        sound[at : at + length] += ring * np.exp(-seconds / decay) * random.exponential(1)
    return sound[:n]


def _degree(scale: np.ndarray, degree: int) -> float:
    return float(scale[degree % 7] + 12 * (degree // 7))


def _add_note(
    sound: Sound,
    start: int,
    length_s: float,
    hertz: float,
    size: float,
    timbre: float,
    sustained: bool,
    random: Random,
) -> None:
    stop = min(
        len(sound), start + int((length_s if sustained else 1.3 * length_s) * SAMPLE_RATE_HZ)
    )
    seconds = np.arange(max(0, stop - start)) / SAMPLE_RATE_HZ
    if not len(seconds):
        return
    attack = np.minimum(1, seconds / random.uniform(0.004, 0.08))
    fall = np.minimum(1, (seconds[-1] - seconds) / 0.03)
    shape = attack * fall * (1 if sustained else np.exp(-3 * seconds / length_s))
    partials = 1 / np.arange(1, 13) ** timbre
    tremble = (
        random.uniform(0, 0.015) * sustained * np.sin(2 * np.pi * random.uniform(4, 7) * seconds)
    )
    sound[start:stop] += size * shape * _tone(hertz * (1 + tremble), partials, random)
