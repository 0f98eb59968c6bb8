"""Makes mfcc.json: what python_speech_features 0.6 says of a sound that the test makes again.

pip install python_speech_features==0.6 numpy scipy
python tests/golden/make_mfcc.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from python_speech_features import mfcc


def sound() -> np.ndarray:
    """0.2 s of a rising tone with silence in it, 16-bit."""
    time = np.arange(3333) / 16_000
    tone = np.sin(2 * np.pi * (200 * time + 9000 * time**2)) * np.linspace(0.1, 0.9, len(time))
    tone[1500:2100] = 0
    return np.round(tone * 32768).astype(np.int16)


if __name__ == "__main__":
    rows = mfcc(sound(), 16_000)
    goal = Path(__file__).with_name("mfcc.json")
    goal.write_text(json.dumps(np.round(rows, 6).tolist()) + "\n")
