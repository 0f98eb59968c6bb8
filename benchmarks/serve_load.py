"""How many viewers `se4lip serve` holds: each speaks as a microphone would, and counts what comes.

    python benchmarks/serve_load.py                     # 1, 2, 3 and so on, until they are too many
    python benchmarks/serve_load.py --viewers 1 2 3 4

Prints a row for each number of viewers: pictures a second that each gets, the share of the
frames that the server left out, and how long after the first sample of a frame was spoken its
picture arrived. The delay holds the look-ahead (200 ms by default); a browser adds decoding and its
screen (docs/live.md). Then one more than the places comes and must be refused.

The last line says how many viewers were held: the most of whom each got `LEAST_HZ` pictures a
second and saw 95 % of them within `LATEST_MS`.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import sys
import time

import aiohttp
import numpy as np

from se4lip.io.audio import read_speech
from se4lip.synthesis.demo import shipped_speech
from se4lip.web.messages import read_frame

RATE_HZ, CHUNK = 16_000, 320
WARM_UP_S = 2.0
LEAST_HZ, LATEST_MS = 8.0, 300.0
MOST_VIEWERS = 32


async def speak(socket, samples):
    """Chunks of 20 ms, each when its last sample would have been heard."""
    start = time.monotonic()
    for at in range(0, len(samples) - CHUNK, CHUNK):
        await asyncio.sleep(max(0.0, start + (at + CHUNK) / RATE_HZ - time.monotonic()))
        await socket.send_bytes(samples[at : at + CHUNK].tobytes())


async def view(session, url, samples):
    """Delays in ms of the pictures of one viewer, and how many frames it missed."""
    delays, indices = [], []
    async with session.ws_connect(f"{url}/live", headers={"Origin": url}) as socket:
        await socket.send_json({"start": {"avatar": "grid-s1", "rate": RATE_HZ}})
        told = json.loads(await socket.receive_str(timeout=30))
        if "refused" in told:
            return told["refused"], None
        start = time.monotonic()
        speaking = asyncio.create_task(speak(socket, samples))
        while not speaking.done():
            message = await socket.receive(timeout=30)
            now = time.monotonic() - start
            if message.type != aiohttp.WSMsgType.BINARY:
                raise RuntimeError(f"a viewer was sent away: {message.data} {message.extra or ''}")
            note, _ = read_frame(message.data)
            if note.pushed is not None and note.completed_by and now > WARM_UP_S:
                delays.append(1e3 * (now - note.pushed / RATE_HZ))
                indices.append(note.index)
        await speaking
    return delays, indices


async def measured(viewers, seconds, speech):
    """A server with exactly so many places, all taken; returns what each viewer saw, and what one
    more was told."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "se4lip", "serve", "--port", "0", "--viewers", str(viewers)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said = (await asyncio.wait_for(server.stderr.readline(), 120)).decode()
        url = re.search(r"http://\S+", said)[0]
        samples = np.resize(speech, round((WARM_UP_S + seconds) * RATE_HZ))
        async with aiohttp.ClientSession() as session:
            # not all at the same instant, as people do not come
            async def late(number):
                await asyncio.sleep(0.013 * number)
                return await view(session, url, np.roll(samples, 9000 * number))

            watching = [asyncio.create_task(late(number)) for number in range(viewers)]
            await asyncio.sleep(1.5)
            refusal, _ = await view(session, url, samples)
            return await asyncio.gather(*watching), refusal
    finally:
        server.terminate()
        await server.wait()


def row(viewers, seconds, seen, refusal):
    """Prints what so many viewers saw; whether they were held."""
    delays = [one or [np.inf] for one, _ in seen]
    rates = [len(indices) / seconds for _, indices in seen]
    frames = sum(indices[-1] - indices[0] + 1 for _, indices in seen if indices)
    median, p95, p99 = np.percentile(np.concatenate(delays), (50, 95, 99))
    left_out = 1 - sum(len(indices) for _, indices in seen) / max(1, frames)
    print(
        f"{viewers:7}  {min(rates):15.1f}  {left_out:7.0%}  {median:16.0f}  {p95:4.0f}  {p99:4.0f}"
        f"   {refusal}",
        flush=True,
    )
    return min(rates) >= LEAST_HZ and max(np.percentile(one, 95) for one in delays) < LATEST_MS


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    speech = (read_speech(shipped_speech()).samples * 32767).astype("<i2")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.processor() or platform.machine()}, {cores} cores for us{load}")
    print("viewers  pictures/s, least  left out  delay ms: median  95 %  99 %   one more is told")
    held = 0
    for viewers in given.viewers or range(1, MOST_VIEWERS + 1):
        if row(viewers, given.seconds, *await measured(viewers, given.seconds, speech)):
            held = max(held, viewers)
        elif not given.viewers:
            break
    print(
        f"viewers held: {held} ({LEAST_HZ:g} pictures a second each, 95 % within {LATEST_MS:g} ms)"
    )


if __name__ == "__main__":
    asyncio.run(main())
