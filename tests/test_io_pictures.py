"""Pictures come back bit by bit, and contact sheets hold what they were given."""

import numpy as np
import pytest

from se4lip.io.pictures import contact_sheet, read_picture, save_picture
from se4lip.types import InputError


def test_png_keeps_every_pixel(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (33, 45, 3), np.uint8)
    save_picture(tmp_path / "a.png", picture[:, ::-1])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), picture[:, ::-1])
    save_picture(tmp_path / "a.jpg", np.full((40, 40, 3), 99, np.uint8))
    assert (tmp_path / "a.jpg").read_bytes()[:2] == b"\xff\xd8"
    np.testing.assert_allclose(read_picture(tmp_path / "a.jpg"), 99, atol=1)


def test_a_contact_sheet_holds_every_picture():
    rng = np.random.default_rng(0)
    rows = [
        ("first", list(rng.integers(0, 256, (3, 20, 30, 3), np.uint8))),
        ("second", list(rng.integers(0, 256, (8, 40, 50, 3), np.uint8))),
    ]
    sheet = contact_sheet(rows)
    top = 0
    for _, pictures in rows:
        height, width = pictures[0].shape[:2]
        for i, picture in enumerate(pictures):
            left = 2 + i * (width + 2)
            found = sheet[top + 14 : top + 14 + height, left : left + width]
            np.testing.assert_array_equal(found, picture)
        top += 14 + height + 2
    assert sheet.shape == (top, 8 * 52 + 2, 3)


def test_what_is_no_picture_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("no picture")
    with pytest.raises(InputError) as caught:
        read_picture(path)
    assert str(caught.value) == f"{path} is damaged or no picture: give a PNG or JPEG file"
    with pytest.raises(InputError, match="a contact sheet needs at least one row"):
        contact_sheet([])
    with pytest.raises(InputError, match="not a directory: choose another output"):
        save_picture(path / "b.png", np.zeros((2, 2, 3), np.uint8))
