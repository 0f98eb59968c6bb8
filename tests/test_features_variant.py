"""Encoders beside the shipped one: they differ in what they say and in nothing else, and are
features that a head can hear."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.artifacts.avatar import load_avatar
from se4lip.bench.ablation_task import Budget, Heard, digest, load_pair, teach
from se4lip.bench.variants import SHIPPED, full_cross
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.features.catalogue import load_features
from se4lip.features.variant import Variant, VariantEncoder, weights_in
from se4lip.synthesis import speak_audio
from se4lip.train.avatar import train_avatar
from se4lip.train.avatar_noise import NoiseConfig
from se4lip.train.listener import listener_of_avatar
from se4lip.types import InputError

SILENT = {"report": lambda line: None}
SMALL = Variant(front="mfcc", hidden=64)  # quick to make


# --- variants -------------------------------------------------------------------------------------


def test_the_first_variant_is_the_shipped_encoder():
    """From the general front and net, with the shipped class's weights: the same numbers."""
    torch.manual_seed(0)
    shipped, variant = SpeechEncoder(SpeechEncoderConfig()).eval(), VariantEncoder(SHIPPED).eval()
    shipped.mean.normal_(-3, 0.5)
    shipped.scale.uniform_(0.3, 0.8)
    theirs = {
        name.replace("net.net.", "gru.").replace("net.attend.", "attend."): name
        for name in variant.state_dict()
    }
    variant.load_state_dict({ours: shipped.state_dict()[name] for name, ours in theirs.items()})
    assert set(theirs) == set(shipped.state_dict()), "a weight or a buffer has no counterpart"
    samples = 0.1 * torch.randn(16_000)
    with torch.inference_mode():
        expected = shipped.features(samples, 25)
        torch.testing.assert_close(variant(samples[None], 25)[0], expected)
        torch.testing.assert_close(variant(samples[None], 25, stride=3, first=4)[0], expected[4::3])
        torch.testing.assert_close(variant.features(samples, 25), expected)
    assert variant.drop.p == shipped.drop.p > 0


@pytest.mark.parametrize("front", ["stft", "logmel", "mfcc", "raw"])
def test_every_front_takes_off_the_channel_and_has_unit_spread(front):
    """Sound twice as loud is the same columns, once the channel is known; and statistics are those
    of what was heard, not those that another front would have."""
    torch.manual_seed(0)
    encoder = VariantEncoder(Variant(front=front, hidden=64)).eval()
    noise = torch.randn(1, 20 * 16_000)
    speech = 0.05 * noise * (2 + torch.sin(torch.arange(noise.shape[1]) / 2000))
    encoder.set_statistics([speech[0]])
    with torch.inference_mode():
        columns, louder = (encoder.columns(k * speech, 490)[0, 1000:] for k in (1, 2))
    assert (columns - louder).abs().mean() < 0.02, "without channel removal it is near one"
    assert columns.mean(0).abs().max() < 0.5
    assert 0.8 < columns.std(0).mean() < 1.2
    assert encoder.drop.p == 0.1


def test_statistics_follow_a_front_that_learns_and_no_other():
    for front, follows in (("raw", True), ("logmel", False)):
        encoder = VariantEncoder(Variant(front=front, hidden=64)).train()
        samples = 0.1 * torch.randn(2, 16_000)
        encoder.set_statistics(samples)
        before = encoder.mean.clone()
        encoder.columns(3 * samples, 20)
        assert torch.equal(encoder.mean, before) is not follows
        assert (encoder.mean - before).abs().max() < 0.1


FIVE_FRAMES = [one for one in full_cross() if one.window_frames == 5]


