"""Exported heads: torch's Gaussians, of a recording at once and of one frame among few rows."""

import numpy as np
import pytest
import torch

from se4lip.export.check import deform_both, session
from se4lip.export.head import deformation_graph
from se4lip.head.hearing import hear, start_hearing
from se4lip.head.speech_window import FUTURE_CONTEXT, PAST_CONTEXT
from se4lip.synthesis.live_stream import LOOKAHEAD_FRAMES
from small_models import small_avatar


@pytest.fixture(scope="module", params=[False, True], ids=["rigid", "sways"])
def avatar(request):
    return small_avatar(request.param)


@pytest.fixture(scope="module")
def deformation(avatar):
    return session(deformation_graph(avatar.head).model({}))


def test_the_heads_gaussians_are_torchs(deformation, avatar):
    for found, expected in zip(*deform_both(deformation, avatar), strict=True):
        np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-5)  # scales of 20
        assert np.ptp(expected, axis=0).max() > 0.01  # something moves


def test_what_never_changes_in_a_head_comes_along(deformation, avatar):
    inputs = {
        "features": np.zeros((1, 1, 8), np.float32),
        "eyes": avatar.replay.eyes[None, :1],
        "look": avatar.replay.look[None, :1],
        "first": np.array([0]),
    }
    if avatar.head.config.sways:
        inputs["camera_from_head"] = avatar.replay.camera_from_head[None, :1]
    quats, share = deformation.run(["quats", "head_share"], inputs)
    np.testing.assert_array_equal(quats, avatar.head.raw["quats"].numpy())
    np.testing.assert_array_equal(share, avatar.head.head_share.clamp(0, 1).numpy())


@pytest.mark.parametrize("first", [17, 18, 19, 20])
def test_fewer_rows_than_frames_are_refused(deformation, avatar, first):
    """One row alone stood for every frame."""
    frames, replay = 4, avatar.replay
    motion = {"eyes": replay.eyes, "look": replay.look}
    if avatar.head.config.sways:
        motion["camera_from_head"] = replay.camera_from_head
    inputs = {name: np.stack([rows[:1]] * frames, 1) for name, rows in motion.items()}
    inputs |= {"features": np.zeros((1, 20, 8), np.float32), "first": np.array([first])}
    with pytest.raises(Exception, match=r"idx=2\d must be within"):
        deformation.run(["means"], inputs)
    assert len(deformation.run(["means"], inputs | {"first": np.array([16])})[0][0]) == frames


def means(graph, avatar, rows, first):
    motion = {"eyes": avatar.replay.eyes[None, :1], "look": avatar.replay.look[None, :1]}
    inputs = {"features": rows, "first": np.array([first]), **motion}
    return graph.run(["means"], inputs)[0]


@pytest.fixture(
    params=[
        (0.0, 0.0, 9, 7),
        (2.0, 0.0, 33, FUTURE_CONTEXT),
        (1.0, 2.0, PAST_CONTEXT, FUTURE_CONTEXT),
    ],
    ids=["plain", "certain", "wary"],
)
def hearing(request):
    """A head whose gate asks for that certainty, and so much more after noise, and the rows that
    then decide a frame."""
    certainty, wariness, before, after = request.param
    avatar = small_avatar()
    avatar.head.speech.certainty.fill_(certainty)
    avatar.head.speech.wariness.fill_(wariness)
    return avatar, session(deformation_graph(avatar.head).model({})), before, after


def test_the_rows_around_a_frame_decide_its_gaussians(hearing):
    """What docs/export.md tells a live program to give."""
    avatar, graph, before, after = hearing
    features = np.random.default_rng(0).standard_normal((1, 140, 8)).astype(np.float32)
    frame = 120
    alone = means(graph, avatar, features[:, frame - before : frame + after + 1], before)
    whole = means(graph, avatar, features, frame)
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-5)
    for row in (frame - 9, frame + 7):
        changed = features.copy()
        changed[:, row] += 3
        assert np.abs(means(graph, avatar, changed, frame) - alone).max() > 1e-6


def test_three_rows_after_a_frame_give_what_the_page_shows_after_200_ms(hearing):
    avatar, graph, before, _ = hearing
    head, frame = avatar.head, 120
    features = np.random.default_rng(1).standard_normal((140, 8)).astype(np.float32)
    rows = features[frame - before : frame + LOOKAHEAD_FRAMES + 1]
    assert (LOOKAHEAD_FRAMES, before + 1 + LOOKAHEAD_FRAMES) in {(3, 13), (3, 37), (3, 103)}
    _, codes = hear(head, start_hearing(head), torch.from_numpy(features), LOOKAHEAD_FRAMES)
    eyes, look = (torch.from_numpy(x[0]) for x in (avatar.replay.eyes, avatar.replay.look))
    with torch.inference_mode():
        expected = head.gaussians(codes[frame], eyes, look, torch.eye(3, 4)).means.numpy()
    found = means(graph, avatar, rows[None], before)[0, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    whole = means(graph, avatar, features[None], frame)[0, 0]
    assert np.abs(whole - expected).max() > 1e-4  # 360 ms would have told more
