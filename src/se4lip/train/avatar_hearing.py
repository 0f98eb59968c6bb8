"""From takes and sounds to a speech window: what an avatar hears while it learns to hear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float32

from se4lip.audio.voice_activity import speech_frames
from se4lip.face.person import Person
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.io.audio import read_speech
from se4lip.io.config import to_plain
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.phones import read_phones
from se4lip.train.avatar_material import Spoken, Take, sliced, takes_of
from se4lip.train.avatar_noise import (
    InNoise,
    NoiseConfig,
    Samples,
    in_noise,
    is_noisy,
    pieces_of,
    sounds_alone,
)
from se4lip.train.avatar_phones import Phones
from se4lip.train.avatar_speech import (
    Heard,
    MouthTask,
    resting_code,
    resting_in_silence,
    silent_take,
)
from se4lip.train.avatar_unfilmed import Piece, pieces_of_recordings, unfilmed_takes
from se4lip.train.avatar_wary import learn_noise
from se4lip.train.checkpoint import check_begun
from se4lip.train.hearing_of_another import Known, gated_by, handed_on
from se4lip.train.listener import Features, Listener, voice_seed
from se4lip.train.log import said_along
from se4lip.train.loop import train
from se4lip.train.split import digest_of
from se4lip.types import InputError, Speech

if TYPE_CHECKING:
    from se4lip.train.avatar import AvatarRecipe

_VALIDATION_TAKES = 20
HIDDEN = 64  # numbers of a speech window that begins with nothing

Target = tuple[Float32[np.ndarray, "T K"], Float32[np.ndarray, " T"] | None]


@dataclass(frozen=True)
class Voiced:
    """Takes and the data set whose sound they have."""

    data: Dataset
    spoken: Sequence[Spoken]

    @property
    def digest(self) -> str:
        """Of what the takes are made of, for a run that goes on."""
        return digest_of(self.data, (one.take.clip for one in self.spoken))

    @property
    def spans(self) -> list[list[int]]:
        """Where its takes begin and end, each in its clip."""
        return [[one.take.start, one.take.stop] for one in self.spoken]


def learn_to_hear(
    person: Person,
    voices: Sequence[Voiced],
    held_out: Voiced,
    listener: Listener,
    recipe: AvatarRecipe,
    out: Path,
    report: Callable[[str], None],
    unspoken: Sequence[Samples] = (),
    unfilmed: Sequence[Piece] = (),
    known: Known | None = None,
    mouth_of: str | None = None,
) -> SpeechWindow:
    """The network from features to the person's mouth codes, trained in ``out``.

    The first of ``voices`` is the person's own: it says what features and the resting mouth are
    like, and is heard in made voices too. ``unspoken`` are recordings in which nobody speaks,
    ``unfilmed`` are speech of people whom nobody filmed: it teaches when the mouth moves, and by
    its phones, where they are known, what they ask of any lips.
    ``known`` is what somebody else's head has learned of the same features, to begin with;
    ``mouth_of`` the checksum of the avatar whose mouth codes are meant, where they are one's.
    """
    own = voices[0]
    listened = said_along(own.spoken, len(own.spoken), "features of takes", report)
    heard = [_heard(own.data, one, listener) for one in listened]
    width = heard[0].features.shape[1]
    speaking = [_speaking(own.data, one) for one in own.spoken]
    rest = resting_code(person.mouth, [one.mouth for one in own.spoken], speaking)
    loop = recipe.speech
    if known is None:
        torch.manual_seed(loop.seed)
        window = SpeechWindow(
            SpeechWindowConfig(width, person.mouth.width, recipe.hidden or HIDDEN)
        )
        window.normalise_by(torch.from_numpy(np.concatenate([one.features for one in heard])))
        window.rest.copy_(torch.from_numpy(rest))
    else:
        report(f"hearing begins with what {known.name} knows")
        window = handed_on(known.window, known.mouth, person.mouth, rest)
        loop = replace(loop, learning_rate=loop.learning_rate * recipe.known_rate)
    window.certainty.fill_(recipe.certainty)

    targets = [
        resting_in_silence(one.mouth, active, rest)
        for one, active in zip(own.spoken, speaking, strict=True)
    ]
    heard = [Heard(one.features, *target) for one, target in zip(heard, targets, strict=True)]
    pieces = pieces_of(unspoken, recipe.noise)
    if unspoken:
        cut = f"{recipe.noise.seconds:g} s of recordings in which nobody speaks"
        report(f"{len(pieces)} times {cut}; shorter and silent ones are left out")
    speech = [one.features for one in heard]
    for voiced, is_clean in _in_other_voices(own, targets, rest, listener, recipe, pieces, report):
        heard.append(voiced)
        if is_clean:
            speech.append(voiced.features)
    for other in voices[1:]:
        named = f"features of {other.data.name}"
        for one in said_along(other.spoken, len(other.spoken), named, report):
            target = resting_in_silence(one.mouth, _speaking(other.data, one), rest)
            heard.append(Heard(_heard(other.data, one, listener).features, *target))
            speech.append(heard[-1].features)
    silence: list[Features] = []
    noise: list[Features] = []
    if listener.silence is not None:  # features of any sound
        silence, noise = alone(listener, recipe.noise, pieces, report)
        heard += [silent_take(features, rest) for features in (*silence, *noise)]
        first_seed = voice_seed(recipe.voices, 0, len(own.spoken))  # where own voices end
        heard += unfilmed_takes(unfilmed, rest, listener, recipe.noise, pieces, first_seed, report)
    examined = [_heard(held_out.data, one, listener) for one in held_out.spoken[:_VALIDATION_TAKES]]
    talk = [piece.samples for piece in unfilmed]
    identity = {
        "recipe": _options(recipe),
        "hearing_of": None if known is None else [known.sha256, recipe.known_rate],
        "data": [[one.data.name, len(one.spoken)] for one in voices],
        "clips": [one.digest for one in voices],
        "takes": [one.spans for one in voices],
        "seen": mouth_of,
        "unspoken": [*_sums(pieces), *(_sums(talk) if talk else ())],
        "asked": [sum(int(kind) for piece in unfilmed for kind in piece.asked)],
        "encoder": [listener.identity.name, listener.identity.sha256, width],
    }
    task = MouthTask(window, person.mouth, heard, examined)
    window = train(task, loop, out, identity, report=report)
    if recipe.keep_gate and known is not None:
        return gated_by(known.window, window)
    window.wariness.fill_(recipe.wariness)
    if known is None or not known.window.knows_noise:  # what it is does not depend on the mouth
        learn_noise(window, speech, silence, noise)
    return window


def check_hearing_begun(folder: Path, recipe: AvatarRecipe) -> None:
    """Raises: InputError when what was begun in ``folder`` has other options."""
    check_begun(folder, {"recipe": _options(recipe)})


def _options(recipe: AvatarRecipe) -> dict[str, Any]:
    """Those of hearing, by which a run knows that it is the same."""
    plain = to_plain(recipe)
    return {name: plain[name] for name in ("voices", "certainty", "speech", "voice", "noise")}


def alone(
    listener: Listener,
    config: NoiseConfig,
    recorded: Sequence[Samples] = (),
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list[Features], list[Features]]:
    """Features of digital silence, and of sounds that nobody speaks, made ones and pieces of
    recordings. Nothing of either if the features are files of named clips."""
    if listener.silence is None:
        return [], []
    made = sounds_alone(config, recorded)
    sounds = said_along(made, config.sounds + len(recorded), "features of sounds", report)
    found = [listener.features("", Speech(one)) for one in sounds]
    made_silence = min(1, config.sounds)
    return [listener.silence, *found[:made_silence]], found[made_silence:]


@dataclass(frozen=True)
class Also:
    """What an avatar hears besides its own takes, read before anything is computed."""

    heard: Sequence[Dataset]  # the same lips in other voices
    still: Sequence[Samples]  # recordings in which nobody speaks
    spoken: int  # recordings of people whom nobody filmed
    said: int  # of these, with phones
    pieces: Sequence[Piece]  # of these
    known: Known | None  # what hearing begins with

    @staticmethod
    def read(
        listener: Listener,
        heard: Sequence[Path],
        still: Sequence[Path],
        spoken: Sequence[Path],
        known: Known | None,
        keep_gate: bool = False,
    ) -> Also:
        """Raises: InputError when something cannot be read, ``listener`` knows no features of
        recordings, nobody is heard where somebody should be, or there is no gate to be kept."""
        if keep_gate and known is None:
            raise InputError(
                "no gate can be kept, for hearing begins with nothing that is known of these "
                "features: name a head with --hearing-of, or leave --keep-gate out"
            )
        given = {"--also-still": still, "--also-spoken": spoken}
        if listener.silence is None and any(given.values()):
            named = " and ".join(name for name, files in given.items() if files)
            raise InputError(
                f"{named} cannot be heard, for the features given are files of named clips: leave "
                "the recordings out, or give --features by name, such as whisper-base"
            )
        quiet, talk = ([read_speech(file).samples for file in files] for files in given.values())
        phones = [_phones_beside(file) for file in spoken]
        sets = [open_dataset(path) for path in heard]
        said = sum(map(bool, phones))
        return Also(sets, quiet, len(talk), said, pieces_of_recordings(talk, phones), known)

    def taught(
        self,
        person: Person,
        own: Voiced,
        held_out: Voiced,
        listener: Listener,
        recipe: AvatarRecipe,
        out: Path,
        report: Callable[[str], None],
        mouth_of: str | None = None,
    ) -> SpeechWindow:
        """`learn_to_hear` from the person's own takes and all of this."""
        others = [
            Voiced(data, spoken_in(data, person, takes_of(data, "all"))) for data in self.heard
        ]
        return learn_to_hear(
            *(person, [own, *others], held_out, listener, recipe, out, report),
            unspoken=self.still,
            unfilmed=self.pieces,
            known=self.known,
            mouth_of=mouth_of,
        )

    def told(self) -> dict[str, Any]:
        """What the avatar's file says of it."""
        return {
            "heard": [[data.name, len(takes_of(data, "all"))] for data in self.heard],
            "still": len(self.still),
            "spoken": self.spoken,
            "said": self.said,
            "hearing_of": self.known and [self.known.name, self.known.sha256],
        }


