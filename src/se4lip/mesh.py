"""Point numbers of MediaPipe's face mesh (478 points) and of its 52 blendshapes.

Right and left are the speaker's. What learned numbers were made with must stay in its order.
"""

from __future__ import annotations

WIDEST = (234, 454)  # right and left side of the face
FOREHEAD, CHIN, NOSE_BASE = 10, 152, 2
OUTER_EYE_CORNERS = (33, 263)
EYE_LINE = (33, 133, 362, 263)  # corners of the eyes
LIDS = ((159, 145), (386, 374))  # upper and lower, in the middle of each eye

# From the right corner along the lower lip to the left corner and back along the upper lip.
OUTER_LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
)
INNER_LIPS = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324),
    *(308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
LIPS = OUTER_LIPS + INNER_LIPS
MOUTH_CORNERS = (61, 291)
UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14
UPPER_INNER, LOWER_INNER = (82, 13, 312), (87, 14, 317)  # the middle third, pair by pair

# What speech does not move. Eye corners, temples, forehead, bridge and tip of the nose:
STEADY = (10, 109, 338, 67, 297, 127, 356, 33, 133, 362, 263, 168, 6, 197, 195, 5)
NOSTRILS = (48, 278)
# ... fewer, in the middle of the face, for a window that must not turn with single points:
STABLE = (*EYE_LINE, 168, 6, 197, 195, 8, 9, 151, 10, 127, 356)
# ... and all of the forehead, temples, cheekbones, nose and eye corners, so that many points say
# how the head is held: nothing that lips, jaw, lids or brows pull along.
RIGID = (
    *(10, 338, 297, 332, 284, 251, 109, 67, 103, 54, 21, 151, 337, 299, 333, 298, 108, 69, 104, 68),
    *(9, 8, 389, 356, 454, 162, 127, 234, 264, 34, 447, 227, 345, 116, 372, 143, 33, 133, 362, 263),
    *(168, 6, 197, 195, 5, 4, 1, 45, 275, 51, 281, 48, 278, 64, 294, 98, 327, 2, 94, 19, 220, 440),
    *(115, 344, 131, 360, 198, 420, 236, 456, 3, 248, 196, 419, 122, 351, 193, 417, 188, 412, 174),
    *(399, 217, 437, 126, 355, 209, 429, 49, 279, 102, 331, 117, 118, 119, 346, 347, 348, 123, 352),
    *(50, 280, 101, 330, 100, 329, 47, 277),
)

MOUTH_BLENDSHAPES = tuple(range(23, 50))  # jawForward ... mouthUpperUpRight
