"""Somebody in a light, before a camera: where points are seen, and pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from heads import EYE, LOWER_TEETH, SKIN, TEXTURE_PX, TONGUE, UPPER_TEETH, Mesh, Person
from jaxtyping import Float, Float32, Int, UInt8
from pictures import cover, normals, paste, shade, texture_places

SIZE, FINER = 256, 2  # pixels of a side, and of a pixel, whose mean is taken
FAR = 10.0  # decimetres from the camera to the head


@dataclass(frozen=True)
class Scene:
    """Where the head is, and in what light."""

    eyes: Float[np.ndarray, "3"]  # their middle
    pixels: float  # of a decimetre
    lights: Float32[np.ndarray, "L 6"]
    ambient: Float32[np.ndarray, "3"]
    wall: Float32[np.ndarray, "3"]
    exposure: float
    murk: float  # how soon it gets dark in the mouth, per decimetre


@dataclass(frozen=True)
class Between:
    """What is seen between the lips of somebody else: a ``picture`` in linear light, where in it
    the inner lips are, and which vertices they are here."""

    picture: Float32[np.ndarray, "S S 3"]
    ring_px: Float32[np.ndarray, "R 2"]
    ring: Int[np.ndarray, " R"]


class Painter:
    """Draws heads of one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.places = self._places()
        deep = self._marked("inside-mouth") | self._of(UPPER_TEETH, LOWER_TEETH, TONGUE)
        self.deep, self.lips = np.flatnonzero(deep), np.flatnonzero(self._marked("lips"))
        self.inside = deep[mesh.triangles].all(1)  # of the triangles
        self.eyes = np.flatnonzero(self._of(EYE))

    def _places(self) -> Float32[np.ndarray, "S S 3"]:
        mesh, skin = self.mesh, self.mesh.parts == SKIN
        return texture_places(mesh.rest, mesh.triangles[skin], mesh.uv[skin], TEXTURE_PX)

    def _of(self, *parts: int) -> np.ndarray:
        found = np.zeros(len(self.mesh.rest), bool)
        found[self.mesh.triangles[np.isin(self.mesh.parts, parts)]] = True
        return found

    def _marked(self, name: str) -> np.ndarray:
        mask, skin = self.mesh.mask(name), self.mesh.parts == SKIN
        at = (self.mesh.uv[skin] * len(mask)).astype(int).clip(1, len(mask))
        found = np.zeros(len(self.mesh.rest), bool)
        found[self.mesh.triangles[skin]] = mask[len(mask) - at[..., 1], at[..., 0] - 1] > 0.5
        return found

    def placed(
        self, vertices: np.ndarray, turn: Float[np.ndarray, "3 3"], shift: np.ndarray, scene: Scene
    ) -> tuple[Float32[np.ndarray, "V 3"], Float32[np.ndarray, "V 3"]]:
        """Pixels and depth in pixels, and the same points before the camera."""
        points = (vertices - scene.eyes) @ turn.T + shift
        near = scene.pixels * FAR / (FAR - points[:, 2:])
        pixels = points * (1, -1, -1) * near
        pixels[:, :2] += SIZE * np.array((0.5, 0.42))
        return pixels.astype(np.float32), points.astype(np.float32)

    def picture(
        self,
        person: Person,
        vertices: np.ndarray,
        placed: tuple[np.ndarray, np.ndarray],
        scene: Scene,
        box: tuple[int, int, int, int] = (0, 0, SIZE, SIZE),
        between: Between | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """``box`` (left, top, right, bottom) of the picture, with what is seen ``between`` lips."""
        mesh, (pixels, points) = self.mesh, placed
        left, top, right, bottom = box
        height, width = FINER * (bottom - top), FINER * (right - left)
        fine = (pixels - np.float32((left, top, 0))) * np.float32((FINER, FINER, 1))
        shown, weights = cover(fine, mesh.triangles, height, width)
        # The deeper in the mouth, the less light falls there.
        lit = np.ones(len(vertices), np.float32)
        behind = vertices[self.lips, 2].mean() - vertices[self.deep, 2]
        lit[self.deep] = np.exp(-scene.murk * behind.clip(0))
        seen = np.tile(scene.wall, (height, width, 1))
        shade(
            seen, shown, weights, mesh.triangles, mesh.parts == SKIN, mesh.uv, person.skin,
            person.colours, normals(points, mesh.triangles), lit, scene.lights, scene.ambient,
            person.gloss,
        )  # fmt: skip
        if between is not None:
            inside = self.inside[shown]
            skin = np.median(seen[(shown >= 0) & ~inside], axis=0)
            may, ring = (shown >= 0) & inside, fine[between.ring]
            paste(seen, may, ring, between.picture * skin, between.ring_px)
        seen *= scene.exposure
        seen = seen.reshape(bottom - top, FINER, right - left, FINER, 3).mean((1, 3))
        return (255 * seen.clip(0, 1) ** (1 / 2.2)).round().astype(np.uint8)


def draw_scene(painter: Painter, person: Person, draw: np.random.Generator) -> Scene:
    """A light and a wall, and a camera that exposes for them more or less."""
    eyes = person.rest[painter.eyes]
    apart = np.ptp(eyes[:, 0])
    lights = []
    for strength in (draw.uniform(0.5, 1.0), draw.uniform(0, 0.5), draw.uniform(0, 0.3)):
        comes = np.array((draw.normal(0, 0.7), draw.normal(0.45, 0.5), draw.uniform(0.4, 1.2)))
        colour = strength * np.exp(draw.normal(0, 0.1, 3))
        lights.append(np.concatenate((comes / np.linalg.norm(comes), colour)))
    ambient = draw.uniform(0.15, 0.5) * np.exp(draw.normal(0, 0.1, 3))
    bright = np.median(person.skin) * (
        ambient.mean() + sum(light[3:].mean() for light in lights) / 2
    )
    return Scene(
        eyes=eyes.mean(0),
        pixels=draw.uniform(42, 80) / apart,
        lights=np.array(lights, np.float32),
        ambient=ambient.astype(np.float32),
        wall=np.exp(draw.normal(-1.5, 0.8, 3)).astype(np.float32),
        exposure=float(0.28 * np.exp(draw.normal(0, 0.35)) / bright ** draw.uniform(0.3, 0.9)),
        murk=draw.uniform(1, 5),
    )


def turned(angles: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """By pitch, yaw and roll, radians."""
    (a, b, c), (d, e, f) = np.cos(angles), np.sin(angles)
    pitch = np.array(((1, 0, 0), (0, a, -d), (0, d, a)))
    yaw = np.array(((b, 0, e), (0, 1, 0), (-e, 0, b)))
    roll = np.array(((c, -f, 0), (f, c, 0), (0, 0, 1)))
    return roll @ yaw @ pitch
