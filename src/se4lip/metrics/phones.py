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

# Of ARPABET, which has capitals alone, what does not begin with the small letter of the same sound.
_ARPABET = {
    "AH": "ʌ", "AO": "ɔ", "AX": "ə", "AXR": "ɚ", "CH": "t", "DH": "ð", "EH": "ɛ", "EL": "l",
    "EM": "m", "EN": "n", "ENG": "ŋ", "ER": "ɜ", "IH": "ɪ", "JH": "d", "NG": "ŋ", "OY": "ɔ",  # noqa: RUF001
    "Q": "ɒ", "SH": "ʃ", "TH": "θ", "UH": "ʊ", "Y": "j", "ZH": "ʒ",
}  # fmt: skip

# Of SAMPA, what is no letter of any kind.
_SAMPA = {
    "2": "ø", "9": "œ", "6": "ɐ", "@": "ə", "3": "ɜ", "{": "æ", "&": "œ", "}": "ʉ",
}  # fmt: skip


def letter(phone: str) -> str:
    """What a phone begins with in IPA, stress and other marks left out: "p" of "ˈpʰ" and of "P".

    What begins with a capital is ARPABET's.
    """
    phone = phone.lstrip("'\"%[")  # stress in SAMPA
    if phone[:1] in _SAMPA:
        return _SAMPA[phone[0]]
    if phone[:1].isascii() and phone[:1].isupper():
        plain = phone.rstrip("0123456789")
        return _ARPABET.get(plain, plain[0].lower())
    letters = (c for c in unicodedata.normalize("NFD", phone) if unicodedata.category(c) == "Ll")
    return next(letters, "")
