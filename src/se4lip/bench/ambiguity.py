"""``se4lip bench ambiguity``: do features of speech tell what the lips tell, and nothing else?

The paper's premise is that features of recognisers separate sounds that look alike and merge sounds
that do not. Here that is measured, on held-out clips whose phones are known from forced alignment
(`bench.ambiguity_figures`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from se4lip.bench.ambiguity_figures import PHONE_NAMES, AmbiguityConfig, Frames, judge
from se4lip.bench.ambiguity_page import write_page
from se4lip.bench.memory import Memory
from se4lip.bench.memory import digest_of as digest
from se4lip.face.contour import LIPS, lip_contour
from se4lip.features.base import SpeechFeatures
from se4lip.features.catalogue import load_features
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import writable_folder
from se4lip.io.phones import read_phones
from se4lip.metrics.closure import SILENCES, Phone
from se4lip.metrics.visemes import VISEME_OF
from se4lip.train.split import clips_of, digest_of, evenly
from se4lip.types import FRAME_RATE_HZ, InputError


def ambiguity(
    dataset: Path,
    phones: Path,
    work: Path,
    results: Path,
    config: AmbiguityConfig,
    on_progress: Callable[[float], None] = lambda share: None,
    report: Callable[[str], None] = print,
) -> Path:
    """Measure every kind of features and write ``ambiguity.md``; returns the page.

    Raises:
        InputError: no held-out clips, no alignments, or features that are not here.
    """
    for folder in (work, results):
        writable_folder(folder)
    data, memory = open_dataset(dataset), Memory(work)
    chosen = {
        "train": evenly(clips_of(data, "train"), config.train_clips),
        "validation": evenly(clips_of(data, "validation"), config.validation_clips),
        "test": evenly(_aligned(clips_of(data, "test"), phones), config.test_clips),
    }
    if not chosen["train"] or not chosen["validation"] or len(chosen["test"]) < 2:
        raise InputError(
            f"{data.path} has {len(chosen['test'])} test clips with a file in {phones}, but sounds "
            "of different clips are compared: prepare twenty recordings or more, and align two "
            "test clips or more (examples/align_grid.py)"
        )
    frames = {
        split: _frames(data, names, phones if split == "test" else None)
        for split, names in chosen.items()
    }
    if (frames["test"].phone < 0).all():
        raise InputError(
            f"no phone of the files in {phones} is one of {', '.join(PHONE_NAMES[:4])} and so on: "
            "give alignments in ARPABET (examples/align_grid.py)"
        )
    figures, maps, confused = {}, {}, {}
    for i, name in enumerate(config.features):
        kind = load_features(name)
        judged = memory.figures(
            partial(_measure, data, memory, kind, chosen, frames, config),
            *("ambiguity 3", asdict(kind.identity), data.name, chosen),
            *(digest_of(data, names) for names in chosen.values()),
            *([digest(one.lips), digest(one.phone)] for one in frames.values()),
            *(config.pairs, config.resamples, config.seed),
        )
        figures[name] = judged["figures"] | {"identity": asdict(kind.identity)}
        maps[name] = np.array(judged["map"]), judged["phones"]
        confused[name] = np.array(judged["confusion"])
        report(f"{name}: " + ", ".join(f"{k} {v[0]:.3f}" for k, v in judged["figures"].items()))
        on_progress((i + 1) / len(config.features))
    return write_page(results, data, chosen, config, figures, maps, confused)


def _measure(
    data: Dataset,
    memory: Memory,
    kind: SpeechFeatures,
    chosen: dict[str, list[str]],
    frames: dict[str, Frames],
    config: AmbiguityConfig,
) -> dict[str, Any]:
    rows = {}
    for split, names in chosen.items():
        heard = memory.rows(kind, [data.clip(clip).speech.samples for clip in names])
        rows[split] = [
            _fitted(found, data.frame_count(clip)) for found, clip in zip(heard, names, strict=True)
        ]
    return judge(rows, frames, config)


def _frames(data: Dataset, names: Sequence[str], phones: Path | None) -> Frames:
    clip, lips, phone = [], [], []
    for i, name in enumerate(names):
        track = data.clip(name).track
        lips.append(lip_contour(track)[:, : 3 * len(LIPS)])
        clip.append(np.full(len(track), i))
        known = np.full(len(track), -1)
        for one in [] if phones is None else read_phones(phones / f"{name}.txt"):
            plain = Phone(*one).plain
            if plain in VISEME_OF and plain not in SILENCES:
                middle = (np.arange(len(track)) + 0.5) / FRAME_RATE_HZ
                known[(middle >= one[1]) & (middle < one[2])] = PHONE_NAMES.index(plain)
        phone.append(known)
    return Frames(np.concatenate(clip), np.concatenate(lips).astype(float), np.concatenate(phone))


def _fitted(rows: Float[np.ndarray, "T D"], frames: int) -> Float[np.ndarray, "T D"]:
    """As many rows as frames; the last one again where sound ends early."""
    return rows[np.arange(frames).clip(max=len(rows) - 1)]


def _aligned(names: Sequence[str], phones: Path) -> list[str]:
    return [name for name in names if (phones / f"{name}.txt").is_file()]
