"""Music that nobody played, for a mouth to rest in.

    apt-get install fluidsynth fluid-soundfont-gm
    python examples/made_music.py -o music --pieces 240
    se4lip train avatar DATASET -o head --also-still music/*.wav

Each piece has a tempo, a key, chords and two to six instruments of General MIDI that play bass,
chords, broken chords, a melody and drums, all drawn at random, and is played by FluidSynth with the
sampled instruments of FluidR3 (MIT). Instruments that are human voices are left out.
"""

import argparse
import random
import subprocess
from pathlib import Path

from rich.progress import track as with_progress

TICKS = 480  # a quarter note
VOICES = {52, 53, 54, 85, 91}  # choir, "oohs", and the like
DRUMS = 9  # the channel
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10))
CHORDS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (5, 3, 0, 4), (0, 0, 3, 4), (1, 4, 0, 0))
KICK, SNARE, HAT = 36, 38, 42

Note = tuple[float, float, int, int, int]  # start and length in quarters, channel, key, velocity


def composed(draw: random.Random, quarters: int) -> tuple[list[Note], list[int]]:
    """Notes, and the instrument of each channel but the drums'."""
    tonic, scale, chords = draw.randrange(36, 48), draw.choice(SCALES), draw.choice(CHORDS)
    programs = [p for p in range(120) if p not in VOICES]  # those above are birds and telephones
    notes: list[Note] = []

    def key(degree: int, octave: int) -> int:
        return tonic + 12 * (octave + degree // 7) + scale[degree % 7]

    def chord(quarter: float) -> int:
        return chords[int(quarter // 4) % len(chords)]

    def bass(channel: int) -> None:
        step = draw.choice((1, 2, 4))
        for start in range(0, quarters, step):
            notes.append((start, step * 0.9, channel, key(chord(start), 0), velocity()))

    def held(channel: int) -> None:
        for start in range(0, quarters, 4):
            for third in (0, 2, 4, *((6,) if draw.random() < 0.3 else ())):
                notes.append((start, 3.9, channel, key(chord(start) + third, 1), velocity() - 15))

    def broken(channel: int) -> None:
        step, order = draw.choice((0.25, 0.5)), draw.sample((0, 2, 4, 7), 4)
        for i in range(int(quarters / step)):
            start = i * step
            pitch = key(chord(start) + order[i % 4], 2)
            notes.append((start, step, channel, pitch, velocity() - 10))

    def melody(channel: int) -> None:
        start, degree = 0.0, draw.randrange(7)
        while start < quarters:
            length = draw.choice((0.25, 0.5, 0.5, 1, 1, 2))
            degree = min(12, max(0, degree + draw.choice((-2, -1, -1, 0, 1, 1, 2, 4))))
            if draw.random() < 0.85:
                notes.append((start, length * 0.95, channel, key(degree, 2), velocity()))
            start += length

    def drums() -> None:
        busy = draw.choice((0.5, 1))
        for i in range(int(quarters / busy)):
            notes.append((i * busy, 0.2, DRUMS, HAT, velocity() - 20))
        for start in range(0, quarters, 2):
            notes.append((start, 0.2, DRUMS, KICK, velocity()))
            notes.append((start + 1, 0.2, DRUMS, SNARE, velocity()))

    def velocity() -> int:
        return draw.randint(60, 115)

    parts = draw.sample((bass, held, broken, melody, melody), draw.randint(1, 5))
    for channel, part in enumerate(parts):
        part(channel)
    if draw.random() < 0.6:
        drums()
    return notes, [draw.choice(programs) for _ in parts]


def midi(notes: list[Note], programs: list[int], beats_a_minute: float) -> bytes:
    """A standard MIDI file of one track."""
    events = [(0, bytes((0xC0 | channel, program))) for channel, program in enumerate(programs)]
    for start, length, channel, key, velocity in notes:
        on, off = round(start * TICKS), round((start + length) * TICKS)
        events.append((on, bytes((0x90 | channel, key, max(1, velocity)))))
        events.append((off, bytes((0x80 | channel, key, 0))))
    tempo = round(60e6 / beats_a_minute)
    track, now = b"\x00\xff\x51\x03" + tempo.to_bytes(3, "big"), 0
    for at, message in sorted(events, key=lambda event: event[0]):
        track += _length(at - now) + message
        now = at
    track += b"\x00\xff\x2f\x00"
    head = b"MThd" + (6).to_bytes(4, "big") + b"\x00\x00\x00\x01" + TICKS.to_bytes(2, "big")
    return head + b"MTrk" + len(track).to_bytes(4, "big") + track


def _length(ticks: int) -> bytes:
    """Seven bits a byte, the last one without the eighth."""
    found = [ticks & 0x7F]
    while ticks := ticks >> 7:
        found.append(0x80 | ticks & 0x7F)
    return bytes(reversed(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--seed", type=int, default=401)
    parser.add_argument("--font", type=Path, default=Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for number in with_progress(range(given.pieces), "playing"):
        draw = random.Random(f"{given.seed} {number}")
        beats_a_minute = draw.uniform(60, 170)
        bars = max(1, round(given.seconds * beats_a_minute / 60 / 4))
        notes, programs = composed(draw, 4 * bars)
        score = given.out / f"{number:04}.mid"
        score.write_bytes(midi(notes, programs, beats_a_minute))
        command = ["fluidsynth", "-niq", "-r", "16000", "-F", str(score.with_suffix(".wav"))]
        subprocess.run([*command, str(given.font), str(score)], check=True, capture_output=True)
        score.unlink()


if __name__ == "__main__":
    main()
