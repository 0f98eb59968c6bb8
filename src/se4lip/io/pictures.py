"""Pictures on disk: PNG files and contact sheets."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from se4lip.io.files import atomic, existing_file
from se4lip.types import InputError

Picture = UInt8[np.ndarray, "H W 3"]

_LABEL_PX = 14
_GAP_PX = 2
_PAPER = (24, 24, 24)
_INK = (230, 230, 230)


def save_picture(path: Path | str, picture: Picture) -> None:
    """Write ``picture``, whole or not at all, in the format of the suffix (PNG where in doubt).

    Raises:
        InputError: ``path`` cannot be written.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    jpeg = Path(path).suffix.lower() in {".jpg", ".jpeg"}
    with atomic(path) as part:
        image.save(part, format="JPEG" if jpeg else "PNG", **({"quality": 92} if jpeg else {}))


def jpeg_bytes(picture: Picture, quality: int) -> bytes:
    """``picture`` as a JPEG file in memory; ``quality`` 1 to 95."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def read_picture(path: Path | str) -> Picture:
    """An image file as RGB.

    Raises:
        InputError: missing, or no picture.
    """
    existing_file(path, "picture")
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or no picture: give a PNG or JPEG file") from error


def contact_sheet(rows: Sequence[tuple[str, Sequence[Picture]]]) -> Picture:
    """Labelled rows of small pictures under each other, each row as high as its tallest picture."""
    if not rows:
        raise InputError("a contact sheet needs at least one row of pictures")
    widths = [sum(p.shape[1] + _GAP_PX for p in pictures) for _, pictures in rows]
    heights = [_LABEL_PX + max((p.shape[0] for p in ps), default=0) + _GAP_PX for _, ps in rows]
    sheet = Image.new("RGB", (max(200, *widths) + _GAP_PX, sum(heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for (label, pictures), height in zip(rows, heights, strict=True):
        pen.text((_GAP_PX, top), drawable(label), fill=_INK)
        left = _GAP_PX
        for picture in pictures:
            sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (left, top + _LABEL_PX))
            left += picture.shape[1] + _GAP_PX
        top += height
    return np.array(sheet)


SYNTHETIC = "synthetic"


def labelled(pictures: Iterable[Picture], text: str = SYNTHETIC) -> Iterator[Picture]:
    """Pictures with ``text`` burnt into the lower left corner, light on dark.

    Letters are a twentieth of the width, so that they stay legible at 256 px and need no more
    than two thirds of it.
    """
    patch: np.ndarray | None = None
    for picture in pictures:
        if patch is None:
            patch = _patch(text, round(max(8, picture.shape[1] / 20)))
        height, width = np.minimum(patch.shape[:2], picture.shape[:2])
        marked = picture.copy()
        marked[-height:, :width] = patch[-height:, :width]
        yield marked


def drawable(text: str) -> str:
    """What Pillow's own font has letters for: accents are left off, of what is left a ? stands for
    each."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()


def _patch(text: str, size_px: int) -> Picture:
    font = ImageFont.load_default(size_px)
    text = drawable(text)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    margin = max(2, size_px // 4)
    patch = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), _PAPER)
    ImageDraw.Draw(patch).text((margin - left, margin - top), text, _INK, font)
    return np.array(patch)
