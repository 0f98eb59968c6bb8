"""Writes mel.json: librosa's Slaney filters, to which `features.mel` is held.

pip install librosa
python tests/golden/make_mel.py
"""

import json
from pathlib import Path

import librosa
import numpy as np

CASES = ((80, 400, 0.0, 8000.0), (80, 800, 55.0, 7600.0), (24, 512, 300.0, 8000.0))

golden = []
for filters, fft, low, high in CASES:
    weights = librosa.filters.mel(sr=16_000, n_fft=fft, n_mels=filters, fmin=low, fmax=high)
    band, column = np.nonzero(weights)
    values = [float(f"{value:.7g}") for value in weights[band, column]]
    golden.append(
        {
            "case": [filters, fft, low, high],
            "band": band.tolist(),
            "bin": column.tolist(),
            "weight": values,
        }
    )
Path(__file__).with_name("mel.json").write_text(
    json.dumps({"librosa": librosa.__version__, "filters": golden}, separators=(",", ":")) + "\n"
)
