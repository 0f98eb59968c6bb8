"""What experiments keep: heard once, under keys that tell everything apart."""

from dataclasses import replace

import numpy as np
import pytest

import puppet
from se4lip.bench.memory import Memory, digest_of
from se4lip.features.acoustic import Mfcc
from se4lip.features.base import hear_all


class Packing:
    """Hears only in packs, and says so."""

    identity = Mfcc().identity
    packs_s = 3.0

    def __init__(self):
        self.calls = []

    def __call__(self, samples):
        self.calls.append(len(samples))
        assert len(samples) <= 3.0 * 16_000
        return np.add.reduceat(samples, np.arange(0, len(samples), 640))[:, None] / 640


def test_many_clips_in_one_window_get_their_own_rows():
    clips = [np.full(n, i + 1, np.float32) for i, n in enumerate((9000, 640, 12_345, 16_000))]
    kind = Packing()
    found = hear_all(kind, clips)
    assert len(kind.calls) == 2
    for i, (clip, rows) in enumerate(zip(clips, found, strict=True)):
        assert len(rows) == -(-len(clip) // 640)
        np.testing.assert_allclose(rows[: len(clip) // 640], i + 1)


def test_memory_hears_a_clip_once(tmp_path):
    kind, memory = Packing(), Memory(tmp_path)
    clips = [np.ones(5000, np.float32), np.zeros(700, np.float32)]
    first = memory.rows(kind, clips)
    again = memory.rows(kind, clips[::-1])
    assert len(kind.calls) == 1
    np.testing.assert_array_equal(first[0], again[1])


def test_memory_tells_in_which_circumstances_figures_were_made(tmp_path, monkeypatch):
    Memory(tmp_path).figures(lambda: {"a": 1}, "key")
    made = {"commit": "1234567, changed since", "versions": {"torch": "9"}}
    monkeypatch.setattr("se4lip.bench.memory.provenance", lambda: made)
    memory = Memory(tmp_path)
    assert memory.figures(lambda: pytest.fail("made again"), "key") == {"a": 1}
    memory.figures(lambda: {"a": 2}, "another")
    memory.figures(lambda: {"a": 3}, "a third")
    (old, of_old), (new, of_new) = memory.told()
    assert (of_old, of_new, new) == (1, 2, made) and old["processor"]


def test_a_digest_tells_arrays_and_their_fields_apart():
    one = {"a": np.zeros(2)}
    track = puppet.track(5)
    assert digest_of(track) == digest_of(puppet.track(5)) != digest_of(puppet.track(6))
    assert digest_of(replace(track, width_px=1)) != digest_of(track)
    assert digest_of(np.zeros(4)) != digest_of(np.zeros((2, 2)))
    assert digest_of([1, 2], 3) != digest_of([1], 2, 3) and digest_of(one) == digest_of(one)
