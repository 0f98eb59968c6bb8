"""What a content credential costs, by size of the video: bytes, processor seconds, memory.

    python benchmarks/credentials.py [--megabytes 1 10 300 1000]

The videos are noise; what they show does not change what it takes to sign them.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from se4lip.io.certificates import chosen_certificate
from se4lip.io.credentials import Origin, Seal
from se4lip.synthesis.inspect_video import inspect_video


def noise_video(path: Path, megabytes: float) -> None:
    pictures = [
        av.VideoFrame.from_ndarray(random, format="rgb24").reformat(format="yuv420p")
        for random in np.random.default_rng(0).integers(0, 256, (4, 480, 640, 3), np.uint8)
    ]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.bit_rate = 400_000_000
        written = count = 0
        while written < megabytes * 1e6:
            picture = pictures[count % len(pictures)]
            picture.pts, count = count, count + 1
            for packet in stream.encode(picture):
                written += packet.size
                container.mux(packet)
        container.mux(stream.encode(None))


def measured(call) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1.0, 10.0, 300.0, 1000.0])
    chosen = parser.parse_args()
    ready_s = measured(lambda: Seal(chosen_certificate()))
    print(f"libraries and certificate, once: {ready_s:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.mp4"
        for megabytes in chosen.megabytes:
            noise_video(path, megabytes)
            plain, seal = path.stat().st_size, Seal(chosen_certificate())
            sign_s = measured(lambda seal=seal: seal.sign(path, Origin(), "noise"))
            inspect_s = measured(lambda: inspect_video(path))
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            print(
                f"{megabytes:6.0f} MB: {path.stat().st_size - plain} bytes more, signed in "
                f"{sign_s:.2f} s, inspected in {inspect_s:.2f} s, {peak_mb:.0f} MB of memory"
            )


if __name__ == "__main__":
    main()
