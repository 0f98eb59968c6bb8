"""What phones in IPA ask of the lips, by the letter that they begin with.

Of the labials only b, m and p shut the mouth; the others come near to it and count neither as
closed nor as open.
"""

from __future__ import annotations

import unicodedata

BILABIAL = frozenset("bmpɓ")
OTHER_LABIAL = frozenset("fvwɱβɸʋʍɥʙ")  # noqa: RUF001
ROUNDED = frozenset("uoyøʊɔœʏ")  # noqa: RUF001
SPREAD = frozenset("ieɪɛ")  # noqa: RUF001
OTHER_VOWEL = frozenset("aɐɑɒæəɘɜɞɨʉʌɚᵻ")  # noqa: RUF001


def letter(phone: str) -> str:
    """What a phone begins with, stress and other marks left out: "p" of "ˈpʰ"."""
    letters = (c for c in unicodedata.normalize("NFD", phone) if unicodedata.category(c) == "Ll")
    return next(letters, "")
