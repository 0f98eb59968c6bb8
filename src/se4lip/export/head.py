"""The deformation network of a 3D Gaussian head as an ONNX graph: what is heard moves Gaussians.

Features, eyes and look go in, the Gaussians of every frame come out, in head coordinates. To carry
them into the camera and to draw them is the renderer's part, on the device.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from se4lip.export.onnx_graph import Graph, array, int64
from se4lip.head.gate import (
    CERTAIN_ROWS,
    NOISE_LIMIT,
    NOISE_MEMORY_ROWS,
    NOISE_ROWS,
    NOISY,
    STRETCH,
)
from se4lip.head.speech_window import WINDOW, SpeechWindow
from se4lip.head.splat.deform import CHANGES, COLOUR, LOG_SCALE, MEAN, OPACITY, Branch
from se4lip.head.splat.head import SplatHead
from se4lip.head.sway import FARTHEST, Sway, turn_and_place


def deformation_graph(head: SplatHead) -> Graph:
    """``features`` [B, T, D], ``eyes`` [B, U, E], ``look`` [B, U, L] to Gaussians of ``U`` frames;
    of a head that sways also ``camera_from_head`` [B, U, 3, 4].

    Frame 0 of ``eyes`` and the others is row ``first`` of ``features``: live, the rows around a
    frame go in, and that frame alone comes out.
    """
    g, config, raw = Graph("head-deformation"), head.config, head.raw
    count = config.runs[-1]
    g.input("features", np.float32, ("batch", "rows", config.feature_width))
    g.input("eyes", np.float32, ("batch", "frames", config.eye_width))
    g.input("look", np.float32, ("batch", "frames", config.look_width))
    g.input("first", np.int64, (1,))
    frames = g("Shape", "eyes", start=1, end=2)
    mouth = _codes(g, head.speech, "features")
    # Row by row, so that fewer rows than frames are refused. Of a slice one row alone would stand
    # for every frame, and a reshape to what was wanted is taken by onnxruntime for what is there.
    zero, one = (np.array(number, np.int64) for number in (0, 1))
    rows = g("Add", g("Range", zero, g("Squeeze", frames, int64(0)), one), "first")
    mouth = g("Gather", mouth, rows, axis=1)

    change = _changes(g, head.look, "look", count)
    if config.sways:
        g.input("camera_from_head", np.float32, ("batch", "frames", 3, 4))
        sway = _sway(g, head.sway, "camera_from_head")
        change = g("Add", change, _changes(g, head.swaying, sway, count))
    for branch, code in ((head.interior, mouth), (head.face, mouth), (head.eyes, "eyes")):
        change = g("Add", change, _changes(g, branch, code, count))

    def moved(name: str, columns: slice) -> str:
        value = g("Slice", change, int64(columns.start), int64(columns.stop), int64(3))
        return g("Add", value, array(raw[name].reshape(count, -1)))

    each = ("batch", "frames", count)
    g.output(moved("means", MEAN), "means", np.float32, (*each, 3))
    g.output(g("Exp", moved("log_scales", LOG_SCALE)), "scales", np.float32, (*each, 3))
    opacities = g("Squeeze", g("Sigmoid", moved("opacity_logits", OPACITY)), int64(3))
    g.output(opacities, "opacities", np.float32, each)
    g.output(moved("colours", COLOUR), "colours", np.float32, (*each, 3))
    # What never changes comes along, so that the file is all there is to know of the Gaussians.
    g.output(g("Identity", array(raw["quats"])), "quats", np.float32, (count, 4))
    share = array(head.head_share.clamp(0, 1))
    g.output(g("Identity", share), "head_share", np.float32, (count,))
    return g


def _sway(g: Graph, sway: Sway, pose: str) -> str:
    """Poses [B, U, 3, 4] to codes [B, U, 6]; before its limit a code is linear in the pose."""
    numbers = turn_and_place(torch.eye(12).view(12, 3, 4))
    x = g("MatMul", g("Reshape", pose, int64(0, 0, 12)), array(numbers))
    code = g("Div", g("Sub", x, array(sway.mean)), array(sway.spread))
    return g("Clip", code, np.float32(-FARTHEST), np.float32(FARTHEST))


def _codes(g: Graph, speech: SpeechWindow, features: str) -> str:
    """Features [B, T, D] to mouth codes [B, T, K]."""
    normal = g("Mul", g("Sub", features, array(speech.feature_mean)), array(speech.feature_scale))
    x = g("Transpose", g.gelu(g.linear(normal, speech.project)), perm=[0, 2, 1])
    x = g.conv(_held(g, x), speech.window)
    x = g("Transpose", g.gelu(x), perm=[0, 2, 1])
    heed = g.conv(_held(g, g("Transpose", x, perm=[0, 2, 1])), speech.heed)  # [B, 1, T]
    back, ahead = CERTAIN_ROWS
    near = g("Pad", heed, int64(0, 0, back, 0, 0, ahead), mode="edge")
    best = g("MaxPool", near, kernel_shape=[back + ahead + 1], strides=[1])
    asked = g("Mul", _noisy(g, speech, normal), array(speech.wariness))
    heed = g("Min", heed, g("Sub", best, g("Add", asked, array(speech.certainty))))
    codes = g.linear(g("Add", g.gelu(g.linear(x, speech.mix)), x), speech.code)
    codes = g("Transpose", codes, perm=[0, 2, 1])  # [B, K, T]
    weights = g.conv(codes, speech.attention, pads=[1, 1])
    weights = g("Add", _windows(g, weights, features), array(speech.nearness))
    weights = g("Softmax", weights, axis=-1)
    mean = g("ReduceSum", g("Mul", _windows(g, codes, features), weights), int64(-1), keepdims=0)
    spoken, rest = g("Transpose", mean, perm=[0, 2, 1]), array(speech.rest)
    share = g("Mul", g("Sub", g("Sigmoid", heed), np.float32(0.5)), np.float32(STRETCH))
    share = g("Clip", g("Add", share, np.float32(0.5)), np.float32(0), np.float32(1))
    share = g("Transpose", share, perm=[0, 2, 1])
    return g("Add", g("Mul", share, g("Sub", spoken, rest)), rest)


def _noisy(g: Graph, speech: SpeechWindow, normal: str) -> str:
    """`gate.noisy` of normalised features [B, T, D], [B, 1, T]."""
    log_odds = g("MatMul", normal, array(speech.noise_weight[:, None]))
    log_odds = g("Transpose", g("Add", log_odds, array(speech.noise_bias)), perm=[0, 2, 1])
    limit = np.float32(NOISE_LIMIT)
    log_odds = g("Clip", log_odds, -limit, limit)
    before = g("Pad", log_odds, int64(0, 0, NOISE_ROWS - 1, 0, 0, 0))
    mean = g("AveragePool", before, kernel_shape=[NOISE_ROWS], strides=[1])
    held = g("Pad", mean, int64(0, 0, NOISE_MEMORY_ROWS, 0, 0, 0), -limit)
    worst = g("MaxPool", held, kernel_shape=[NOISE_MEMORY_ROWS + 1], strides=[1])
    low, high = NOISY
    share = g("Div", g("Sub", worst, np.float32(low)), np.float32(high - low))
    return g("Clip", share, np.float32(0), np.float32(1))


def _held(g: Graph, x: str) -> str:
    """[B, C, T] with its ends held, so that a window of eight at every row fits."""
    past = WINDOW // 2
    return g("Pad", x, int64(0, 0, past, 0, 0, WINDOW - 1 - past), mode="edge")


def _windows(g: Graph, x: str, features: str) -> str:
    """[B, C, T] to [B, C, T, 8]: the rows around every row."""
    rows = g("Squeeze", g("Shape", features, start=1, end=2))
    first = g("Unsqueeze", g("Range", np.int64(0), rows, np.int64(1)), int64(1))
    return g("Gather", _held(g, x), g("Add", first, np.arange(WINDOW)), axis=2)


def _changes(g: Graph, branch: Branch, code: str, count: int) -> str:
    """What one branch changes, [B, U, N, 10]; zero for Gaussians that are not its own."""
    config = branch.config
    weights = g("Sub", code, array(branch.origin))
    if config.curves:
        into, _, out, _ = cast(tuple[nn.Linear, nn.SiLU, nn.Linear, nn.Tanh], branch.curves)
        x = g.linear(weights, into)
        bent = g("Tanh", g.linear(g("Mul", x, g("Sigmoid", x)), out))
        with torch.inference_mode():
            at_rest = branch.curves(torch.zeros_like(branch.origin))
        weights = g("Concat", weights, g("Sub", bent, array(at_rest)), axis=-1)
    vectors = (branch.vectors * branch.share[:, None]).detach()
    change = g("MatMul", weights, array(vectors.flatten(1)))
    change = g("Reshape", change, int64(0, 0, -1, CHANGES))
    return g("Pad", change, int64(0, 0, config.start, 0, 0, 0, count - config.stop, 0))
