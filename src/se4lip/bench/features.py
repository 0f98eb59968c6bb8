"""``se4lip bench features``: the paper's experiment. Only the features change.

Each head keeps its looks; for each kind of features and each seed it learns anew to hear, with the
same takes, the same other voices, the same window and network, the same steps
(`train.avatar.relisten`). Then it is asked to say held-out clips:

* of its own person, in his own voice;
* the same clips in voices that no training heard (`audio.revoice`): other voices, known lips;
* clips of other people and languages (``--others``), whose lips move otherwise, but at the same
  moments: there only the correlations of aperture and width mean something.

Lips are judged on all clips as landmarks of the head's own mouth model (`bench.lips`); on some
clips the head is drawn, tracked and judged as in ``evaluate avatar``. Gains are paired by clip.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.audio.voice_activity import speech_frames
from se4lip.bench.drawn import Picture, draw_clips, write_grid
from se4lip.bench.features_page import write_page
from se4lip.bench.lips import Asked, judge, real_landmarks, shown_landmarks
from se4lip.bench.memory import Memory, memory_name
from se4lip.face.tracker import Tracker
from se4lip.features.base import SpeechFeatures
from se4lip.features.catalogue import OURS, load_features
from se4lip.head.motion import there_and_back
from se4lip.io.config import to_plain
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import sha256_of
from se4lip.io.phones import read_phones
from se4lip.metrics.closure import Phone, closed_below
from se4lip.metrics.landmarks import lip_aperture
from se4lip.train.avatar import AvatarRecipe, relisten
from se4lip.train.avatar_material import Take, folds_of, sliced, takes_of
from se4lip.train.avatar_noise import NoiseConfig, in_noise, is_noisy, sounds_alone
from se4lip.train.listener import Listener, voice_seed
from se4lip.train.split import EVERY, evenly
from se4lip.types import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError

OWN, VOICES = "same speaker", "same speaker, other voices"
_UNHEARD = 1_000_000  # seeds of voices beyond those of training
_PIECE_FRAMES, _LEAST_FRAMES = 100, 20  # of clips of other people


@dataclass(frozen=True)
class FeaturesConfig:
    """Attributes:
    features: Names, ours first.
    seeds: Runs of each.
    steps: Of each run.
    train_takes: As many teach, evenly spread; all of the split by default.
    voices: Other voices in which each take is also heard, half of them in noise.
    sounds: Noises alone, in which the mouth is to rest.
    test_takes: As many are asked about; all of the split by default.
    other_clips: As many of each other data set.
    drawn_takes: As many are also drawn, with the first seed.
    folds: Of a data set with fewer than ten recordings, all of which is asked about.
    """

    features: tuple[str, ...] = (
        OURS,
        "logmel",
        "mfcc",
        "whisper-tiny.en",
        "whisper-base",
        "phoneme",
    )
    seeds: int = 3
    steps: int = 900
    train_takes: int | None = None
    voices: int = 2
    sounds: int = 240
    test_takes: int | None = None
    other_clips: int = 60
    drawn_takes: int = 14
    folds: int = 5

    def quick(self) -> FeaturesConfig:
        features = tuple(name for name in self.features if not name.startswith("whisper"))
        return replace(
            self,
            features=features,
            seeds=1,
            steps=300,
            train_takes=60,
            voices=1,
            sounds=24,
            test_takes=24,
            other_clips=12,
            drawn_takes=2,
        )


def compare_features(
    dataset: Path,
    heads: Sequence[Path],
    others: Sequence[Path],
    phones: Path | None,
    work: Path,
    results: Path,
    tracker: Tracker | None,
    config: FeaturesConfig,
    videos: Path | None = None,
    grid: Path | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    report: Callable[[str], None] = print,
) -> Path:
    """Relearn, ask and judge; write ``features-DATASET.md``; returns the page.

    ``heads`` are avatars of the person in ``dataset``, one a renderer. Without a ``tracker``
    nothing is drawn. ``grid`` is a folder for videos of all features saying the same sentence.

    Raises:
        InputError: files that cannot be read, or features that are not here.
    """
    data, memory = open_dataset(dataset), Memory(work)
    folds = _folds(data, config)
    sets = _test_sets(data, [test for _, test in folds], others, phones, memory, config)
    rows: list[dict[str, Any]] = []
    done, total = 0, len(heads) * len(config.features) * config.seeds
    for head in heads:
        label = _label(head)
        first: dict[str, _Run] = {}
        for name in config.features:
            kind = load_features(name)
            for seed in range(config.seeds):
                runs = [
                    _Run(data, takes, memory, config, kind, head, seed, work / "heads", report)
                    for takes, _ in folds
                ]
                first.setdefault(name, runs[0])
                for what, parts in sets.items():
                    clips: dict[str, Any] = {}
                    for run, part in zip(runs, parts, strict=False):
                        names = [one.name for one in part]
                        clips |= memory.figures(partial(run.lips, part), *run.key, what, names)
                    rows.append(_row(label, name, seed, what, clips))
                    report(_line(rows[-1]))
                if seed == 0 and tracker is not None and config.drawn_takes:
                    draw = partial(runs[0].drawn, tracker, videos)
                    found = memory.figures(draw, *runs[0].key, "drawn", config.drawn_takes)
                    rows.append(
                        _row(label, name, seed, f"{OWN}, drawn", found.pop("clips")) | found
                    )
                    report(_line(rows[-1]))
                done += 1
                on_progress(done / total)
        if grid is not None:
            asked = sets[OWN][0][0]
            said = {name: run.says(asked) for name, run in first.items()}
            file = grid / f"{label.replace(' ', '-')}.mp4"
            write_grid(file, said, asked, load_avatar(head).parts)
    return write_page(results, data, heads, config, rows)


@dataclass
class _Run:
    """One head with one kind of features and one seed; it learns when it is first asked."""

    data: Dataset
    takes: list[Take]
    memory: Memory
    config: FeaturesConfig
    kind: SpeechFeatures
    head: Path
    seed: int
    folder: Path
    report: Callable[[str], None]

    @property
    def key(self) -> list[Any]:
        """Everything that decides what it learns."""
        return [
            *("features 2", asdict(self.kind.identity), sha256_of(self.head)),
            *(self.data.name, [asdict(take) for take in self.takes]),
            to_plain(self.recipe),
        ]

    @property
    def recipe(self) -> AvatarRecipe:
        config = self.config
        recipe = AvatarRecipe(voices=config.voices, noise=NoiseConfig(sounds=config.sounds))
        speech = replace(
            recipe.speech, steps=config.steps, validate_every=config.steps, seed=self.seed
        )
        return replace(recipe, speech=speech)

    @functools.cached_property
    def listener(self) -> Listener:
        memory, kind, voice = self.memory, self.kind, AvatarRecipe().voice
        return Listener(
            identity=kind.identity,
            features=lambda name, heard: memory.rows(kind, [heard.samples])[0],
            silence=memory.rows(kind, [np.zeros(4 * SAMPLE_RATE_HZ, np.float32)])[0],
            in_another_voice=lambda heard, seed: memory.rows(
                kind, [memory.voice(heard.samples, voice, seed)]
            )[0],
        )

    @functools.cached_property
    def avatar(self) -> Avatar:
        self._hear_first()
        name = self.kind.identity.features
        made = relisten(
            *(self.data.path, self.folder / memory_name(self.key, name)),
            *(self.recipe, self.head),
            report=self.report,
            listener=self.listener,
            takes=self.takes,
        )
        return load_avatar(made)

    def _hear_first(self) -> None:
        """Everything that training will ask for, many clips at once, which some networks need."""
        speech = [self.data.clip(take.clip).speech.samples for take in self.takes]
        clips, noise, voice = list(speech), self.recipe.noise, self.recipe.voice
        for number in range(self.config.voices):
            for i, samples in enumerate(speech):
                seed = voice_seed(number, i, len(speech))
                if is_noisy(noise, seed):
                    samples = in_noise(samples, speech_frames(samples), noise, seed).samples
                clips.append(self.memory.voice(samples, voice, seed))
        clips += sounds_alone(noise)
        if len(self.data.recordings) >= EVERY:
            held = takes_of(self.data, "validation")[:20]
            clips += [self.data.clip(take.clip).speech.samples for take in held]
        self.report(f"{self.kind.identity.features}: hearing {len(clips)} clips")
        self.memory.rows(self.kind, clips)

    def lips(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Figures of clips from the head's landmarks."""
        heard = self.memory.rows(self.kind, [one.samples for one in asked])
        real = [real_landmarks(self.avatar, one) for one in asked]
        below = closed_below(np.concatenate([lip_aperture(one) for one in real]))
        clips = {}
        for one, rows, lips in zip(asked, heard, real, strict=True):
            figures = judge(shown_landmarks(self.avatar, rows, len(lips)), lips, one, below)
            clips[one.name] = {k: None if math.isnan(v) else v for k, v in figures.items()}
        return clips

    def says(self, asked: Asked) -> Iterator[Picture]:
        """The head saying a clip, moved as it moves by itself."""
        avatar = self.avatar
        heard = self.memory.rows(self.kind, [asked.samples])[0]
        with torch.inference_mode():
            codes = avatar.head.speech(torch.from_numpy(heard))
        rows = there_and_back(len(avatar.replay), 0, len(codes))
        return avatar.head.pictures(codes, avatar.replay[rows])

    def drawn(self, tracker: Tracker, videos: Path | None) -> dict[str, Any]:
        """Figures of clips that went through renderer and tracker."""
        most = self.config.drawn_takes
        return draw_clips(self.avatar, self.data, self.listener, tracker, most, videos)


