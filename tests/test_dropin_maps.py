"""Maps from 512 numbers to what others read: fixed, orthonormal, lossless where there is room."""

import hashlib

import numpy as np
import pytest

from se4lip.dropin import maps


def features(frames: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(frames, 512))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 58, 64, 88, 512])
def test_rows_are_orthonormal(count):
    rows = maps.walsh_rows(count)
    np.testing.assert_allclose(rows @ rows.T, np.eye(count), atol=1e-12)


def test_fewer_rows_are_the_first_of_more():
    np.testing.assert_array_equal(maps.walsh_rows(58), maps.walsh_rows(88)[:58])


@pytest.mark.parametrize(("c", "j"), [(0, 0), (0, 2), (1, 5), (7, 511), (57, 300), (87, 123)])
def test_every_entry_has_its_closed_form(c, j):
    euler = pow(j + 1, (521 - 1) // 2, 521)  # Euler's criterion: 1 for residues, else 520
    legendre = 1 if euler == 1 else -1
    walsh = (-1) ** bin((317 * c % 512) & j).count("1")
    assert maps.walsh_rows(c + 1)[c, j] == pytest.approx(legendre * walsh / np.sqrt(512), rel=1e-15)


def test_the_fixed_rows_never_change():
    """A changed sign would make every model trained on our files deaf: keep the old rows."""
    signs = (maps.walsh_rows(512) > 0).astype(np.uint8)
    digest = hashlib.sha256(np.packbits(signs).tobytes()).hexdigest()
    assert digest == "61fdd4b3b39450e27c1e4f44209e9272301d8dfb20c5da96be0ce9b21dc87d31"


@pytest.mark.parametrize("count", [0, 513])
def test_no_more_orthonormal_rows_than_numbers(count):
    with pytest.raises(ValueError, match="1 to 512 can be orthonormal"):
        maps.walsh_rows(count)


@pytest.mark.parametrize("width", [58, 64, 88])
def test_distances_survive_narrowing_on_average(width):
    """Relative spread of a distance under k orthonormal rows of 512: sqrt((1 - k / 512) / 2 k)."""
    before, after = features(400, 1), maps.narrow(features(400, 1), width)
    pairs = np.arange(0, 400, 2)
    distance = np.linalg.norm(before[pairs] - before[pairs + 1], axis=1)
    kept = np.linalg.norm(after[pairs] - after[pairs + 1], axis=1)
    ratio = kept / distance * np.sqrt(512 / width) / maps.GAIN
    expected_spread = np.sqrt((1 - width / 512) / (2 * width))
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert ratio.std() == pytest.approx(expected_spread, rel=0.25)


@pytest.mark.parametrize("seed", range(5))
def test_motion_of_few_dimensions_survives_narrowing_whole(seed):
    """Sixteen directions, wherever they lie, stay distinct in the narrowest file (58 numbers)."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(512, 16)))
    stretch = np.linalg.svd(maps.walsh_rows(58) @ basis, compute_uv=False) * np.sqrt(512 / 58)
    assert stretch.min() > 0.3 and stretch.max() < 2


@pytest.mark.parametrize("convert", [maps.native, maps.wide, lambda x: maps.narrow(x, 88)])
def test_numbers_of_unit_features_have_unit_mean_square(convert):
    converted = convert(features(500))
    assert converted.dtype == np.float32
    assert np.mean(converted**2) == pytest.approx(1, abs=0.05)


def test_wide_rows_give_the_features_back():
    original = features(7)
    widened = maps.wide(original)
    assert widened.shape == (7, 1024)
    for half in np.split(widened, 2, axis=1):
        np.testing.assert_allclose(half / np.float32(maps.GAIN), original, rtol=1e-6)
    transpose = np.concatenate((np.eye(512), np.eye(512))) / (2 * maps.GAIN)
    np.testing.assert_allclose(widened @ transpose, original, rtol=1e-6, atol=1e-9)