def spoken_in(data: Dataset, person: Person, takes: Sequence[Take]) -> list[Spoken]:
    """Takes with the poses and mouth codes that ``person`` reads off them."""
    found = []
    for take in takes:
        track = sliced(data.clip(take.clip).track, take)
        poses = person.head_poses(track)
        found.append(Spoken(take, track, poses, person.mouth_codes(track, poses)))
    return found


def _in_other_voices(
    own: Voiced,
    targets: Sequence[Target],
    rest: Float32[np.ndarray, " K"],
    listener: Listener,
    recipe: AvatarRecipe,
    recorded: Sequence[Samples],
    report: Callable[[str], None],
) -> Iterator[tuple[Heard, bool]]:
    """Each take in ``recipe.voices`` made voices, a share of them in noise; and which are not."""
    if listener.in_another_voice is None:
        return
    takes = len(own.spoken)
    voiced = [(voice, index) for voice in range(recipe.voices) for index in range(takes)]
    named = "features of takes in other voices"
    for voice, index in said_along(voiced, len(voiced), named, report):
        one, target = own.spoken[index], targets[index]
        speech = own.data.clip(one.take.clip).speech
        seed = voice_seed(voice, index, takes)
        if is_noisy(recipe.noise, seed):
            active = speech_frames(speech.samples)
            noisy = in_noise(speech.samples, active, recipe.noise, seed, recorded)
            found = listener.in_another_voice(Speech(noisy.samples), seed)
            yield _out_of_noise(found, one.take, target, noisy, rest), False
        else:
            found = listener.in_another_voice(speech, seed)
            yield _cut(found, one.take, target), True


