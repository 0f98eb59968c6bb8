"""A viewer whose link is slower than the pictures: what grows, the delay or the gaps?

    python benchmarks/serve_slow_link.py [--bytes-per-s 100000] [--seconds 30]

Speaks noise to the shipped head and takes in pictures at so many bytes a second, once saying which
were seen (`seen`, as the page does) and once not. The delay is that of a picture behind the sound
that begins it, when the last of it has come in; buffers of this machine stand for those on a way.
"""

import argparse
import asyncio
import time
from statistics import median

import aiohttp
import numpy as np

from se4lip.web import messages
from se4lip.web.server import ServeConfig, load_avatars, serving

RATE, CHUNK = 16_000, 320


async def watch(bytes_per_s: float, seconds: float, tells: bool) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE * 60)
    pcm = (noise * 32767).astype("<i2")
    config = ServeConfig(port=0, viewers=1)
    async with (
        serving(load_avatars(("grid-s1",)), config) as opened,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{opened.url}/live", headers={"Origin": opened.url}) as socket,
    ):
        await socket.send_json({"start": {"avatar": "grid-s1", "rate": RATE}})
        await socket.receive_str()
        began, sent_s, delays, shown = time.monotonic(), [], [], 0

        async def speak() -> None:
            while True:
                due = began + len(sent_s) * CHUNK / RATE
                await asyncio.sleep(max(0, due - time.monotonic()))
                at = len(sent_s) * CHUNK % len(pcm)
                sent_s.append(time.monotonic())
                await socket.send_bytes(pcm[at : at + CHUNK].tobytes())

        speaking = asyncio.create_task(speak())
        free = began
        while time.monotonic() - began < seconds:
            message = await socket.receive_bytes()
            free = max(free, time.monotonic()) + len(message) / bytes_per_s
            await asyncio.sleep(max(0, free - time.monotonic()))
            note, _ = messages.read_frame(message)
            if tells:
                await socket.send_json({"seen": note.index})
            shown += 1
            if note.pushed is not None:
                delays.append(time.monotonic() - sent_s[note.pushed // CHUNK])
        speaking.cancel()
    late = median(delays[-10:])
    print(
        f"{'says what was seen' if tells else 'says nothing':20}  {shown / seconds:4.1f} pictures "
        f"a second, {late:5.2f} s behind their sound in the end"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes-per-s", type=float, default=100_000)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    for tells in (True, False):
        asyncio.run(watch(given.bytes_per_s, given.seconds, tells))


if __name__ == "__main__":
    main()