# --- what heads are asked about -------------------------------------------------------------------


def _folds(data: Dataset, config: FeaturesConfig) -> list[tuple[list[Take], list[Take]]]:
    """What teaches and what is asked. Many recordings: the split that heads and encoders share. A
    few, of a portrait: everything is asked once, by heads that did not learn from it."""
    if len(data.recordings) < EVERY:
        return folds_of(data, config.folds)
    train = evenly(takes_of(data, "train"), config.train_takes)
    return [(train, evenly(takes_of(data, "test"), config.test_takes))]


def _test_sets(
    data: Dataset,
    takes: list[list[Take]],
    others: Sequence[Path],
    phones: Path | None,
    memory: Memory,
    config: FeaturesConfig,
) -> dict[str, list[list[Asked]]]:
    """The clips of each set, fold by fold. Other people are asked about in the first fold alone."""
    own = [[_asked(data, take, phones) for take in fold] for fold in takes]
    if not all(own):
        raise InputError(f"{data.path} has no test takes: nothing can be compared")
    voice = AvatarRecipe().voice
    voiced: list[list[Asked]] = []
    number = _UNHEARD
    for fold in own:
        voiced.append([])
        for one in fold:
            voiced[-1].append(replace(one, samples=memory.voice(one.samples, voice, number)))
            number += 1
    sets = {OWN: own, VOICES: voiced}
    for path in others:
        other = open_dataset(path)
        pieces = [
            Take(name, start, min(start + _PIECE_FRAMES, other.frame_count(name)))
            for name in evenly(other.names, config.other_clips)
            for start in range(0, other.frame_count(name) - _LEAST_FRAMES, _PIECE_FRAMES)
        ]
        asked = [replace(_asked(other, take, None), of_this_person=False) for take in pieces]
        sets[other.name] = [asked]
    return sets


