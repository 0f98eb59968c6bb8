"""From features to mouth codes, learned once for each kind of features, seed and fold.

What is learned depends on the features, the seed, the takes, the recipe and the person's mouth
model, and on nothing that is drawn: so one window serves every renderer of the person
(``head.hearing_with(window)``), and renderers differ by what they draw alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from se4lip.audio.voice_activity import speech_frames
from se4lip.bench import lips
from se4lip.bench.asked import AskedSet, is_portrait, taught_digest
from se4lip.bench.heads import person_digest
from se4lip.bench.kinds import NamedFeatures
from se4lip.bench.memory import Memory, digest_of, memory_name
from se4lip.bench.record import known
from se4lip.face.person import Person
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.io.config import from_plain, to_plain
from se4lip.io.dataset import Dataset
from se4lip.io.weights import fitting, load_weights, save_weights
from se4lip.metrics.closure import closed_below
from se4lip.metrics.landmarks import lip_aperture
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar_hearing import Voiced, learn_to_hear, spoken_in
from se4lip.train.avatar_material import Spoken, Take, takes_of
from se4lip.train.avatar_noise import in_noise, is_noisy, sounds_alone
from se4lip.train.hearing_of_another import Known
from se4lip.train.listener import Listener, voice_seed
from se4lip.types import SAMPLE_RATE_HZ

VERSION = 5  # of how a window is learned: raise it when that is done otherwise
_KIND, _FILE = "hearing", "window.safetensors"
_EXAMINED = 20  # validation takes


class Lesson:
    """What windows of one fold learn from, read once for all features and seeds."""

    def __init__(self, data: Dataset, person: Person, takes: list[Take], memory: Memory) -> None:
        self.data, self.person, self.takes, self.memory = data, person, takes, memory
        self.heard: set[str] = set()

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.data.name, taught_digest(self.data, self.takes))

    @functools.cached_property
    def mouth_digest(self) -> str:
        return person_digest(self.person)

    @functools.cached_property
    def spoken(self) -> list[Spoken]:
        return spoken_in(self.data, self.person, self.takes)

    @functools.cached_property
    def examined(self) -> list[Spoken]:
        """For the log alone. Of a portrait nothing is left that does not teach or test."""
        held = [] if is_portrait(self.data) else takes_of(self.data, "validation")[:_EXAMINED]
        return spoken_in(self.data, self.person, held)

    def hear(
        self, named: NamedFeatures, recipe: AvatarRecipe, report: Callable[[str], None]
    ) -> None:
        """Everything that training will ask for, many clips at once, which some networks need."""
        if named.name in self.heard:  # seeds draw other steps from the same sounds
            return
        memory, noise, voice = self.memory, recipe.noise, recipe.voice
        speech = [self.data.clip(take.clip).speech.samples for take in self.takes]
        clips = list(speech)
        for number in range(recipe.voices):
            for i, samples in enumerate(speech):
                seed = voice_seed(number, i, len(speech))
                if is_noisy(noise, seed):
                    samples = in_noise(samples, speech_frames(samples), noise, seed).samples
                clips.append(memory.voice(samples, voice, seed))
        clips += sounds_alone(noise)
        clips += [self.data.clip(one.take.clip).speech.samples for one in self.examined]
        report(f"{named.name}: hearing {len(clips)} clips")
        memory.rows(named.kind, clips)
        self.heard.add(named.name)


@dataclass
class Hearing:
    """One kind of features and one seed on one fold; it learns when it is first asked."""

    lesson: Lesson
    named: NamedFeatures
    recipe: AvatarRecipe
    folder: Path
    report: Callable[[str], None]
    begun: Hearing | None = None  # of the same features and seed, on another person

    @functools.cached_property
    def key(self) -> list[Any]:
        """Everything that decides what it learns; no renderer."""
        recipe = self.recipe
        parts = [
            *(recipe.voices, recipe.hidden, recipe.certainty),
            *map(to_plain, (recipe.speech, recipe.voice)),
        ]
        before = [] if self.begun is None else [[self.begun.key, recipe.known_rate]]
        return [
            *("hearing", VERSION, asdict(self.named.kind.identity), self.lesson.mouth_digest),
            *(self.lesson.digest, parts, to_plain(recipe.noise), *before),
        ]

    @functools.cached_property
    def window(self) -> SpeechWindow:
        called = self.named.name.replace(":", "-").replace("/", "-")
        folder = self.folder / memory_name(self.key, called)
        if not (folder / _FILE).exists():
            self._learn(folder)
        tensors, header = load_weights(folder / _FILE, kind=_KIND)
        with fitting(folder / _FILE, tensors):
            window = SpeechWindow(from_plain(SpeechWindowConfig, header.config))
            window.load_state_dict(tensors)
        return window.eval().requires_grad_(False)

    def _learn(self, folder: Path) -> None:
        lesson, recipe, known = self.lesson, self.recipe, None
        if self.begun is not None:
            first = self.begun.lesson
            digest = digest_of(*self.begun.key)
            known = Known(first.data.name, digest, self.begun.window, first.person.mouth)
        lesson.hear(self.named, recipe, self.report)
        taught = learn_to_hear(
            lesson.person,
            [Voiced(lesson.data, lesson.spoken)],
            Voiced(lesson.data, lesson.examined),
            self._listener(),
            recipe,
            folder,
            self.report,
            known=known,
        )
        config = to_plain(taught.config)
        save_weights(folder / _FILE, taught.state_dict(), kind=_KIND, config=config)

    def _listener(self) -> Listener:
        memory, kind, voice = self.lesson.memory, self.named.kind, self.recipe.voice
        return Listener(
            identity=kind.identity,
            features=lambda name, heard: memory.rows(kind, [heard.samples])[0],
            silence=memory.rows(kind, [np.zeros(4 * SAMPLE_RATE_HZ, np.float32)])[0],
            in_another_voice=lambda heard, seed: memory.rows(
                kind, [memory.voice(heard.samples, voice, seed)]
            )[0],
        )


class RealLips:
    """The person's real mouth in the clips of a set, read once for all features."""

    def __init__(self, person: Person, asked: AskedSet) -> None:
        self.person, self.asked = person, asked

    @functools.cached_property
    def parts(self) -> list[list[Float[np.ndarray, "T 478 3"]]]:
        return [
            [lips.real_landmarks(self.person, one) for one in part] for part in self.asked.parts
        ]

    @functools.cached_property
    def closed_below(self) -> float:
        return closed_below(
            np.concatenate([lip_aperture(one) for part in self.parts for one in part])
        )


