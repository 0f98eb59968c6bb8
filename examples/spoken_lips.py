"""How a speaker's lips would move with sentences that he never said, in many languages.

    python examples/spoken_lips.py spoken --speaker grid_s1 --lent grid_s1_voices \\
        -o grid_s1_spoken --model kokoro.onnx --voices VOICES

`examples/other_voices.py` lends a speaker's lips to synthetic voices that say *his* sentences.
GRID's sentences have 51 words; here the same lips say anything that `examples/spoken_words.py` has
spoken. From the lent clips a small network learns how the lip contour moves with what Kokoro reads
and with how long that takes. Each symbol is told by how and where it is made, so that a sound of
another language is near to known ones. What comes out is a data set like any other, but that its
pictures are blank: it has contours alone, and training sees only those. ``--seed`` is the one with
which the lent clips were made.
"""

# ruff: noqa: RUF001

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from align_grid import transcript
from jaxtyping import Float, Float32
from other_voices import (
    MARGIN_S,
    RATE,
    cast_for,
    sound_file,
    styles_of,
    symbols_of,
    words_of,
)
from rich.progress import track as with_progress
from safetensors.torch import load_file, save_file
from spoken_words import Speaker, Spoken
from torch import Tensor, nn
from torch.nn import functional

from se4lip.face.contour import (
    CONTOUR_WIDTH,
    POINT_GAIN,
    SHAPE_GAIN,
    face_axes,
    lip_contour,
)
from se4lip.io.dataset import (
    ClipEntry,
    Dataset,
    Index,
    SourceEntry,
    open_dataset,
    write_clip,
    write_index,
)
from se4lip.mesh import LIPS, MOUTH_BLENDSHAPES
from se4lip.train.split import clips_of
from se4lip.types import Clip, FaceTrack

STEPS = 4  # of 10 ms in a frame
# How each symbol is made. Vowels: open 0..1, front 0..1, round 0..1.
VOWELS = {
    **{"i": (0, 1, 0), "y": (0, 1, 1), "ɨ": (0, 0.5, 0), "ᵻ": (0.1, 0.6, 0), "ɯ": (0, 0, 0)},
    **{"u": (0, 0, 1), "ɪ": (0.2, 0.8, 0), "ʊ": (0.2, 0.2, 0.8), "e": (0.35, 1, 0)},
    **{"ø": (0.35, 1, 1), "o": (0.35, 0, 1), "ɤ": (0.35, 0, 0), "ə": (0.5, 0.5, 0)},
    **{"ɚ": (0.5, 0.5, 0.3), "ɛ": (0.65, 1, 0), "œ": (0.65, 1, 1), "ɜ": (0.65, 0.5, 0)},
    **{"ʌ": (0.7, 0.2, 0), "ɔ": (0.65, 0, 0.9), "æ": (0.85, 0.9, 0), "ɐ": (0.85, 0.5, 0)},
    **{"a": (1, 0.7, 0), "ɑ": (1, 0, 0), "ɒ": (1, 0, 0.6)},
}
PLACES = ("both lips", "lip and teeth", "teeth", "ridge", "behind", "palate", "velum", "throat")
MANNERS = ("stop", "nasal", "hiss", "glide", "tap")
CONSONANTS = {  # place, manner, voiced, round
    **{"p": (0, 0, 0, 0), "b": (0, 0, 1, 0), "m": (0, 1, 1, 0), "ɸ": (0, 2, 0, 0)},
    **{"β": (0, 2, 1, 0), "f": (1, 2, 0, 0), "v": (1, 2, 1, 0), "ʋ": (1, 3, 1, 0)},
    **{"θ": (2, 2, 0, 0), "ð": (2, 2, 1, 0), "t": (3, 0, 0, 0), "d": (3, 0, 1, 0)},
    **{"ʈ": (3, 0, 0, 0), "ɖ": (3, 0, 1, 0), "n": (3, 1, 1, 0), "ɳ": (3, 1, 1, 0)},
    **{"s": (3, 2, 0, 0), "z": (3, 2, 1, 0), "l": (3, 3, 1, 0), "ɹ": (4, 3, 1, 0.6)},
    **{"ɻ": (4, 3, 1, 0.6), "ɾ": (3, 4, 1, 0), "r": (3, 4, 1, 0), "ɽ": (3, 4, 1, 0)},
    **{"ʦ": (3, 2, 0, 0), "ʣ": (3, 2, 1, 0), "ʃ": (4, 2, 0, 0.7), "ʒ": (4, 2, 1, 0.7)},
    **{"ʧ": (4, 2, 0, 0.7), "ʤ": (4, 2, 1, 0.7), "ʂ": (4, 2, 0, 0.5), "ɕ": (4, 2, 0, 0.2)},
    **{"ʨ": (4, 2, 0, 0.2), "ʥ": (4, 2, 1, 0.2), "ç": (5, 2, 0, 0), "ʝ": (5, 2, 1, 0)},
    **{"j": (5, 3, 1, 0), "ɲ": (5, 1, 1, 0), "ʎ": (5, 3, 1, 0), "c": (5, 0, 0, 0)},
    **{"ɟ": (5, 0, 1, 0), "k": (6, 0, 0, 0), "g": (6, 0, 1, 0), "ɡ": (6, 0, 1, 0)},
    **{"ŋ": (6, 1, 1, 0), "x": (6, 2, 0, 0), "ɣ": (6, 2, 1, 0), "ɰ": (6, 3, 1, 0)},
    **{"w": (6, 3, 1, 1), "ɥ": (5, 3, 1, 1), "ʁ": (6, 2, 1, 0), "χ": (6, 2, 0, 0)},
    **{"q": (6, 0, 0, 0), "h": (7, 2, 0, 0), "ʔ": (7, 0, 0, 0)},
}
LONG = "ːʰʲ\u0303"  # prolong the symbol before them
WIDTH = 2 + 3 + len(PLACES) + len(MANNERS) + 2


