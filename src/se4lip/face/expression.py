"""What the face does while the head is held still: the mouth in a few numbers, eyes and brows in a
few.

The mouth's numbers are principal components of the lower face's landmarks in head coordinates; the
eyes' are the tracker's blendshapes, with the landmark motion that goes with them found by
regression. The two live on different parts of the face (`lower_share`), so neither can move the
other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from se4lip.mesh import EYE_LINE, LIPS, NOSE_BASE
from se4lip.types import LANDMARKS, InputError

Points = Float[np.ndarray, "T 478 3"]

MOST_FRAMES = 4000  # that a model is fitted to; more change nothing

# name: blendshapes whose signed mean it is (MediaPipe's order)
EYE_CODE: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "blink_left": ((9,), ()),
    "blink_right": ((10,), ()),
    "look_up": ((17, 18), (11, 12)),
    "look_left": ((14, 15), (13, 16)),
    "brows_up": ((3, 4, 5), ()),
    "brows_down": ((1, 2), ()),
    "squint": ((19, 20), ()),
}


def eye_codes(blendshapes: Float32[np.ndarray, "T 52"]) -> Float32[np.ndarray, "T 7"]:
    """Blinks, gaze and brows, in [-1, 1], columns as in `EYE_CODE`."""
    columns = [
        blendshapes[:, list(plus)].mean(1) - (blendshapes[:, list(minus)].mean(1) if minus else 0)
        for plus, minus in EYE_CODE.values()
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def lower_share(
    shape_cm: Float[np.ndarray, "478 3"], points_cm: Float[np.ndarray, "N 3"]
) -> np.ndarray:
    """How much a head point belongs to the mouth: 0 at the eye line, 1 from the nose's base
    down."""
    eyes_y, nose_y = shape_cm[list(EYE_LINE), 1].mean(), shape_cm[NOSE_BASE, 1]
    along = np.clip((points_cm[..., 1] - eyes_y) / (nose_y - eyes_y), 0, 1)
    return along * along * (3 - 2 * along)


@dataclass(frozen=True)
class MouthModel:
    """Linear model of the lower face: ``shape + codes @ basis``. Codes have mean 0 and spread 1.

    ``basis_cm`` is how far each landmark goes per unit of each code, ``encoder`` the least-squares
    way back from displacements.
    """

    shape_cm: Float[np.ndarray, "478 3"]
    basis_cm: Float[np.ndarray, "K 478 3"]
    encoder: Float[np.ndarray, "1434 K"]

    @property
    def width(self) -> int:
        return len(self.basis_cm)

    def encode(self, head_points_cm: Points) -> Float32[np.ndarray, "T K"]:
        """Codes of landmarks in head coordinates."""
        moved = (head_points_cm - self.shape_cm).reshape(len(head_points_cm), -1)
        return (moved @ self.encoder).astype(np.float32)

    def decode(self, codes: Float[np.ndarray, "T K"]) -> Points:
        """Landmarks in head coordinates; the upper face is at rest."""
        return self.shape_cm + np.einsum("tk,kpi->tpi", codes, self.basis_cm)


def fit_mouth(clips_cm: Sequence[Points], width: int) -> MouthModel:
    """Principal components of the lower face over all frames, the lips counting most.

    Raises: InputError when there are not more frames than components.
    """
    points = np.concatenate([np.asarray(clip, np.float64) for clip in clips_cm])
    points = points[:: -(-len(points) // MOST_FRAMES)]
    if len(points) <= width:
        raise InputError(
            f"{len(points)} frames cannot give {width} mouth components: more frames are needed"
        )
    shape = points.mean(0)
    weights = lower_share(shape, shape) * 0.3
    weights[list(LIPS)] = 1
    # Depth of single pictures is the tracker's guess: it takes part, but decides little.
    weights = weights[:, None] * [1, 1, 0.3]
    moved = (points - shape).reshape(len(points), -1)
    used = weights.ravel() > 0
    weighted = moved[:, used] * weights.ravel()[used]
    variances, axes = np.linalg.eigh(weighted.T @ weighted / len(points))
    chosen = np.argsort(variances)[::-1][:width]
    encoder = np.zeros((moved.shape[1], width))
    encoder[used] = axes[:, chosen] / np.sqrt(variances[chosen].clip(1e-12))
    encoder *= weights.reshape(-1, 1)
    codes = moved @ encoder
    basis = codes.T @ moved / len(points)  # codes are white, so this is the regression on them
    basis = basis.reshape(width, LANDMARKS, 3) * lower_share(shape, shape)[:, None]
    return MouthModel(shape_cm=shape, basis_cm=basis, encoder=encoder)


def fit_eyes(
    clips_cm: Sequence[Points], codes: Sequence[Float[np.ndarray, "T E"]], mouth: MouthModel
) -> Float[np.ndarray, "E 478 3"]:
    """How far each landmark of the upper face goes per unit of each eye code (ridge regression)."""
    points = np.concatenate([np.asarray(clip, np.float64) for clip in clips_cm])
    code = np.concatenate([np.asarray(c, np.float64) for c in codes])
    step = -(-len(points) // MOST_FRAMES)
    points, code = points[::step], code[::step]
    code = code - code.mean(0)
    moved = (points - points.mean(0)).reshape(len(points), -1)
    normal = code.T @ code / len(code)
    basis = np.linalg.solve(normal + 1e-4 * np.eye(len(normal)), code.T @ moved / len(code))
    upper = 1 - lower_share(mouth.shape_cm, mouth.shape_cm)
    return basis.reshape(-1, LANDMARKS, 3) * upper[:, None]
