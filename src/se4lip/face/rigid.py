"""Laying points onto points: rotations, with a scale or without, frame by frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def nearest_rotations(
    matrices: Float[np.ndarray, "T 3 3"],
) -> tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, "T 3"]]:
    """The rotation nearest to each matrix, and the signed singular values: what it leaves over.

    Of a covariance ``sum(target source^T)`` it is the turn that carries source onto target (Kabsch
    1976), and the sum of the values over the source's square sum is the scale (Umeyama 1991).
    """
    u, singular, vt = np.linalg.svd(matrices)
    flip = np.ones_like(singular)
    flip[..., 2] = np.sign(np.linalg.det(u @ vt))
    return (u * flip[..., None, :]) @ vt, singular * flip


def similarities(
    source: Float[np.ndarray, "T K 3"], target: Float[np.ndarray, "T K 3"]
) -> tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, " T"], Float[np.ndarray, "T 3"]]:
    """Rotations, scales and shifts that carry ``source`` nearest to ``target``.

    Source: Umeyama, Least-squares estimation of transformation parameters (1991).
    """
    a = source - source.mean(1, keepdims=True)
    b = target - target.mean(1, keepdims=True)
    turns, stretches = nearest_rotations(b.mT @ a)
    scales = stretches.sum(1) / (a**2).sum((1, 2))
    shifts = target.mean(1) - scales[:, None] * (turns @ source.mean(1)[..., None])[..., 0]
    return turns, scales, shifts