def _heard(data: Dataset, one: Spoken, listener: Listener) -> Heard:
    found = listener.features(one.take.clip, data.clip(one.take.clip).speech)
    return _cut(found, one.take, (one.mouth, None))


def _cut(found: Features, take: Take, target: Target) -> Heard:
    """Features of a whole clip, cut to its take; rows that files lack are the last row again."""
    rows = np.arange(take.start, take.stop).clip(max=len(found) - 1)
    return Heard(found[rows], *target)


def _out_of_noise(
    found: Features, take: Take, target: Target, noisy: InNoise, rest: Float32[np.ndarray, " K"]
) -> Heard:
    """A take of a clip in noise; a take that is the whole clip, with the noise around it."""
    clip = found[noisy.start : noisy.stop]
    whole = take.start == 0 and take.stop >= len(clip)
    if not whole or target[1] is None or np.isnan(target[1]).all():
        return _cut(clip, take, target)
    before, after = silent_take(found[: noisy.start], rest), silent_take(found[noisy.stop :], rest)
    parts = (before, _cut(clip, take, target), after)
    known = ("features", "mouth", "spoken")
    return Heard(*(np.concatenate([getattr(part, name) for part in parts]) for name in known))


def _speaking(data: Dataset, one: Spoken) -> Bool[np.ndarray, " T"]:
    found = speech_frames(data.clip(one.take.clip).speech.samples)
    rows = np.arange(one.take.start, one.take.stop).clip(max=len(found) - 1)
    return found[rows]


def _phones_beside(recording: Path) -> Phones:
    """``talk.phones`` beside ``talk.wav`` (`io.phones`), if it is there."""
    file = recording.with_suffix(".phones")
    return read_phones(file) if file.exists() else ()


def _sums(recordings: Sequence[Samples]) -> tuple[int, float]:
    """How many and how loud together, by which a run knows that they are the same."""
    return len(recordings), float(sum(abs(samples).sum() for samples in recordings))
