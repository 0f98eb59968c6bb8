"""Lip features of a WAV file with onnxruntime and numpy alone.

se4lip export -o models                       # once, where se4lip is installed
ffmpeg -i talk.mp4 -ac 1 -ar 16000 talk.wav   # any sound as 16 kHz
python encode_with_onnxruntime.py models/speech-encoder.onnx talk.wav features.npy
"""

import sys
import wave

import numpy as np
import onnxruntime

model, sound, out = sys.argv[1:]
encoder = onnxruntime.InferenceSession(model)
rate_hz = int(encoder.get_modelmeta().custom_metadata_map["sample_rate_hz"])
with wave.open(sound) as file:
    if (file.getframerate(), file.getsampwidth()) != (rate_hz, 2):
        sys.exit(f"{sound} is not 16-bit sound at {rate_hz} Hz: convert it with ffmpeg as above")
    pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    samples = pcm.reshape(-1, file.getnchannels()).mean(1, dtype=np.float32) / 32768
(features,) = encoder.run(["features"], {"samples": samples[None]})
np.save(out, features[0])  # float32 [T, 512], 25 rows a second
print(f"{len(features[0])} frames of {features.shape[2]} features: {out}")