def made(symbol: str) -> np.ndarray:
    """``[WIDTH]``: what the mouth does for a symbol; zeros for a pause, a stress mark, a border."""
    row = np.zeros(WIDTH, np.float32)
    if symbol in VOWELS:
        row[0], row[2:5] = 1, VOWELS[symbol]
    elif symbol in CONSONANTS:
        place, manner, voiced, rounded = CONSONANTS[symbol]
        row[1], row[5 + place], row[5 + len(PLACES) + manner] = 1, 1, 1
        row[-2:] = voiced, rounded
    return row


def script(spoken: Spoken, start_s: float, frames: int) -> Float[np.ndarray, "steps WIDTH+1"]:
    """What the mouth does every 10 ms from ``start_s``; the last column says that all is over."""
    rows: list[np.ndarray] = []
    for symbol in spoken.symbols:
        rows.append(rows[-1] if symbol in LONG and rows else made(symbol))
    at = start_s + (np.arange(frames * STEPS) + 0.5) / (25 * STEPS)
    which = np.searchsorted(spoken.ends_s, at, side="right")
    inside = (which < len(rows)) & (at >= 0)
    shown = np.stack(rows)[which.clip(0, len(rows) - 1)] * inside[:, None]
    return np.concatenate((shown, ~inside[:, None]), axis=1).astype(np.float32)


class Trajectory(nn.Module):
    """Scripts in, lip contours out; it sees 0.3 s to either side."""

    def __init__(self, contour: int, hidden: int = 192) -> None:
        super().__init__()
        self.read = nn.Conv1d(WIDTH + 1, hidden, 5 * STEPS, stride=STEPS, padding=2 * STEPS)
        self.mix = nn.ModuleList(nn.Conv1d(hidden, hidden, 5, padding=2) for _ in range(3))
        self.show = nn.Conv1d(hidden, contour, 1)

    def forward(self, scripts: Float[Tensor, "B steps W"]) -> Float[Tensor, "B T C"]:
        x = functional.gelu(self.read(scripts.mT))
        for layer in self.mix:
            x = x + functional.gelu(layer(functional.dropout(x, 0.1, self.training)))
        return self.show(x).mT


