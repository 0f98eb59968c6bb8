"""What one head knows of hearing, handed on to another mouth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.artifacts.avatar import SHIPPED, load_avatar
from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity
from se4lip.face.expression import MouthModel
from se4lip.head.gate import opened
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.train.avatar import AvatarRecipe, train_avatar
from se4lip.train.avatar_again import relisten
from se4lip.train.hearing_of_another import gated_by, handed_on, known_by
from se4lip.types import InputError

HIDDEN = 128  # of the shipped head


def orthonormal(width: int, seed: int) -> np.ndarray:
    moves = np.random.default_rng(seed).normal(size=(478 * 3, width))
    return np.linalg.qr(moves)[0]


def mouth_of(directions: np.ndarray, scale: float = 1.0) -> MouthModel:
    """A mouth that moves along orthonormal ``directions``, ``scale`` cm a unit."""
    basis = scale * directions.T.reshape(-1, 478, 3)
    shape = np.random.default_rng(9).normal(size=(478, 3))
    return MouthModel(shape, basis, directions / scale)


def window_of(width: int, seed: int = 0) -> SpeechWindow:
    torch.manual_seed(seed)
    window = SpeechWindow(SpeechWindowConfig(16, width, 8))
    window.rest.copy_(torch.randn(width))
    window.normalise_by(torch.randn(50, 16) * 3 + 1)
    torch.nn.init.normal_(window.attention.weight)  # so that what attention sees matters
    return window.eval()


def moved_cm(window: SpeechWindow, mouth: MouthModel, features: torch.Tensor) -> np.ndarray:
    """How far every landmark is from where it rests, but at the ends, beyond which attention sees
    codes of nought, which are another mouth for everybody."""
    with torch.inference_mode():
        codes = (window(features) - window.rest)[8:-8]
    return np.einsum("tk,kpi->tpi", codes.numpy(), mouth.basis_cm)


FEATURES = torch.randn(40, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("scale", [1.0, 0.2, 7.0])
def test_a_mouth_that_can_move_alike_moves_alike(scale):
    """Other numbers for the same motions, turned, scaled and shifted."""
    first = mouth_of(orthonormal(5, 0))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    second = mouth_of(orthonormal(5, 0) @ turn, scale)
    known = window_of(5)
    rest = np.random.default_rng(2).normal(size=5).astype(np.float32)
    window = handed_on(known, first, second, rest).eval()
    expected = moved_cm(known, first, FEATURES)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(moved_cm(window, second, FEATURES), expected, atol=2e-5)
    np.testing.assert_allclose(window.rest, rest)


def test_a_mouth_with_more_numbers_moves_alike_too():
    every = orthonormal(7, 0)
    known, rest = window_of(4), np.zeros(7, np.float32)
    first, second = mouth_of(every[:, :4]), mouth_of(every)
    window = handed_on(known, first, second, rest).eval()
    expected = moved_cm(known, first, FEATURES)
    np.testing.assert_allclose(moved_cm(window, second, FEATURES), expected, atol=2e-5)


def test_of_a_mouth_with_fewer_numbers_only_what_it_can_show_moves():
    """Attention is made even: it looks at codes, and the lesser mouth has lost some."""
    every = orthonormal(5, 0)
    known = window_of(5)
    torch.nn.init.zeros_(known.attention.weight)
    first, second = mouth_of(every), mouth_of(every[:, :2])
    window = handed_on(known, first, second, np.zeros(2, np.float32)).eval()
    shown = np.einsum("pk,qk->pq", every[:, :2], every[:, :2])
    expected = moved_cm(known, first, FEATURES).reshape(24, -1) @ shown
    found = moved_cm(window, second, FEATURES).reshape(24, -1)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_it_is_a_copy():
    known, mouth = window_of(5), mouth_of(orthonormal(5, 0))
    before = {name: value.clone() for name, value in known.state_dict().items()}
    window = handed_on(known, mouth, mouth, np.zeros(5, np.float32))
    for value in window.parameters():
        value.data.add_(1)
    assert all(torch.equal(before[name], value) for name, value in known.state_dict().items())


def test_the_shipped_head_tells_what_it_knows_of_the_shipped_encoder():
    known = known_by("auto", encoder_identity(None), HIDDEN)
    assert known is not None and known.name == SHIPPED
    assert known.sha256 == load_avatar(SHIPPED).sha256


def test_of_other_features_it_tells_nothing():
    other = EncoderIdentity("logmel", "ab" * 32, 80, "logmel")
    assert known_by("auto", other, HIDDEN) is None
    assert known_by("none", encoder_identity(None), HIDDEN) is None
    with pytest.raises(InputError, match="trained on se4lip features, and these are logmel"):
        known_by(SHIPPED, other, HIDDEN)


def test_hidden_numbers_must_be_as_many():
    mine = encoder_identity(None)
    assert known_by("auto", mine, HIDDEN + 1) is None
    message = "hears with 128 hidden numbers, and 129 were asked for: give --hidden 128"
    with pytest.raises(InputError, match=message):
        known_by(SHIPPED, mine, HIDDEN + 1)


def test_any_number_will_do_where_none_is_asked_for():
    known = known_by("auto", encoder_identity(None), None)
    assert known is not None and known.window.config.hidden == HIDDEN


def test_a_kept_gate_says_what_it_said_and_lips_move_as_the_others():
    gate, lips = window_of(3, seed=1), window_of(3, seed=2)
    for window in (gate, lips):
        torch.nn.init.normal_(window.heed.weight)
        torch.nn.init.normal_(window.noise_weight)
        window.eval()
    lips.feature_mean.copy_(gate.feature_mean)
    lips.feature_scale.copy_(gate.feature_scale)
    gate.certainty.fill_(1.5)
    gate.wariness.fill_(2.0)
    joined = gated_by(gate, lips).eval()
    features = torch.randn(
        200, gate.config.feature_width, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        codes, heed = joined.codes_and_heed(features)
        _, said = gate.codes_and_heed(features)
        share, spoken = opened(said), codes - joined.rest
        lips.heed.weight.zero_()
        lips.heed.bias.fill_(100.0)
        lips.certainty.zero_()
        lips.wariness.zero_()
        alone = lips(features) - lips.rest
    torch.testing.assert_close(heed, said, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(spoken, share[:, None] * alone, atol=1e-4, rtol=1e-4)
    assert 0.02 < share.mean() < 0.98


def test_a_gate_that_is_kept_again_brings_its_own_numbers_alone():
    gate, lips, others = (window_of(3, seed=seed).eval() for seed in (1, 2, 3))
    for window in (gate, lips, others):
        torch.nn.init.normal_(window.heed.weight)
    for window in (lips, others):
        window.feature_mean.copy_(gate.feature_mean)
        window.feature_scale.copy_(gate.feature_scale)
    once = gated_by(gate, lips).eval()
    again = gated_by(once, others).eval()
    assert again.config.hidden == gate.config.hidden + others.config.hidden < once.config.hidden * 2
    features = torch.randn(90, gate.config.feature_width)
    with torch.inference_mode():
        moved, said = again.codes_and_heed(features)
        torch.testing.assert_close(said, gate.codes_and_heed(features)[1], atol=1e-4, rtol=1e-5)
        straight = gated_by(gate, others).eval()(features)
    torch.testing.assert_close(moved, straight, atol=1e-4, rtol=1e-4)


def test_no_gate_is_kept_of_nothing(puppets, tmp_path):
    dataset, *_ = puppets
    recipe = replace(puppet.smallest_recipe(2, 2), keep_gate=True)
    with pytest.raises(InputError, match=r"^no gate can be kept, for hearing begins with nothing"):
        train_avatar(
            *(dataset, tmp_path / "out", recipe),
            features="logmel",
            hearing_of="none",
            report=lambda text: None,
        )


def test_a_kept_gate_is_not_made_more_certain():
    with pytest.raises(InputError) as wrong:
        AvatarRecipe(keep_gate=True, certainty=5.0)
    assert str(wrong.value) == (
        "with --keep-gate the gate stays as that head has it: leave --certainty out"
    )


def test_an_avatar_that_is_not_there_is_missed(tmp_path):
    with pytest.raises(InputError, match=r"gone\.safetensors"):
        known_by(tmp_path / "gone.safetensors", encoder_identity(None), HIDDEN)


@pytest.fixture(scope="module")
def puppets(tmp_path_factory):
    """A head of a drawn puppet that hears the shipped encoder, and its data set."""
    folder = tmp_path_factory.mktemp("known")
    data = puppet.make_dataset(folder)
    recipe = puppet.recipe((2, 2, 4, 5, 6), speech_steps=40, picture_steps=1)
    recipe = replace(recipe, hidden=HIDDEN, voices=0, noise=replace(recipe.noise, sounds=2))
    said: list[str] = []
    file = train_avatar(data, folder / "first", recipe, report=said.append)
    return data, recipe, file, said


def test_a_head_begins_with_what_the_shipped_one_knows(puppets):
    _, recipe, file, said = puppets
    assert f"hearing begins with what {SHIPPED} knows" in said
    kept, shipped = load_avatar(file).head.speech, load_avatar(SHIPPED).head.speech
    torch.testing.assert_close(kept.feature_mean, shipped.feature_mean, rtol=1e-2, atol=1e-2)
    assert (kept.project.weight - shipped.project.weight).abs().max() < 0.2  # 40 steps away
    # What noise is, a head of a few seconds takes on trust.
    torch.testing.assert_close(kept.noise_weight, shipped.noise_weight, rtol=0, atol=0)
    assert kept.knows_noise and kept.wariness == recipe.wariness


def test_a_head_may_begin_with_nothing_or_with_another(puppets, tmp_path):
    data, recipe, file, _ = puppets
    found = {}
    for given in ("none", str(file)):
        said: list[str] = []
        name = "nothing" if given == "none" else "another"
        made = relisten(data, tmp_path / name, recipe, file, report=said.append, hearing_of=given)
        found[name] = load_avatar(made).head.speech.project.weight
        assert any("hearing begins" in text for text in said) == (name == "another")
    first = load_avatar(file).head.speech.project.weight
    far = {name: float((weight - first).abs().mean()) for name, weight in found.items()}
    assert far["another"] < 0.3 * far["nothing"]


def test_a_run_that_began_otherwise_is_not_gone_on_with(puppets, tmp_path):
    data, recipe, file, _ = puppets
    relisten(data, tmp_path, recipe, file, report=lambda text: None)
    with pytest.raises(InputError, match="a run with other hearing_of, loop"):
        relisten(data, tmp_path, recipe, file, report=lambda text: None, hearing_of="none")
