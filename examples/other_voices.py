"""A speaker's sentences in other voices: one face, two dozen voices that it seems to have.

    pip install kokoro-onnx pocketsphinx soxr
    python examples/other_voices.py grid_s1 -o grid_s1_voices --model kokoro.onnx --voices VOICES

Kokoro-82M (Apache-2.0) says the sentence of every training clip of a prepared GRID data set, in
its English voices or, with ``--blend``, in voices between two of them; forced alignment finds each
phone in the new sound and in the old one, and the lips of the clip are re-timed to it. What comes
out is a data set like any other:

    se4lip train encoder grid_s1 grid_s1_voices -o run

``--model`` is Kokoro's ONNX file, ``--voices`` a folder of its style files (NAME.bin, float32
[510, 1, 256]), both as published. Only English voices are used, so that others stay unheard: those
may be asked about, saying test sentences (`se4lip bench features --same-lips`):

    python examples/other_voices.py grid_s1 -o grid_s1_test_voices --split test \\
        --styles "[!ab][fm]_*.bin" --model kokoro.onnx --voices VOICES

A run that was interrupted goes on where it stopped.
"""

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
from align_grid import align_words, transcript
from jaxtyping import Float
from kokoro_onnx import Kokoro
from kokoro_onnx.tokenizer import Tokenizer
from rich.progress import track as with_progress

from se4lip.io.dataset import (
    ClipEntry,
    Index,
    SourceEntry,
    open_dataset,
    write_clip,
    write_index,
)
from se4lip.io.files import writable_folder
from se4lip.train.split import clips_of
from se4lip.types import Clip, FaceTrack

RATE = 16_000
MARGIN_S = 0.3  # of silence that is kept around the speech
ENGLISH = "[ab][fm]_*.bin"  # the style files of Kokoro's English voices
LETTER_A = "\u02c8e\u026a"  # alone it would be read as an article


def styles_of(folder: Path, pattern: str = ENGLISH) -> dict[str, np.ndarray]:
    return {
        file.stem: np.fromfile(file, np.float32).reshape(-1, 1, 256)
        for file in sorted(folder.glob(pattern))
    }


def symbols_of(tokenizer: Tokenizer, sentence: str) -> str:
    """What Kokoro reads for a GRID sentence."""

    def phonemes(text: str) -> str:
        return tokenizer.phonemize(text, "en-gb") if text else ""

    before, letter, after = sentence.split()[:3], sentence.split()[3], sentence.split()[4:]
    if letter == "a":
        return f"{phonemes(' '.join(before))} {LETTER_A} {phonemes(' '.join(after) + '.')}"
    return phonemes(" ".join((*before, letter.upper(), *after)) + ".")


def say(kokoro: Kokoro, sentence: str, voice: np.ndarray, speed: float) -> np.ndarray:
    """16-kHz speech of a GRID sentence in the voice of a style ``[510, 1, 256]``."""
    spoken = symbols_of(kokoro.tokenizer, sentence)
    samples, rate = kokoro.create(spoken, voice=voice, speed=speed, is_phonemes=True, trim=False)
    return soxr.resample(np.asarray(samples, np.float32).reshape(-1), rate, RATE)


def cast_for(
    name: str, seed: int, styles: dict[str, np.ndarray], blended: bool
) -> tuple[str, np.ndarray, float]:
    """Who says a clip's sentence: name, style and speed. Blends lie between two of the voices."""
    draw = random.Random(f"{seed} {name}")
    voice = draw.choice(list(styles))
    speed = draw.uniform(0.85, 1.3)
    if not blended:
        return voice, styles[voice], speed
    other, share = draw.choice([one for one in styles if one != voice]), draw.uniform(0.3, 0.7)
    return f"{voice}-{other}", (1 - share) * styles[voice] + share * styles[other], speed


def sound_file(lent: Path, name: str, voice: str, speed: float) -> Path:
    """Of what decides it: another seed in the same folder casts other voices."""
    return lent / "sounds" / f"{name}-{voice}-{speed:.3f}.npy"


def opened(model: Path, styles: dict[str, np.ndarray]) -> Kokoro:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options)
    with tempfile.NamedTemporaryFile(suffix=".npz") as bundle:  # the library wants one file
        np.savez(bundle, **styles)
        bundle.flush()
        return Kokoro.from_session(session, bundle.name)