def _asked(data: Dataset, take: Take, phones: Path | None) -> Asked:
    clip = data.clip(take.clip)
    span = slice(take.start * SAMPLES_PER_FRAME, take.stop * SAMPLES_PER_FRAME)
    times = [] if phones is None or take.start else _phones(phones / f"{take.clip}.txt")
    name = f"{take.clip} {take.start}-{take.stop}"
    return Asked(name, clip.speech.samples[span], sliced(clip.track, take), times)


def _label(head: Path) -> str:
    avatar = load_avatar(head)
    return f"{avatar.renderer} head of {avatar.details.get('name', head.stem)}"


def _phones(file: Path) -> list[Phone]:
    return [Phone(*one) for one in read_phones(file)] if file.is_file() else []


def _row(label: str, name: str, seed: int, what: str, clips: dict[str, Any]) -> dict[str, Any]:
    return {"head": label, "features": name, "seed": seed, "set": what, "clips": clips}


def _line(row: dict[str, Any]) -> str:
    known: dict[str, list[float]] = {}
    for figures in row["clips"].values():
        for key, value in figures.items():
            if value is not None:
                known.setdefault(key, []).append(value)
    means = ", ".join(f"{key} {np.mean(values):.3f}" for key, values in known.items())
    return f"{row['head']}, {row['features']}, seed {row['seed']}, {row['set']}: {means}"
