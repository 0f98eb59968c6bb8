"""What waiting for less sound costs the lips of a live head.

    python benchmarks/live_lookahead.py grid_s1 [--avatar grid-s1] [--clips 40]

For validation clips of a prepared data set: how well the opening of the drawn mouth follows that
of the real one (correlation, mean over clips), and how far the mouth codes are from those of
offline, in shares of their spread. A row for each number of feature rows waited for, 40 ms each,
besides the 80 ms of the encoder.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from se4lip.artifacts.avatar import load_avatar
from se4lip.artifacts.encoder import load_encoder
from se4lip.encoder.streaming import encode_offline
from se4lip.head.hearing import hear, start_hearing
from se4lip.head.speech_window import FUTURE_CONTEXT
from se4lip.io.dataset import open_dataset
from se4lip.metrics.landmarks import lip_aperture
from se4lip.train.avatar_speech import aperture_cm
from se4lip.train.split import clips_of


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--avatar", default="grid-s1")
    parser.add_argument("--clips", type=int, default=40)
    given = parser.parse_args()
    avatar, encoder = load_avatar(given.avatar), load_encoder().speech
    data = open_dataset(given.dataset)
    looks = range(FUTURE_CONTEXT + 1)
    followed: dict[int, list[float]] = {look: [] for look in looks}
    away: dict[int, list[np.ndarray]] = {look: [] for look in looks}
    offline = []
    for name in clips_of(data, "validation")[: given.clips]:
        clip = data.clip(name)
        features = torch.from_numpy(encode_offline(encoder, clip.speech.samples, 16_000))
        features = features[: len(clip)]
        whole = avatar.head.speech(features).numpy()
        offline.append(whole)
        real = lip_aperture(clip.track.landmarks_px)
        for look in looks:
            _, codes = hear(avatar.head, start_hearing(avatar.head), features, look)
            live = torch.stack(codes).numpy()
            opening = aperture_cm(avatar.person.mouth, live)
            followed[look].append(np.corrcoef(opening, real[: len(live)])[0, 1])
            away[look].append(live - whole[: len(live)])
    spread = np.concatenate(offline).std(0)
    print("rows  look-ahead ms  aperture correlation  codes away from offline")
    for look in looks:
        error = np.concatenate(away[look])
        share = np.sqrt((error**2).mean() / (spread**2).mean())
        print(f"{look:4}  {80 + 40 * look:13}  {np.mean(followed[look]):20.3f}  {share:22.1%}")


if __name__ == "__main__":
    main()