@pytest.mark.parametrize("variant", FIVE_FRAMES, ids=lambda one: one.name)
def test_a_variant_hears_its_window_and_nothing_later(variant):
    torch.manual_seed(0)
    encoder = VariantEncoder(replace(variant, hidden=64)).eval()
    samples = 0.1 * torch.randn(1, 12 * 640)
    changed = samples.clone()
    changed[:, 6 * 640 :] = 0.1 * torch.randn(1, 6 * 640)
    with torch.inference_mode():
        same = (encoder(samples, 12) - encoder(changed, 12)).abs().amax(-1)[0]
        strided = encoder(samples, 12, stride=2, first=3)
        torch.testing.assert_close(strided, encoder(samples, 12)[:, 3::2])
    first = 7 if variant.causal else 5  # the first whose window reaches the change
    assert same[:first].max() < 1e-6
    assert same[first : first + 3].min() > 1e-4


def test_all_variants_are_as_large():
    with torch.device("meta"):
        shipped = weights_in(SpeechEncoder(SpeechEncoderConfig()))
        sizes = {one.name: weights_in(VariantEncoder(one)) for one in full_cross()}
    assert len(sizes) == 96
    assert sizes[SHIPPED.name] == shipped
    assert max(sizes.values()) < 1.05 * min(sizes.values())


# --- as features ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    torch.manual_seed(0)
    speaking = torch.ones(40, dtype=torch.bool)
    clips = [Heard(0.1 * torch.randn(40 * 640), torch.randn(40, 147), speaking) for _ in range(4)]
    given = (SMALL, 0, Budget(2, 2, 8), clips, digest(clips), tmp_path_factory.mktemp("taught"))
    return teach(*given, **SILENT)[0]


def test_a_variant_is_features_by_its_file(taught, tmp_path):
    kind = load_features(f"variant:{taught}")
    samples = np.random.default_rng(0).normal(0, 0.1, 20_001).astype(np.float32)
    rows = kind(samples)
    assert rows.shape == (32, kind.identity.width) == (32, 512) and rows.dtype == np.float32
    pair, made, sha256 = load_pair(taught, torch.device("cpu"))
    with torch.inference_mode():
        expected = pair.speech(torch.from_numpy(samples)[None], 32)[0].numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert (kind.identity.sha256, kind.identity.name) == (sha256, made["name"])
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(taught.read_bytes())
    assert load_features(f"variant:{taught}", moved).identity == kind.identity
    assert kind(np.zeros(0, np.float32)).shape == (0, 512)


def test_long_sound_in_pieces_gives_the_rows_of_the_whole(taught, monkeypatch):
    kind = load_features(f"variant:{taught}")
    samples = np.random.default_rng(0).normal(0, 0.1, 50 * 640).astype(np.float32)
    whole = kind(samples)
    monkeypatch.setattr("se4lip.features.variant._PIECE_FRAMES", 7)
    np.testing.assert_allclose(kind(samples), whole, atol=1e-6)


def test_files_that_are_no_variants_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"away.safetensors of .* give --feature-weights"):
        load_features(f"variant:{tmp_path}/away.safetensors")
    with pytest.raises(InputError, match="names no file: give variant:FILE"):
        load_features("variant:")
    with pytest.raises(InputError, match="holds encoder weights, needed are encoder-variant"):
        from se4lip.artifacts.encoder import shipped_encoder

        load_features(f"variant:{shipped_encoder()}")


def test_a_head_hears_a_variant(taught, tmp_path):
    """It is trained on the features, names them, and finds them again to speak."""
    recipe = puppet.smallest_recipe(
        speech_steps=2, picture_steps=1, voices=0, noise=NoiseConfig(sounds=1)
    )
    dataset = puppet.make_dataset(tmp_path)
    name = f"variant:{taught}"
    head = load_avatar(train_avatar(dataset, tmp_path / "head", recipe, features=name, **SILENT))
    assert head.encoder == load_features(name).identity and head.head.feature_width == 512
    assert listener_of_avatar(head).identity == head.encoder
    (rows,) = speak_audio._heard(head, next((tmp_path / "videos").glob("*.mp4")), None, None)
    assert rows.shape[1] == 512
