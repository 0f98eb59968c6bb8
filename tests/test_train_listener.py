"""Nobody's features are handicapped: the same voices, the same network, any scale and origin."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from se4lip.audio.augment import SpeechAugmentConfig
from se4lip.audio.revoice import in_another_voice
from se4lip.audio.spectrogram import SpectrogramConfig, power_spectrogram
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.train.listener import OTHER_VOICES, file_listener, listener_of, named_listener
from se4lip.types import InputError, Speech

SILENT = SpeechAugmentConfig(
    voice=0.0,
    equalizer_db=0.0,
    tilt_db=0.0,
    band_limit=0.0,
    reverberation=0.0,
    noise=0.0,
    babble=0.0,
    gain_db=(0.0, 0.0),
)


def vowel(pitch_hz=120.0, seconds=1.0):
    """Harmonics under one formant at 700 Hz."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    order = np.arange(1, int(7000 / pitch_hz))[:, None]
    size = 1 / (1 + ((order * pitch_hz - 700) / 150) ** 2)
    return (0.05 * (size * np.sin(2 * np.pi * order * pitch_hz * time)).sum(0)).astype(np.float32)


def test_files_of_unequal_width_are_refused(tmp_path):
    for name, width in (("a", 40), ("b", 48)):
        np.save(tmp_path / f"{name}.npy", np.zeros((5, width), np.float32))
    listener = file_listener(tmp_path)
    listener.features("a", Speech(np.zeros(3200, np.float32)))
    with pytest.raises(InputError) as error:
        listener.features("b", Speech(np.zeros(3200, np.float32)))
    assert str(error.value) == (
        f"features in {tmp_path} are 40 and 48 numbers wide, that of b 48: write all of them by "
        "one encoder"
    )


def taught(features, codes):
    """A window trained for some steps on these features, all randomness fixed."""
    torch.manual_seed(0)
    window = SpeechWindow(SpeechWindowConfig(features.shape[1], codes.shape[1], hidden=16))
    window.normalise_by(torch.from_numpy(features))
    optimizer = torch.optim.Adam(window.parameters(), 3e-3)
    for step in range(40):
        torch.manual_seed(step)
        loss = (window(torch.from_numpy(features)) - torch.from_numpy(codes)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return window.eval()


def test_scale_and_origin_of_features_make_no_difference():
    """Each column through another affine map: after training, the codes are the same."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 12)).astype(np.float32)
    codes = np.tanh(features[:, :3] + 0.3 * np.roll(features[:, 3:6], 2, axis=0))
    # Not mirrored: a mirrored column would need the mirrored draw of its first weight.
    scale = 10.0 ** rng.uniform(-4, 4, 12)
    mapped = (features * scale + scale * rng.normal(0, 20, 12)).astype(np.float32)
    ours, theirs = taught(features, codes), taught(mapped, codes)
    with torch.inference_mode():
        a = ours(torch.from_numpy(features))
        b = theirs(torch.from_numpy(mapped))
    off = (a - torch.from_numpy(codes)).abs().mean()
    assert off < 0.8 * np.abs(codes).mean(), "it has learned something"
    torch.testing.assert_close(a, b, atol=5e-3, rtol=0)


def test_a_column_that_never_changes_is_not_heard():
    features = torch.randn(50, 3)
    features[:, 1] = 7.25
    window = SpeechWindow(SpeechWindowConfig(3, 2)).eval()
    window.normalise_by(features)
    other = features.clone()
    other[:, 1] = -1e6
    torch.testing.assert_close(window(features), window(other))


def test_an_unchanged_voice_comes_back_as_it_was():
    sound = vowel()
    same = in_another_voice(sound, SILENT, seed=3)
    assert same.shape == sound.shape and same.dtype == np.float32
    assert np.abs(same - sound).max() < 1e-3


def test_another_voice_has_the_pitch_that_was_drawn():
    higher = replace(SILENT, voice=1.0, formants=(1.0, 1.0), pitch=(1.5, 1.5))
    power = power_spectrogram(
        torch.from_numpy(in_another_voice(vowel(200.0), higher, seed=0)), SpectrogramConfig()
    ).mean(0)
    # 300 Hz apart instead of 200: energy at 900 and 600, none between
    assert power[round(900 / 31.25)] > 10 * power[round(750 / 31.25)]
    assert power[round(600 / 31.25)] > 10 * power[round(750 / 31.25)]


def test_every_listener_hears_the_same_voices():
    heard = []

    class Ears:
        identity = None

        def __call__(self, samples):
            heard.append(samples)
            return np.zeros((1, 1), np.float32)

    speech = Speech(vowel())
    for _ in range(2):
        named_listener(Ears(), OTHER_VOICES).in_another_voice(speech, 5)
    named_listener(Ears(), OTHER_VOICES).in_another_voice(speech, 6)
    _, first, _, second, _, other = heard  # between them the silence each listens to first
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.01


def test_features_are_chosen_by_name_or_folder(tmp_path):
    speech = Speech(vowel(seconds=0.4))
    np.save(tmp_path / "clip.npy", np.ones((10, 4), np.float32))
    assert listener_of(features="logmel").identity.features == "logmel"
    assert listener_of(features="se4lip").identity == listener_of().identity
    assert listener_of(features=tmp_path).features("clip", speech).shape == (10, 4)
    assert listener_of(features=str(tmp_path)).identity == file_listener(tmp_path).identity
    ours = listener_of(features="se4lip").features("", speech)
    np.testing.assert_array_equal(ours, listener_of().features("", speech))
    with pytest.raises(InputError, match="no features 'nowhere'"):
        listener_of(features="nowhere")