def lips_of_set(hearings: Sequence[Hearing], real: RealLips) -> dict[str, Any]:
    """Figures of every clip of a set as landmarks of the mouth model, from memory where known.

    ``hearings`` are those of one kind of features and one seed, fold by fold.
    """
    found: dict[str, Any] = {}
    asked = real.asked
    for fold, hearing in zip(range(len(asked.parts)), hearings, strict=False):
        key = ("lips", lips.VERSION, hearing.key, asked.name, asked.digest, fold)
        make = partial(_lips_of_part, hearing, real, fold)
        found |= hearing.lesson.memory.figures(make, *key)
    return found


def _lips_of_part(hearing: Hearing, real: RealLips, fold: int) -> dict[str, Any]:
    part = real.asked.parts[fold]
    memory, person = hearing.lesson.memory, hearing.lesson.person
    heard = memory.rows(hearing.named.kind, [one.samples for one in part])
    found = {}
    for one, rows, true in zip(part, heard, real.parts[fold], strict=True):
        shown = lips.shown_landmarks(hearing.window, person, rows, len(true))
        figures = lips.judge(shown, true, one, real.closed_below)
        found[one.name] = {"recording": one.unit} | known(figures)
    return found


def recipe_of(config: Any, seed: int) -> AvatarRecipe:
    """How every window of a comparison learns. None is wary of noise: what is
    compared is lips in speech."""
    recipe = AvatarRecipe(voices=config.voices, wariness=0.0)
    noise = replace(recipe.noise, sounds=config.sounds)
    speech = replace(recipe.speech, steps=config.steps, validate_every=config.steps, seed=seed)
    return replace(recipe, noise=noise, speech=speech)
