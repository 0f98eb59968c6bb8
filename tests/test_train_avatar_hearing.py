"""What an avatar hears while it learns: noise around and under speech, and a gate for silence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from se4lip.face.expression import MouthModel
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.mesh import LOWER_INNER_LIP
from se4lip.train.avatar import AvatarRecipe
from se4lip.train.avatar_noise import NoiseConfig, in_noise, pieces_of, sounds_alone
from se4lip.train.avatar_speech import (
    Heard,
    MouthTask,
    drawing_weights,
    resting_in_silence,
    silent_take,
)
from se4lip.train.avatar_unfilmed import (
    Piece,
    a_word_of,
    pieces_of_recordings,
    pieces_of_speech,
    unfilmed_take,
)
from se4lip.types import SAMPLES_PER_FRAME, InputError


def window(bias: float) -> SpeechWindow:
    torch.manual_seed(0)
    made = SpeechWindow(SpeechWindowConfig(6, 3, hidden=8)).eval()
    made.rest.copy_(torch.tensor([1.0, -2.0, 0.5]))
    with torch.no_grad():
        made.heed.weight.zero_()
        made.heed.bias.fill_(bias)
    return made


def test_a_shut_gate_gives_the_resting_mouth_to_the_bit():
    made = window(-4.0)
    assert torch.equal(made(torch.randn(9, 6)), made.rest.expand(9, 3))


def test_an_open_gate_changes_nothing_and_files_without_one_have_it_open():
    made, features = window(4.0), torch.randn(12, 6)
    state = {k: v for k, v in made.state_dict().items() if k != "rest" and k[:4] != "heed"}
    old = SpeechWindow(made.config).eval()
    old.load_state_dict(state)
    torch.testing.assert_close(made(features), old(features), atol=1e-6, rtol=0)


def test_the_gate_looks_no_farther_than_the_codes():
    torch.manual_seed(0)
    made = SpeechWindow(SpeechWindowConfig(6, 3, hidden=8)).eval()
    features = torch.randn(40, 6)
    changed = features.clone()
    changed[20] += 5
    before, after = (made.codes_and_heed(x)[1] for x in (features, changed))
    rows = torch.nonzero(before != after).ravel().tolist()
    assert rows and min(rows) >= 20 - 6 and max(rows) <= 20 + 8  # as `speech_window` says


def test_a_half_open_gate_is_half_way():
    made, features = window(0.0), torch.randn(7, 6)
    wide = window(4.0)(features)
    torch.testing.assert_close(made(features), (made.rest + wide) / 2)


def test_lips_are_as_filmed_near_speech_and_rest_far_from_it():
    speaking = np.zeros(60, bool)
    speaking[20:40] = True
    mouth = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    rest = np.float32([3, -3])
    found, spoken = resting_in_silence(mouth, speaking, rest)
    np.testing.assert_array_equal(found[18:42], mouth[18:42])
    np.testing.assert_allclose(found[:15], np.tile(rest, (15, 1)), atol=1e-6)
    np.testing.assert_allclose(found[16], (mouth[16] + rest) / 2, atol=1e-6)
    assert (spoken[20:40] == 1).all() and (spoken[:15] == 0).all() and np.isnan(spoken[15:20]).all()


def test_a_take_in_which_nobody_is_heard_says_nothing_about_silence():
    mouth = np.ones((30, 2), np.float32)
    found, spoken = resting_in_silence(mouth, np.zeros(30, bool), np.zeros(2, np.float32))
    assert found is mouth and np.isnan(spoken).all()


@pytest.mark.parametrize("seed", range(4))
def test_noise_lies_around_and_under_speech_at_its_level(seed):
    speech = 0.1 * np.sin(np.arange(40 * SAMPLES_PER_FRAME) / 7).astype(np.float32)
    config = NoiseConfig(snr_db=(12.0, 12.0))
    noisy = in_noise(speech, np.ones(40, bool), config, seed)
    assert (noisy.start, noisy.stop - noisy.start) == (10, 40)
    assert len(noisy.samples) == (10 + 40 + 15) * SAMPLES_PER_FRAME
    start = noisy.start * SAMPLES_PER_FRAME
    rest = noisy.samples.copy()
    rest[start : start + len(speech)] -= speech
    assert 20 * np.log10(np.sqrt(np.square(rest).mean()) / np.sqrt(np.square(speech).mean())) == (
        pytest.approx(-12, abs=0.1)
    )
    again = in_noise(speech, np.ones(40, bool), config, seed)
    np.testing.assert_array_equal(noisy.samples, again.samples)


def test_sounds_alone_lie_in_the_range_of_levels():
    config = NoiseConfig(sounds=16, seconds=0.5, level_db=(-50.0, -20.0))
    sounds = list(sounds_alone(config))
    assert len(sounds) == 16 and all(len(sound) == 8000 for sound in sounds)
    levels = [20 * np.log10(np.sqrt(np.square(s).mean()) + 1e-12) for s in sounds if s.any()]
    assert min(levels) > -52 and max(levels) < -19.9 and len(levels) == 15  # one is silence
    assert not sounds[0].any()


def test_recordings_are_cut_into_pieces_and_heard_alone_and_under_speech():
    config = NoiseConfig(sounds=2, seconds=0.5, level_db=(-30.0, -30.0), snr_db=(12.0, 12.0))
    music = np.sin(np.arange(20_500) / 5).astype(np.float32)
    pieces = pieces_of([music, np.zeros(9000, np.float32), music[:7000]], config)
    assert [len(piece) for piece in pieces] == [8000, 8000]
    alone = list(sounds_alone(config, pieces))
    assert len(alone) == 4
    for sound, first in zip(alone[2:], (0, 8000), strict=True):
        np.testing.assert_allclose(
            sound, music[first : first + 8000] * 10**-1.5 * 2**0.5, atol=2e-4
        )
    speech, speaking = np.full(8 * 640, 0.1, np.float32), np.ones(8, bool)
    in_music = 0
    for seed in range(40):
        noisy = in_noise(speech, speaking, config, seed, pieces).samples
        rest = noisy - in_noise(speech, speaking, config, seed, pieces[:0]).samples
        in_music += bool(np.abs(rest).max() > 1e-6)
    assert 10 < in_music < 30


@pytest.mark.parametrize("seed", range(8))
def test_a_word_is_cut_from_within_speech_and_has_silence_around_it(seed):
    samples = np.arange(1, 64_001, dtype=np.float32)  # every sample tells its place
    speaking = np.zeros(100, bool)
    speaking[40:60] = True
    asked = np.arange(100, dtype=np.int8)  # every row tells its place as well
    word, said, row = a_word_of(Piece(samples, speaking, asked), seed)
    np.testing.assert_array_equal(row[row > 0], word.reshape(-1, 640)[row > 0, 320] // 640)
    assert row[4] in asked[40:60]
    assert len(word) == 640 * len(said)
    assert not word[: 4 * 640].any() and not word[-15 * 640 :].any()
    assert not said[:4].any() and said[4] and not said[-15:].any()
    assert 0.3 <= (len(said) - 19) * 0.04 <= 1.5
    middle = word[4 * 640 + 200 : -15 * 640 - 200]  # the rest fades
    assert (np.diff(middle) == 1).all()
    first = int(middle[0] - 201) // 640
    np.testing.assert_array_equal(said[4:-15], speaking[first : first + len(said) - 19])
    again, *_ = a_word_of(Piece(samples, speaking, asked), seed)
    np.testing.assert_array_equal(word, again)


def test_a_pause_within_a_word_is_no_speech():
    speaking = np.tile([True, False, False, False], 25)
    for seed in range(8):
        piece = Piece(np.ones(64_000, np.float32), speaking, np.zeros(100, np.int8))
        said = a_word_of(piece, seed).speaking
        assert 0.2 < said[4:-15].mean() < 0.35


def test_recordings_of_speech_are_cut_in_pieces_of_ten_seconds():
    loud = 0.3 * np.sin(np.arange(16_000 * 12 + 5) / 5).astype(np.float32)
    quiet = np.zeros(16_000 * 10, np.float32)
    samples = np.concatenate((loud[: 16_000 * 9], quiet, quiet, loud))
    pieces = pieces_of_speech(samples)
    assert [len(piece.speaking) for piece in pieces] == [250, 250, 250, 26]
    for piece, speaking, _ in pieces:
        assert len(piece) == 640 * len(speaking) and speaking.sum() >= 5
    assert pieces[0][1][10:215].all() and not pieces[0][1][235:].any()


def test_recordings_in_which_nobody_is_heard_are_refused():
    still = np.zeros(32_000, np.float32)
    with pytest.raises(InputError, match="in none of the 1 recordings given with --also-spoken is"):
        pieces_of_recordings([still])


def test_takes_without_speech_are_drawn_a_quarter_to_a_half_of_the_time():
    features, mouth = np.zeros((30, 2), np.float32), np.zeros((30, 1), np.float32)
    speech = Heard(features, mouth, np.ones(30, np.float32))
    unknown = Heard(features, mouth)
    silence = silent_take(features, np.zeros(1, np.float32))
    weights = drawing_weights([speech, unknown, speech, silence])
    assert weights.tolist() == [30, 30, 30, 30]
    few = drawing_weights([speech] * 60 + [silence, silence])
    assert float(few[-2:].sum() / few.sum()) == pytest.approx(0.25)
    many = drawing_weights([speech] + [silence] * 60)
    assert float(many[1:].sum() / many.sum()) == pytest.approx(0.5)
    some = drawing_weights([speech] * 3 + [silence] * 2)
    assert some.tolist() == pytest.approx([30] * 5)
    assert drawing_weights([silence, silence]).tolist() == [30, 30]


def test_speech_that_nobody_filmed_is_a_fifth_of_all_speech_at_most():
    features, rest = np.zeros((30, 2), np.float32), np.zeros(1, np.float32)
    filmed = Heard(features, np.zeros((30, 1), np.float32), np.ones(30, np.float32))
    unfilmed = unfilmed_take(features, np.arange(30) < 15, rest)
    assert drawing_weights([filmed] * 9 + [unfilmed]).tolist() == pytest.approx([30] * 10)
    many = drawing_weights([filmed] * 2 + [unfilmed] * 80)
    assert float(many[2:].sum() / many.sum()) == pytest.approx(0.2)
    silence = silent_take(features, rest)
    three = drawing_weights([filmed] * 2 + [unfilmed] * 80 + [silence] * 90)
    assert float(three[82:].sum() / three.sum()) == pytest.approx(0.5)
    assert float(three[2:82].sum() / three[:82].sum()) == pytest.approx(0.2)


def test_of_speech_that_nobody_filmed_only_the_rest_is_known():
    speaking = np.zeros(40, bool)
    speaking[10:25] = True
    rest = np.float32([2.0, -1.0])
    take = unfilmed_take(np.zeros((40, 3), np.float32), speaking, rest)
    assert np.isnan(take.mouth[5:30]).all()
    np.testing.assert_array_equal(take.mouth[:5], np.tile(rest, (5, 1)))
    np.testing.assert_array_equal(take.spoken[10:25], np.ones(15))
    assert (take.spoken[:5] == 0).all() and np.isnan(take.spoken[5:10]).all()
    few = unfilmed_take(np.zeros((40, 3), np.float32), np.arange(40) < 4, rest)
    assert (few.spoken[:4] == 1).all() and np.isnan(few.spoken[4:]).all()
    assert np.isnan(few.mouth).all()


@pytest.mark.parametrize("pauses", [False, True])
def test_speech_that_nobody_filmed_teaches_the_gate_and_how_a_mouth_rests(pauses):
    torch.manual_seed(0)
    module = SpeechWindow(SpeechWindowConfig(6, 3, hidden=8)).eval()  # no dropout, no noise
    basis = np.random.default_rng(0).normal(size=(3, 478, 3))
    mouth = MouthModel(np.zeros((478, 3)), basis, np.zeros((1434, 3)))
    features = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
    speaking = np.arange(60) < (20 if pauses else 60)
    take = unfilmed_take(features, speaking, np.zeros(3, np.float32))
    task = MouthTask(module, mouth, [take], [])
    loss, figures = task.loss(0)
    assert bool(figures["lips_mm"]) == pauses
    loss.backward()
    assert module.heed.weight.grad.abs().max() > 0
    assert bool(module.code.weight.grad.abs().max()) == pauses


def test_what_counts_as_closed_does_not_depend_on_how_much_rest_is_heard():
    module = SpeechWindow(SpeechWindowConfig(2, 1, hidden=8))
    basis = np.zeros((1, 478, 3))
    basis[0, LOWER_INNER_LIP, 1] = 1
    mouth = MouthModel(np.zeros((478, 3)), basis, np.zeros((1434, 1)))
    codes = np.random.default_rng(0).uniform(0, 1, (500, 1)).astype(np.float32)
    speech = Heard(np.zeros((500, 2), np.float32), codes, np.ones(500, np.float32))
    rest = silent_take(np.zeros((5000, 2), np.float32), np.full(1, 0.05, np.float32))
    alone, beside = (MouthTask(module, mouth, heard, []) for heard in ([speech], [speech, rest]))
    assert 0 < alone.closed.sum() < 200
    assert torch.equal(beside.closed[:500], alone.closed) and not beside.closed[500:].any()


def test_impossible_numbers_of_sounds_are_refused():
    with pytest.raises(InputError, match="-1 sounds were asked for: give 0 to 100000"):
        NoiseConfig(sounds=-1)


def test_no_other_speech_is_put_under_a_take():
    usual = AvatarRecipe()
    with pytest.raises(InputError, match=r"--voice.babble is 0.5, but a take is heard alone"):
        replace(usual, voice=replace(usual.voice, babble=0.5))
