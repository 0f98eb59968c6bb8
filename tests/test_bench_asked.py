"""What ``se4lip bench features`` asks about, of which features, and how it is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import puppet
from se4lip.artifacts.encoder import save_encoder
from se4lip.bench.asked import asked_sets, folds
from se4lip.bench.drawn import judge_drawn
from se4lip.bench.features_config import FeaturesConfig
from se4lip.bench.grid import grid_of
from se4lip.bench.judges import loaded
from se4lip.bench.kinds import learned_from, ours, resolved
from se4lip.bench.memory import Memory
from se4lip.bench.record import options, table
from se4lip.commands.bench import _named
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.evaluation.rendered_takes import beside
from se4lip.evaluation.video import EvaluateConfig
from se4lip.io import dataset as store
from se4lip.io.dataset import open_dataset
from se4lip.train.avatar_material import Take, folds_of
from se4lip.types import InputError

SMALL = FeaturesConfig(folds=2)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return puppet.make_dataset(tmp_path_factory.mktemp("many"), recordings=20, frames=30)


# --- what is asked --------------------------------------------------------------------------------


def test_folds_ask_about_every_frame_once_and_never_teach_it(tmp_path):
    data = open_dataset(puppet.make_dataset(tmp_path))
    asked = []
    for train, test in folds_of(data, 2, block_s=1.0):
        taught = {(take.clip, i) for take in train for i in range(take.start, take.stop)}
        tested = [(take.clip, i) for take in test for i in range(take.start, take.stop)]
        assert taught.isdisjoint(tested)
        assert len(taught) + len(tested) == sum(map(data.frame_count, data.names))
        asked += tested
    assert len(asked) == len(set(asked)) == sum(map(data.frame_count, data.names))


def test_no_more_takes_teach_and_are_asked_than_were_wanted(many, tmp_path):
    few = FeaturesConfig(folds=2, train_takes=1, test_takes=1)
    for data in (open_dataset(many), open_dataset(puppet.make_dataset(tmp_path))):
        counts = [(len(teach), len(asked)) for teach, asked in folds(data, few)]
        assert counts == len(folds(data, SMALL)) * [(1, 1)]
        assert all(len(teach) > 1 and len(asked) > 1 for teach, asked in folds(data, SMALL))


def sets_of(data, memory, phones=None, same_lips=()):
    splits = folds(data, SMALL)
    return asked_sets(data, splits, [], same_lips, phones, memory, 60)


def test_phones_sound_and_lips_are_part_of_the_key(many, tmp_path):
    data, memory, phones = open_dataset(many), Memory(tmp_path), tmp_path / "phones"
    phones.mkdir()
    clips = [take.clip for take in folds(data, SMALL)[0][1]]
    for clip in clips:
        (phones / f"{clip}.txt").write_text("0.1 0.2 B\n")
    without, first = sets_of(data, memory), sets_of(data, memory, phones)
    assert sets_of(data, memory, phones)[0].digest == first[0].digest
    (phones / f"{clips[-1]}.txt").write_text("0.1 0.2 AE\n")
    changed = sets_of(data, memory, phones)
    digests = {one[0].digest for one in (without, first, changed)}
    assert len(digests) == 3 and first[0].digest != first[1].digest
    assert [one.unit for one in first[0].every] == clips, "each recording is a unit"


def test_lent_lips_are_the_persons_and_never_those_that_teach(many, tmp_path):
    data, memory = open_dataset(many), Memory(tmp_path)
    (train, test) = folds(data, SMALL)[0]
    for name, take in (("fair", test[0]), ("unfair", train[0])):
        lent = tmp_path / name
        (lent / "clips").mkdir(parents=True)
        clip = data.clip(take.clip)
        entries = []
        for voice in ("af", "bm"):
            made = f"{take.clip}-{voice}"
            given = (clip.speech.samples, clip.lips, clip.track)
            store.write_clip(lent, made, *given, {"voice": voice, "of": take.clip})
            entries.append(store.ClipEntry(made, 0, len(clip)))
        source = store.SourceEntry("kokoro", "kokoro", ".", 0, "", tuple(entries))
        store.write_index(lent, store.Index({}, (source,)))
    found = sets_of(data, memory, same_lips=[open_dataset(tmp_path / "fair")])[-1]
    assert [one.of_this_person for one in found.every] == [True, True]
    assert {one.unit for one in found.every} == {f"of {test[0].clip}"}, "two voices, one recording"
    with pytest.raises(InputError, match="lends the lips of 2 clips that teach"):
        sets_of(data, memory, same_lips=[open_dataset(tmp_path / "unfair")])


# --- which features -------------------------------------------------------------------------------


def test_other_encoders_of_ours_are_rows_of_their_own(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, SE4Lip(SE4LipConfig()), {"name": "mine", "data": [["lrc_ar", 1901]]})
    first, second = resolved(("logmel",), (f"unseen={file}",))
    assert (first.name, second.name) == ("logmel", "se4lip:unseen")
    assert second.is_ours and not first.is_ours and ours("se4lip") and ours("variant:a/b")
    assert second.about == "mine; learned from lrc_ar 1901"
    assert second.kind(np.zeros(6400, np.float32)).shape == (10, 512)


def test_whom_an_encoder_learned_from_is_read_from_its_file():
    assert learned_from({"name": "a", "data": ["grid_s1", "b"]}) == "a; learned from grid_s1, b"
    assert learned_from({"recipe": {"datasets": "s1"}}) == "unnamed; learned from s1"
    assert "does not say" in learned_from({"name": "a", "recipe": {"steps": 3}})


def test_a_quick_run_keeps_what_was_named_and_says_what_it_leaves_out():
    whole = FeaturesConfig(features=("se4lip", "whisper-base"), seeds=2)
    named = _named(["--features", "se4lip", "whisper-base", "--seeds=2", "--quick"])
    kept = whole.quick(named)
    assert (kept.features, kept.seeds) == (whole.features, 2) and kept.steps == 300
    assert kept.left_out(whole).startswith("steps 300 in place of 900, train takes 60 in place of")
    dropped = FeaturesConfig().quick()
    assert dropped.left_out(FeaturesConfig()).startswith(
        "no whisper-tiny.en and no whisper-base and no phoneme, seeds 1 in place of 3"
    )
    assert whole.left_out(whole) == ""
    with pytest.raises(InputError, match="--seeds 0 was asked for"):
        FeaturesConfig(seeds=0)


# --- pictures and words ---------------------------------------------------------------------------


def test_pictures_of_all_features_lie_beside_each_other():
    said = {name: [np.full((32, 32, 3), 9 * i, np.uint8)] for i, name in enumerate("abcd")}
    (frame,) = grid_of(said)
    assert frame.shape == (64, 96, 3)
    assert frame[0, 40, 0] == 9 and frame[40, 0, 0] == 27 and not frame[40, 40:].any()


def test_options_are_told_as_they_are_typed():
    assert options(FeaturesConfig()) == "the defaults"
    changed = replace(FeaturesConfig(), features=("se4lip", "mfcc"), train_takes=60)
    assert options(changed) == "`--features se4lip mfcc --train-takes 60`"


def test_a_table_shows_what_is_unknown_as_a_dash():
    assert table(["a", "b"], [["x", 0.12345], ["y", float("nan")], ["z", None]]).splitlines() == [
        "| a | b |",
        "|---|---|",
        "| x | 0.123 |",
        "| y | - |",
        "| z | - |",
    ]


def test_a_drawn_take_without_a_face_is_asked_for_nothing_and_ends_nothing():
    class Blind:
        name = "blind"

        def track(self, rgb):
            return []

    track, pictures = puppet.track(100), np.full((100, 32, 32, 3), 90, np.uint8)
    sound = np.random.default_rng(0).standard_normal(64_000).astype(np.float32) / 10
    followed = (track, np.ones(100, bool))
    one = beside(Take("a", 0, 100), pictures, pictures, sound, followed, Blind())
    assert not one.drawn_side.seen.any() and one.real_side.seen.all()
    assert np.isnan(judge_drawn(one)["lmd_px256"])
    assert judge_drawn(one)["face_seen"] == 0
    assert loaded(EvaluateConfig()).sync(one, one.drawn_side) == {}
    assert "judge" in loaded(EvaluateConfig()).sync(one, one.real_side)
