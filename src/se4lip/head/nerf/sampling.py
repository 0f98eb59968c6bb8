"""Rays, and where on them the field is asked.

A ray leaves the camera through the centre of a pixel. It is carried into head coordinates, meets
the frame's relief, and is sampled evenly through the shell around that meeting; samples in cells
that have proved empty are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from se4lip.head.camera import unproject
from se4lip.head.nerf.shell import Shell, read_maps
from se4lip.types import Camera

LEAST_COSINE = 0.2  # of the angle between a ray and the head's z axis: no profile views
MEETINGS = 3  # rounds in which a ray and the relief find each other


@dataclass(frozen=True)
class Samples:
    """The samples kept, and how they lie on the rays.

    ``points`` are head coordinates; ``ray`` and ``step`` say which of ``rays`` x ``steps`` places
    each fills; ``length_cm`` is what one step measures along each ray.
    """

    points: Float[Tensor, "n 3"]
    ray: Int[Tensor, " n"]
    step: Int[Tensor, " n"]
    length_cm: Float[Tensor, " R"]


def head_rays(
    pixels: Float[Tensor, "R 2"], camera: Camera, camera_from_head: Float[Tensor, "R 3 4"]
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
    """Origins and directions in head coordinates of the rays through pixel positions.

    A direction is as long as its way to depth 1 of the camera.
    """
    ways = unproject(pixels, torch.ones_like(pixels[..., 0]), camera)
    rotation, translation = camera_from_head[..., :3], camera_from_head[..., 3]
    origins = -torch.einsum("rji,rj->ri", rotation, translation)
    return origins, torch.einsum("rji,rj->ri", rotation, ways)


def meet(
    shell: Shell,
    surface: Float[Tensor, "P rows columns"],
    frame: Int[Tensor, " R"],
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
) -> Float[Tensor, " R"]:
    """How far along each ray it meets the relief of its frame: a few rounds of z = relief(x, y).

    Beyond the rectangle the relief's border goes on."""
    z = surface.mean().expand(len(origins))
    along = origins[:, 2]
    steepness = directions[:, 2].clamp_min(LEAST_COSINE)
    for _ in range(MEETINGS):
        along = (z - origins[:, 2]) / steepness
        at = shell.rectangle(origins + along[:, None] * directions)
        z = read_maps(surface[..., None], frame, at)[:, 0]
    return (z - origins[:, 2]) / steepness


def sample(
    shell: Shell,
    bent: Float[Tensor, "P rows columns 3"],
    surface: Float[Tensor, "P rows columns"],
    occupied: Bool[Tensor, "layers cell_rows cell_columns"],
    frame: Int[Tensor, " R"],
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    steps: int,
    shift: Float[Tensor, " R"] | float = 0.5,
) -> Samples:
    """``steps`` samples through the shell on each ray, those in empty cells left out.

    ``shift`` in [0, 1) is where in its step a sample lies: the middle, or at random in training.
    """
    config = shell.config
    steepness = directions[:, 2].clamp_min(LEAST_COSINE)
    met = meet(shell, surface, frame, origins, directions)
    at = shell.rectangle(origins + met[:, None] * directions)
    near = torch.nonzero((at.abs() <= 1).all(-1))[:, 0]

    step_cm = config.thickness_cm / steps
    if isinstance(shift, Tensor):
        shift = shift[near, None]
    count = torch.arange(steps, device=origins.device)
    behind_cm = (count + shift) * step_cm - config.front_cm
    along = met[near, None] + behind_cm / steepness[near, None]
    points = origins[near, None] + along[..., None] * directions[near, None]
    rays = near[:, None].expand(-1, steps).reshape(-1)
    points = points.reshape(-1, 3)
    places = shell.canonical(points, frame[rays], bent)
    kept = torch.nonzero(in_occupied(occupied, places))[:, 0]
    return Samples(
        points=points[kept],
        ray=rays[kept],
        step=count.repeat(len(near))[kept],
        length_cm=step_cm * directions.norm(dim=-1) / steepness,
    )


def cells_of(
    places: Float[Tensor, "n 3"], shape: tuple[int, int, int]
) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """The number of the cell that holds a place, and whether it lies in the shell at all."""
    layers, rows, columns = shape
    counts = places.new_tensor([columns, rows, layers])
    inside = (places.abs() <= 1).all(-1)
    x, y, z = ((places + 1) / 2 * counts).clamp_min(0).minimum(counts - 1).long().unbind(-1)
    return (z * rows + y) * columns + x, inside


def in_occupied(
    occupied: Bool[Tensor, "layers rows columns"], places: Float[Tensor, "n 3"]
) -> Bool[Tensor, " n"]:
    cell, inside = cells_of(places, tuple(occupied.shape))  # type: ignore[arg-type]
    return inside & occupied.flatten()[cell]
