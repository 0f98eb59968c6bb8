import numpy as np
import pytest
import torch

from se4lip.head.gate import NOISE_LIMIT
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.train.avatar_wary import LEAST_ROWS, learn_noise


def window(speech):
    made = SpeechWindow(SpeechWindowConfig(3, 2, hidden=4))
    made.normalise_by(torch.from_numpy(np.concatenate(speech)))
    return made


def takes(mean, lengths, seed):
    random = np.random.default_rng(seed)
    return [random.normal(mean, 1.0, (length, 3)).astype(np.float32) for length in lengths]


def log_odds(made, features):
    with torch.inference_mode():
        rows = made.normalised(torch.from_numpy(features))
        return (rows @ made.noise_weight + made.noise_bias).numpy()


@pytest.mark.parametrize("noisy_rows", [300, 30_000])
def test_noise_is_told_from_speech_whatever_there_is_more_of(noisy_rows):
    speech, noise = takes((5, 0, 0), (1000, 2000), 0), takes((8, 0, 0), (noisy_rows,), 1)
    made = window(speech)
    silence = takes((5, 0, 0), (100,), 2)
    learn_noise(made, speech, silence, noise)
    # Of two equal bells three spreads apart it is as likely one as the other in the middle ...
    middle = np.array([[6.5, 0, 0]], np.float32)
    assert abs(log_odds(made, middle)[0]) < 0.5
    # ... and the log odds rise by the distance, three for each spread, less a little as penalty.
    rise = log_odds(made, middle + np.float32([1, 0, 0])) - log_odds(made, middle)
    assert 2.3 < rise[0] < 3.3


def test_a_little_silence_is_no_noise_though_it_is_unlike_speech():
    speech, noise = takes((0, 0, 0), (3000,), 0), takes((4, 4, 0), (900,), 1)
    silence = [np.tile(np.float32([5.5, 0, 0]), (30, 1))]
    made = window(speech)
    learn_noise(made, speech, silence, noise)
    assert log_odds(made, silence[0]).max() < 0


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_where_there_is_none_of_one_of_them_nothing_is_noise(missing):
    known = [takes((mean, 0, 0), (3000,), mean) for mean in (0, 3, 9)]
    made = window(known[0])
    learn_noise(made, *([] if i == missing else one for i, one in enumerate(known)))
    assert log_odds(made, known[2][0]).max() == -NOISE_LIMIT


@pytest.mark.parametrize(("rows", "learned"), [(LEAST_ROWS - 1, False), (LEAST_ROWS, True)])
def test_from_little_speech_nothing_is_learned(rows, learned):
    speech, silence, noise = (takes((mean, 0, 0), (rows,), mean) for mean in (0, 0, 9))
    made = window(speech)
    learn_noise(made, speech, silence, noise)
    assert made.knows_noise == learned
