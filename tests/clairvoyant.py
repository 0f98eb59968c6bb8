"""An encoder that reads the moment off sound and lips, and recordings for it.

Every frame of the made-up recordings carries a code, in its samples and in its lip pixels, so what
an encoder should say is known exactly.
"""

from types import SimpleNamespace

import numpy as np
import torch

from se4lip.audio.timebase import Window
from se4lip.io.dataset import ClipEntry, Index, SourceEntry, write_clip, write_index
from se4lip.types import FaceTrack

CODE = 16


class Clairvoyant:
    """Rows of speech and lips are equal where they carry the same code."""

    config = SimpleNamespace(
        lip_window=Window(), speech=SimpleNamespace(embedding=CODE), lips=SimpleNamespace()
    )
    centre_frames = 1

    def parameters(self):
        yield torch.zeros(1)

    def embed_clip(self, samples, lips, contour, branch="both"):
        frames = len(lips)
        heard = torch.zeros(frames * 640)
        heard[: len(samples)] = samples[: len(heard)]
        speech = torch.nn.functional.normalize(heard.reshape(frames, 640)[:, :CODE], dim=-1)
        seen = torch.nn.functional.normalize(lips[:, 0, :CODE, 0].float() - 128, dim=-1)
        return speech, seen, torch.ones(frames, dtype=torch.bool)


def coded(frames, late=0, seed=0):
    """Samples and lips of ``frames`` frames; the sound is ``late`` frames late."""
    random = np.random.default_rng(seed)
    codes = random.choice((-1.0, 1.0), (frames, CODE))
    loudness = random.choice((0.1, 0.4), frames)
    samples = np.zeros((frames, 640), np.float32)
    samples[:, :CODE] = codes * loudness[:, None]
    samples[:, CODE:] = 0.02 * random.standard_normal((frames, 640 - CODE)) * loudness[:, None]
    samples = np.roll(samples, late, axis=0)
    lips = np.full((frames, 96, 96, 3), 128, np.uint8)
    lips[:, 0, :CODE, 0] = 128 + 100 * codes
    return samples.ravel(), lips


def track(frames):
    random = np.random.default_rng(1)
    return FaceTrack(
        landmarks_px=random.uniform(0, 90, (frames, 478, 3)).astype(np.float32),
        blendshapes=np.zeros((frames, 52), np.float32),
        camera_from_face=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        width_px=100,
        height_px=100,
    )


def data_set(folder, clips, late):
    sources = []
    for index in range(clips):
        name = f"clip{index:02}"
        frames = 60 if index else 400  # the first has speech enough for an offset of its own
        samples, lips = coded(frames, late, index)
        write_clip(folder, name, samples, lips, track(frames), {"source": f"{name}.mp4"})
        entry = (ClipEntry(name, 0, frames),)
        sources.append(SourceEntry(name, f"{name}.mp4", "../videos", 1, "0", entry))
    write_index(folder, Index({}, tuple(sources)))
    return folder
