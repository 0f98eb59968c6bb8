"""Times of the sounds of an utterance, from a forced alignment: ``START_S END_S PHONE`` a line.

Label tracks of Audacity are such files: a label without a name is silence, one at a point in time
is a remark, and a line that starts with a backslash says more of the label before it. Remarks,
empty lines and lines that start with # are skipped.
"""

from __future__ import annotations

import math
from pathlib import Path

from se4lip.io.files import existing_file
from se4lip.types import InputError


def read_phones(path: Path | str) -> list[tuple[str, float, float]]:
    """Name, start and end in seconds of every phone.

    Raises:
        InputError: missing, empty, or a line that is not of this form.
    """
    file = existing_file(path, "phone file")
    phones = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"phone file {file} is no text: one phone a line is needed") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(("#", "\\")):
            continue
        parts = [*line.split(maxsplit=2), ""]
        try:
            start_s, end_s, name = float(parts[0]), float(parts[1]), parts[2].strip()
        except (ValueError, IndexError) as error:
            raise InputError(
                f"line {number} of phone file {file} is {line.strip()[:40]!r}, but START_S END_S "
                "PHONE is needed"
            ) from error
        if start_s == end_s:
            continue
        if not 0 <= start_s < end_s < math.inf:
            raise InputError(
                f"line {number} of phone file {file} has a phone that lasts from {start_s} to "
                f"{end_s} s, but it must start at 0 or later and end after it starts"
            )
        phones.append((name, start_s, end_s))
    if not phones:
        raise InputError(f"phone file {file} names no phone: one a line is needed")
    return phones
