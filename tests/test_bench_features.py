"""``se4lip bench features`` on a drawn puppet: it ends, goes on, and asks what it says it asks.

The figures themselves are held to known answers in test_bench_figures.py, what is asked about in
test_bench_asked.py.
"""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import puppet
from se4lip.artifacts.avatar import load_avatar, save_avatar
from se4lip.bench import drawn as drawn_bench
from se4lip.bench import hearing as hearing_bench
from se4lip.bench.asked import OWN, VOICES, folds
from se4lip.bench.features import compare_features
from se4lip.bench.features_config import FeaturesConfig
from se4lip.bench.heads import opened, person_digest
from se4lip.bench.memory import Memory
from se4lip.face.tracker import Face
from se4lip.features.acoustic import Mfcc
from se4lip.io.dataset import open_dataset
from se4lip.io.video import read_frames
from se4lip.train.avatar import AvatarRecipe, train_avatar
from se4lip.train.avatar_material import framed_pictures
from se4lip.train.avatar_nerf import NerfRecipe
from se4lip.types import InputError

_NERF = NerfRecipe(texels_per_px=0.3, curves=2, patch_px=16, survey_every=2)
RECIPE = puppet.smallest_recipe(
    speech_steps=5,
    picture_steps=2,
    nerf=replace(_NERF, pictures=replace(_NERF.pictures, steps=2, validate_every=2)),
)
SMALL = FeaturesConfig(
    features=("logmel", "mfcc"), seeds=2, steps=30, voices=1, sounds=3, folds=2, drawn_takes=2
)
SILENT = {"report": lambda line: None}


class PuppetTracker:
    """Finds the puppet by its skin, and how far its mouth is open by how much in it is dark."""

    name = "puppet's 1"

    def track(self, rgb):
        skin = (rgb[..., 0] > 170) & (rgb[..., 1] > 120) & (rgb[..., 0] > rgb[..., 1] + 20)
        y, x = np.nonzero(skin if skin.any() else np.ones_like(skin))
        left, right, top, bottom = x.min(), x.max() + 1, y.min(), y.max() + 1
        scale = [(right - left) / 14, (bottom - top) / 18]
        row, column = (top + bottom) / 2 + 3 * scale[1], (left + right) / 2
        mouth = rgb[int(row) : int(row + 4 * scale[1]) + 1, int(column - 2) : int(column + 3)]
        points = puppet.points_cm(np.array([1.6 * (255 - mouth.mean()) / 255]))[0]
        points = points * [*scale, scale[0]] + [column, (top + bottom) / 2, 0]
        shapes = np.zeros(52, np.float32)
        return [Face(points.astype(np.float32), shapes, np.eye(4, dtype=np.float32))]


