"""Times of phones, as aligners and label tracks write them."""

import pytest

from se4lip.io.phones import read_phones
from se4lip.types import InputError


def test_label_tracks_of_audacity_are_read(tmp_path):
    """A mark of byte order, a label without a name, one at a point, a frequency range."""
    file = tmp_path / "a.txt"
    text = "0.0\t0.5\t\n# a remark\n\n0.5\t0.5\tlook here\n0.5\t0.75\tb\n\\\t100.0\t200.0\n"
    text += "0.75\t1.0\tʊ\n"
    file.write_text(text, "utf-8-sig")
    assert read_phones(file) == [("", 0.0, 0.5), ("b", 0.5, 0.75), ("ʊ", 0.75, 1.0)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0.5 0.4 b", "has a phone that lasts from 0.5 to 0.4 s, but it must start at 0 or later "),
        ("-1 0.4 b", "has a phone that lasts from -1.0 to 0.4 s, but it must start at 0 or later "),
        ("1 nan b", "has a phone that lasts from 1.0 to nan s, but it must start at 0 or later "),
        ("0.5 b", "is '0.5 b', but START_S END_S PHONE is needed"),
        ("b", "is 'b', but START_S END_S PHONE is needed"),
    ],
)
def test_a_line_that_is_none_is_named(line, why, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text(f"0 0.1 a\n{line}\n")
    with pytest.raises(InputError) as wrong:
        read_phones(file)
    assert str(wrong.value).startswith(f"line 2 of phone file {file} {why}")