def anchors(new: np.ndarray, old: np.ndarray, sentence: str) -> tuple[list[float], list[float]]:
    """Times at which the same thing happens in both: borders of phones, and of words where the
    two pronounce one in different phones."""
    said = [words_of(samples, sentence) for samples in (new, old)]
    if len(said[0]) != len(said[1]):
        raise RuntimeError("not the same words")
    times: tuple[list[float], list[float]] = ([], [])
    for words in zip(*said, strict=True):
        alike = len(words[0]) == len(words[1])
        for word, at in zip(words, times, strict=True):
            inside = word if alike else [(word[0][0], word[-1][1], "")]
            at += [second for start, end, _ in inside for second in (start, end - 1e-3)]
    for at in times:
        at.insert(0, at[0] - MARGIN_S)
        at.append(at[-1] + MARGIN_S)
    return times


def words_of(samples: np.ndarray, sentence: str) -> list[list[tuple[float, float, str]]]:
    """Phones of each word, silence left out."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    return [
        word
        for word in align_words(pcm, sentence)
        if word[0][2] != "SIL" and not word[0][2].startswith("+")
    ]


def moments(
    new: np.ndarray, old: np.ndarray, sentence: str
) -> tuple[Float[np.ndarray, " T"], float]:
    """For each frame of the part of ``new`` that is speech, its time in ``old`` (s); and where in
    ``new`` the first of them begins (s)."""
    in_new, in_old = anchors(new, old, sentence)
    start = max(0.0, in_new[0])
    frames = int((min(in_new[-1], len(new) / RATE) - start) * 25)
    # A picture is judged in the middle of its 40 ms.
    middles = start + (np.arange(frames) + 0.5) / 25
    return np.interp(middles, in_new, in_old) - 0.5 / 25, start


def retimed(clip: Clip, seconds: np.ndarray) -> tuple[np.ndarray, FaceTrack]:
    """Lips and track of ``clip`` at ``seconds``, blended between neighbouring frames."""
    time = np.clip(seconds * 25, 0, len(clip) - 1)
    low = np.floor(time).astype(int)
    high = np.minimum(low + 1, len(clip) - 1)
    share = time - low

    def blend(rows: np.ndarray) -> np.ndarray:
        weight = share.reshape(-1, *(1,) * (rows.ndim - 1)).astype(np.float32)
        return rows[low] * (1 - weight) + rows[high] * weight

    track = clip.track
    lips = np.rint(blend(clip.lips)).astype(np.uint8)
    moved = FaceTrack(
        landmarks_px=blend(track.landmarks_px).astype(np.float32),
        blendshapes=blend(track.blendshapes).astype(np.float32),
        camera_from_face=track.camera_from_face[np.where(share < 0.5, low, high)],
        width_px=track.width_px,
        height_px=track.height_px,
    )
    return lips, moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--styles", default=ENGLISH, help="which of the style files")
    parser.add_argument("--split", default="train", choices=("train", "validation", "test"))
    parser.add_argument("--blend", action="store_true", help="voices between two of the styles")
    given = parser.parse_args()

    styles = styles_of(given.voices, given.styles)
    names = clips_of(open_dataset(given.dataset), given.split)
    writable_folder(given.out / "clips")
    (given.out / "sounds").mkdir(parents=True, exist_ok=True)
    kokoro = opened(given.model, styles)
    cast, files = {}, {}
    for name in with_progress(names, "speaking"):
        cast[name], style, speed = cast_for(name, given.seed, styles, given.blend)
        files[name] = sound_file(given.out, name, cast[name], speed)
        if not files[name].exists():
            part = files[name].with_suffix(".part.npy")
            np.save(part, say(kokoro, transcript(name), style, speed))
            part.rename(files[name])

    data = open_dataset(given.dataset)  # again: with the offsets that are stored by now
    entries, refused = [], []
    for name in with_progress(names, "re-timing lips"):
        sound = np.load(files[name])
        clip = data.clip(name)
        try:
            seconds, start = moments(sound, clip.speech.samples, transcript(name))
        except RuntimeError as error:  # pocketsphinx found no way through
            refused.append(f"{name}: {error}")
            continue
        lips, track = retimed(clip, seconds)
        heard = sound[round(start * RATE) :][: len(seconds) * 640]
        heard = np.pad(heard, (0, len(seconds) * 640 - len(heard))).astype(np.float32)
        lent = f"{name}-{cast[name]}"
        write_clip(given.out, lent, heard, lips, track, {"voice": cast[name], "of": name})
        entries.append(ClipEntry(lent, 0, len(seconds)))
    # One source, of which nothing is held out: what was held out of the speaker is not in it.
    source = SourceEntry("kokoro", "kokoro", ".", 0, "", tuple(entries))
    write_index(given.out, Index({"made_by": "examples/other_voices.py"}, (source,)))
    print("\n".join([f"{len(entries)} clips, {len(refused)} not aligned", *refused]))


if __name__ == "__main__":
    main()