def lessons(
    lent: Dataset, speaker: Speaker, styles: dict[str, np.ndarray], seed: int, blended: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Script and contour of every lent clip."""
    found = []
    for name in with_progress(lent.names, "reading what was lent"):
        of = name[: name.index("-")]
        voice, style, speed = cast_for(of, seed, styles, blended)
        symbols = speaker.known(symbols_of(speaker.tokenizer, transcript(of)))
        sound = np.load(sound_file(lent.path, of, voice, speed))
        ends_s = speaker.ends_s(symbols, style, speed)
        start_s = max(0.0, words_of(sound, transcript(of))[0][0][0] - MARGIN_S)
        contour = lip_contour(lent.clip(name).track)
        found.append((script(Spoken(sound, symbols, ends_s), start_s, len(contour)), contour))
    return found


def learn(pairs: list[tuple[np.ndarray, np.ndarray]], epochs: int, seed: int) -> Trajectory:
    torch.manual_seed(seed)
    held, taught = pairs[::20], [pair for i, pair in enumerate(pairs) if i % 20]
    model = Trajectory(pairs[0][1].shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    steps = epochs * -(-len(taught) // 16)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    draw = random.Random(seed)
    for step in with_progress(range(steps), "learning how lips move"):
        scripts, contours, whole = padded(draw.sample(taught, 16))
        error = ((model(scripts) - contours) ** 2).mean(-1)
        loss = (error * whole).sum() / whole.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step(), schedule.step()
        if step == steps - 1:
            with torch.inference_mode():
                model.eval()
                scripts, contours, whole = padded(held)
                missed = ((model(scripts) - contours) ** 2).mean(-1)[whole].mean()
                print(
                    f"R2 {1 - missed / (contours**2).mean(-1)[whole].mean():.3f} of clips left out"
                )
    return model.eval().requires_grad_(False)


def padded(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor, Tensor]:
    frames = max(len(contour) for _, contour in pairs)
    scripts = torch.zeros(len(pairs), frames * STEPS, WIDTH + 1)
    scripts[..., -1] = 1
    contours = torch.zeros(len(pairs), frames, pairs[0][1].shape[1])
    whole = torch.zeros(len(pairs), frames, dtype=torch.bool)
    for i, (read, contour) in enumerate(pairs):
        scripts[i, : len(read)] = torch.from_numpy(read)
        contours[i, : len(contour)] = torch.from_numpy(contour)
        whole[i, : len(contour)] = True
    return scripts, contours, whole


def face_that_moves(
    still: Float32[np.ndarray, "478 3"], contour: Float[np.ndarray, "T C"]
) -> Float32[np.ndarray, "T 478 3"]:
    """``still``, the landmarks of a face, with its lips moved by ``contour``."""
    _, axes, unit = face_axes(still.astype(np.float64))
    points = contour[:, : 3 * len(LIPS)].reshape(len(contour), -1, 3) / POINT_GAIN
    landmarks = np.repeat(still[None].astype(np.float64), len(contour), axis=0)
    landmarks[:, LIPS] += points * unit @ axes
    return landmarks.astype(np.float32)


def dressed(contour: Float[np.ndarray, "T C"], like: Clip) -> FaceTrack:
    """A track of the face of ``like`` in which the lips move as ``contour`` says."""
    given, frames = like.track, len(contour)
    still, pose = given.landmarks_px[0], given.camera_from_face[:1]
    shapes = np.repeat(given.blendshapes.mean(0)[None], frames, axis=0)
    shapes[:, MOUTH_BLENDSHAPES] += contour[:, 3 * len(LIPS) :] / SHAPE_GAIN
    return FaceTrack(
        # Contours are less the mean of their clips: the lips of the still face are taken off.
        landmarks_px=face_that_moves(still, contour - lip_contour(given)[0]),
        blendshapes=shapes.clip(0, 1).astype(np.float32),
        camera_from_face=np.repeat(pose, frames, axis=0),
        width_px=given.width_px,
        height_px=given.height_px,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spoken", type=Path)
    parser.add_argument("--speaker", type=Path, required=True)
    parser.add_argument("--lent", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--blend", action="store_true", help="what is lent was made with --blend")
    parser.add_argument("--epochs", type=int, default=25)
    given = parser.parse_args()
    lent, data = open_dataset(given.lent), open_dataset(given.speaker)
    given.out.mkdir(parents=True, exist_ok=True)
    learned = given.out / "trajectory.safetensors"
    if not learned.exists():
        speaker = Speaker(given.model, only_durations=True)
        pairs = lessons(lent, speaker, styles_of(given.voices), given.seed, given.blend)
        save_file(learn(pairs, given.epochs, given.seed).state_dict(), learned)
    model = Trajectory(CONTOUR_WIDTH).eval().requires_grad_(False)
    model.load_state_dict(load_file(learned))
    like = data.clip(clips_of(data, "train")[0])
    blank = np.zeros_like(like.lips[:1])
    entries = []
    for file in with_progress(sorted(given.spoken.glob("?????-*.npz")), "moving lips"):
        spoken = Spoken.load(file)
        frames = int(len(spoken.samples) / RATE * 25)
        contour = model(torch.from_numpy(script(spoken, 0.0, frames))[None])[0].numpy()
        heard = np.ascontiguousarray(spoken.samples[: frames * (RATE // 25)])
        pictures, told = np.repeat(blank, frames, axis=0), {"symbols": spoken.symbols}
        write_clip(given.out, file.stem, heard, pictures, dressed(contour, like), told)
        entries.append(ClipEntry(file.stem, 0, frames))
    source = SourceEntry("kokoro", "kokoro", ".", 0, "", tuple(entries))
    write_index(given.out, Index({"made_by": "examples/spoken_lips.py"}, (source,)))
    print(f"{len(entries)} clips")


if __name__ == "__main__":
    main()