@pytest.fixture(autouse=True)
def no_certainty_is_asked(monkeypatch):
    """After so few steps no window is certain that anybody speaks, and all would rest alike."""
    monkeypatch.setattr(hearing_bench, "AvatarRecipe", partial(AvatarRecipe, certainty=0.0))


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A data set, and a head of each renderer."""
    folder = tmp_path_factory.mktemp("bench")
    dataset = puppet.make_dataset(folder)
    made = [
        train_avatar(
            *(dataset, folder / renderer, RECIPE),
            features=folder / "features",
            renderer=renderer,
            **SILENT,
        )
        for renderer in ("splat", "nerf")
    ]
    return dataset, made


def run(heads, folder, config=SMALL, tracker=None, phones=None, **more):
    dataset, made = heads
    return compare_features(
        *(dataset, made, [dataset], phones, folder / "work", folder / "results", tracker, config),
        **SILENT | more,
    )


@pytest.mark.slow
def test_lips_are_told_once_and_drawn_ones_head_by_head(heads, tmp_path, monkeypatch):
    (tmp_path / "phones").mkdir()
    for clip in ("take00", "take01"):
        (tmp_path / "phones" / f"{clip}.txt").write_text("0.1 0.9 B\n2.1 2.9 AE\n")
    given = {"tracker": PuppetTracker(), "grid": tmp_path / "grid", "phones": tmp_path / "phones"}
    drawn_takes, figures = [], drawn_bench.Stage._figures

    def spied(stage, real, hearing, *rest):
        drawn_takes.append((real.take, hearing.lesson.takes))
        return figures(stage, real, hearing, *rest)

    monkeypatch.setattr(drawn_bench.Stage, "_figures", spied)
    page = run(heads, tmp_path, **given)
    text, found = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    rows = {(row["head"], row["set"], row["features"], row["seed"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"])
    renderers = {head for head, *_ in rows if head}
    assert sorted(head.split()[0] for head in renderers) == ["nerf", "splat"]
    sets = {None: {OWN, VOICES, "dataset"}, **{head: {OWN, VOICES} for head in renderers}}
    assert set(rows) == {
        (head, what, name, seed)
        for head, asked in sets.items()
        for what in asked
        for name in SMALL.features
        for seed in (0, 1)
    }
    # The puppet's sound is as loud as its mouth is open: either feature tells it.
    own = [clips["clips"].values() for (head, what, *_), clips in rows.items() if what == OWN]
    opening = [one["aperture_correlation"] for clips in own[:4] for one in clips]
    assert np.nanmean(np.array(opening, float)) > 0.5
    assert len(own[0]) == 4, "two recordings of 4 s in blocks of 2 s, all asked about"
    drawn = [row["clips"] for (head, *_), row in rows.items() if head]
    assert all(len(clips) == 2 and len({c.split()[0] for c in clips}) == 2 for clips in drawn)
    one = next(iter(drawn[0].values()))
    assert one["psnr_mouth_db"] > 5 and one["judge"]["frames"] == one["real_judge"]["frames"] > 0
    # What learned to hear is one for both heads, and what is drawn of it is not.
    learned = list((tmp_path / "work" / "hearings").glob("*/window.safetensors"))
    assert len(learned) == 2 * 2 * 2, "features, seeds, folds"
    assert len({json.dumps(clips) for clips in drawn}) == len(drawn) == 2 * 2 * 2 * 2
    assert len(drawn_takes) == 2 * len(drawn)
    for take, taught in drawn_takes:
        of_clip = [one for one in taught if one.clip == take.clip]
        assert all(one.stop <= take.start or one.start >= take.stop for one in of_clip)

    for told in (
        "## mouth codes, any renderer: same speaker (4 clips of 2 recordings)",
        "drawn here",  # a portrait's looks saw everything
        "too few recordings",
        "Second judge of logmel, mfcc: not computed: the second judge may not judge",
        "LPIPS is not computed",
        "at lag 0",
        "the real video",
        "commit",
    ):
        assert told in text, told
    assert {gain["over"] for gain in found["gains"]} == {"mfcc"}
    assert found["figures_made"][0]["figures"] > 8
    assert "numba" in found["figures_made"][0]["versions"]
    for part in ("bars", "gains"):
        assert page.with_name(f"{page.stem}-{part}.png").stat().st_size > 1000
    grids = sorted((tmp_path / "grid").glob("*.mp4"))
    assert len(grids) == 2
    person, (take, *_) = load_avatar(heads[1][0]).person, folds(open_dataset(heads[0]), SMALL)[0][1]
    (real,) = framed_pictures(open_dataset(heads[0]), take, person.framing, [0])
    shown = next(read_frames(grids[0]))[:64, :64]
    assert abs(shown[:40].astype(int) - real[:40]).mean() < 12, "the filmed person stands first"

    before = [file.stat().st_mtime_ns for file in grids]
    monkeypatch.setattr(hearing_bench, "learn_to_hear", lambda *given: pytest.fail("learned again"))
    monkeypatch.setattr(drawn_bench, "drawn_with", lambda *given: pytest.fail("drawn again"))
    monkeypatch.setattr(hearing_bench, "_lips_of_part", lambda *given: pytest.fail("judged again"))
    monkeypatch.setattr(Mfcc, "__call__", lambda *given: pytest.fail("heard again"))
    again = run(heads, tmp_path, **given)
    assert json.loads(again.with_suffix(".json").read_text())["rows"] == found["rows"]
    assert [file.stat().st_mtime_ns for file in grids] == before


def test_a_run_that_was_stopped_goes_on_where_it_was(heads, tmp_path, monkeypatch):
    dataset, made = heads
    config = replace(SMALL, seeds=1, drawn_takes=1)
    real, calls = drawn_bench.drawn_with, []

    def dies(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(drawn_bench, "drawn_with", dies)
    few = dataset, made[:1]
    with pytest.raises(KeyboardInterrupt):
        run(few, tmp_path, config, PuppetTracker())
    monkeypatch.setattr(hearing_bench, "learn_to_hear", lambda *given: pytest.fail("learned again"))
    shares = []
    run(few, tmp_path, config, PuppetTracker(), on_progress=shares.append)
    assert len(calls) == 4 + 1, "of four drawn clips three were kept, the last is drawn again"
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)


def test_windows_begin_with_what_their_own_features_taught_elsewhere(heads, tmp_path, monkeypatch):
    """Once for each kind of features, with the same for every fold."""
    dataset, made = heads
    config = replace(SMALL, seeds=1, steps=4, drawn_takes=0)
    real, begun = hearing_bench.learn_to_hear, []

    def spied(person, voices, held_out, listener, *rest, known):
        window = real(person, voices, held_out, listener, *rest, known=known)
        begun.append((listener.identity.features, known, window))
        return window

    monkeypatch.setattr(hearing_bench, "learn_to_hear", spied)
    few = dataset, made[:1]
    plain = run(few, tmp_path, config)
    assert len(begun) == 2 * 2 and all(known is None for _, known, _ in begun)
    begun.clear()
    page = run(few, tmp_path, config, begun_with=(dataset, made[0]))
    assert page.name == f"features-{dataset.name}-after-{dataset.name}.md" != plain.name
    assert "Begun with what others taught" in page.read_text()
    assert "Begun with" not in plain.read_text()
    for name in config.features:
        (_, nothing, first), *later = [one for one in begun if one[0] == name]
        assert nothing is None and len(later) == config.folds
        for _, known, _ in later:
            kept, taught = known.window.state_dict(), first.state_dict()
            assert all(torch.equal(kept[key], taught[key]) for key in taught)
    monkeypatch.setattr(hearing_bench, "learn_to_hear", lambda *given: pytest.fail("learned again"))
    run(few, tmp_path, config)
    run(few, tmp_path, config, begun_with=(dataset, made[0]))


def test_other_phones_are_other_figures_and_no_new_lesson(heads, tmp_path, monkeypatch):
    config = replace(SMALL, features=("logmel",), seeds=1, steps=2, drawn_takes=0)
    phones = tmp_path / "phones"
    phones.mkdir()

    def bilabials(said):
        (phones / "take00.txt").write_text(said)
        page = run((heads[0], heads[1][:1]), tmp_path, config, phones=phones)
        rows = json.loads(page.with_suffix(".json").read_text())["rows"]
        clips = [clip for row in rows if row["set"] == OWN for clip in row["clips"].values()]
        return sum(clip["closed"] + clip["missed"] for clip in clips if "closed" in clip)

    assert bilabials("0.1 0.2 B\n") == 1
    monkeypatch.setattr(hearing_bench, "learn_to_hear", lambda *given: pytest.fail("learned again"))
    assert bilabials("0.1 0.2 B\n0.3 0.4 M\n") == 2


def test_heads_of_different_persons_are_refused(heads, tmp_path):
    avatar = load_avatar(heads[1][0])
    mouth = avatar.person.mouth
    other = replace(mouth, basis_cm=-mouth.basis_cm)
    stranger = replace(avatar, person=replace(avatar.person, mouth=other))
    save_avatar(tmp_path / "stranger.safetensors", stranger)
    with pytest.raises(InputError, match="different persons"):
        opened([heads[1][0], tmp_path / "stranger.safetensors"])
    with pytest.raises(InputError, match="no head was given"):
        opened([])
    both = opened(heads[1])
    digests = {person_digest(one.avatar.person) for one in both}
    assert len(digests) == 1, "made of one data set, whatever draws them"
    assert person_digest(stranger.person) not in digests


def test_the_shipped_head_is_found_by_its_name(heads, tmp_path):
    dataset, _ = heads
    page = run((dataset, ["grid-s1"]), tmp_path, replace(SMALL, seeds=1, steps=1, drawn_takes=0))
    assert "--features logmel mfcc" in page.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": ("logmel", "nonsense")}, "1 of the features are not here: nonsense"),
        ({"features": ("logmel", "logmel")}, "named twice"),
        ({"encoders": ("unseen",)}, "NAME=FILE is needed"),
        ({"encoders": ("unseen=nowhere.safetensors",)}, "se4lip:unseen"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_computed(
    heads, tmp_path, monkeypatch, change, said
):
    monkeypatch.setattr(Memory, "rows", lambda *given: pytest.fail("began"))
    with pytest.raises(InputError, match=said):
        run(heads, tmp_path, replace(SMALL, **change))


def test_sets_that_are_missing_are_said_before_anything_is_computed(heads, tmp_path, monkeypatch):
    monkeypatch.setattr(Memory, "rows", lambda *given: pytest.fail("began"))
    dataset, made = heads
    with pytest.raises(InputError, match="is no data set"):
        run(heads, tmp_path, same_lips=[tmp_path / "nothing"])
    with pytest.raises(InputError, match="two of the sets are called 'dataset'"):
        run(heads, tmp_path, same_lips=[dataset])
    with pytest.raises(InputError, match=r"is not in .*nowhere"):
        run(heads, tmp_path, tracker=PuppetTracker(), videos=tmp_path / "nowhere")
    (tmp_path / "phones").mkdir()
    with pytest.raises(InputError, match=r"holds no CLIP\.txt"):
        compare_features(
            *(dataset, made, [], tmp_path / "phones", tmp_path / "work", tmp_path / "out"),
            *(None, SMALL),
            **SILENT,
        )


def test_a_quick_comparison_needs_no_package_that_may_be_absent():
    assert FeaturesConfig().quick().features == ("se4lip", "logmel", "mfcc")
    assert FeaturesConfig().quick({"features"}).features == FeaturesConfig().features
