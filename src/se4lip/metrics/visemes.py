"""Which sounds look the same.

Source: Lee & Yook, "Audio-to-visual conversion using hidden Markov models", PRICAI 2002, as
tabulated by Bear & Harvey, "Phoneme-to-viseme mappings: the good, the bad, and the ugly", Speech
Communication 95 (2017), who find it among the best of 120 maps. Names are ARPABET's. Maps disagree
(that is what the second paper is about): beside it stands `lips apart`, which asks the lips.
"""

from __future__ import annotations

VISEMES: dict[str, tuple[str, ...]] = {
    "P": ("p", "b", "m"),
    "F": ("f", "v"),
    "T": ("t", "d", "s", "z", "th", "dh"),
    "K": ("k", "g", "n", "ng", "l", "y", "hh"),
    "CH": ("ch", "jh", "sh", "zh"),
    "W": ("w", "r"),
    "IY": ("iy", "ih"),
    "EH": ("eh", "ey", "ae"),
    "AA": ("aa", "aw", "ay", "ah"),
    "AO": ("ao", "oy", "ow"),
    "UH": ("uh", "uw"),
    "ER": ("er",),
}
VISEME_OF: dict[str, str] = {phone: name for name, phones in VISEMES.items() for phone in phones}
