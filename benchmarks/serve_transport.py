"""By what way pictures reach a browser soonest: JPEG over a WebSocket, H.264 over a WebSocket with
WebCodecs, or VP8 over WebRTC.

    pip install aiortc; apt-get install chromium
    python benchmarks/serve_transport.py

Sends the same ready-made 256x256 pictures of the shipped head by each way, 25 a second, to
Chromium on this machine. Each picture carries its number in its first rows, which the page reads
off the canvas, so that every way is timed alike: from a raw picture on the server to its pixels on
the page, both by this machine's clock. The processor time is the server's alone.
"""

import argparse
import asyncio
import contextlib
import fractions
import sys
import time
from pathlib import Path

import av
import numpy as np
import torch
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

from se4lip.artifacts.avatar import load_avatar
from se4lip.io.pictures import jpeg_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import browser

RATE_HZ, BITS, WARM_UP_S = 25, 16, 4.0
WAYS = ("jpeg", "jpeg-webcodecs", "h264", "webrtc")
PAGE = """<!doctype html>
<canvas id=c width=256 height=256></canvas><video id=v muted></video><script>
const pen = c.getContext("2d", { willReadFrequently: true }), seen = [];
function shown(source) {
  pen.drawImage(source, 0, 0);
  const row = pen.getImageData(0, 8, 256, 1).data;
  let number = 0;
  for (let bit = 0; bit < 16; bit++) number |= (row[4 * (16 * bit + 8)] > 128) << bit;
  seen.push([number, performance.timeOrigin + performance.now()]);
}
let newest = null;
function keep(picture) { newest?.close(); newest = picture; }
function tick() { if (newest) { shown(newest); keep(null); } requestAnimationFrame(tick); }
requestAnimationFrame(tick);
function listen(path, got) {
  const socket = new WebSocket(`ws://${location.host}/${path}`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => got(data);
}
const ways = {
  jpeg: () => listen("jpeg", async (data) =>
    keep(await createImageBitmap(new Blob([data], { type: "image/jpeg" })))),
  "jpeg-webcodecs": () => listen("jpeg", async (data) =>
    keep((await new ImageDecoder({ data, type: "image/jpeg" }).decode()).image)),
  h264: () => {
    const decoder = new VideoDecoder({ output: keep, error: console.error });
    decoder.configure({ codec: "avc1.42E01F", optimizeForLatency: true });
    let at = 0;
    listen("h264", (data) => decoder.decode(
      new EncodedVideoChunk({ type: at ? "delta" : "key", timestamp: 40000 * at++, data })));
  },
  webrtc: async () => {
    const peer = new RTCPeerConnection();
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.ontrack = ({ track, receiver }) => {
      receiver.jitterBufferTarget = 0;
      v.srcObject = new MediaStream([track]);
      v.play();
      const next = () => { shown(v); v.requestVideoFrameCallback(next); };
      v.requestVideoFrameCallback(next);
    };
    await peer.setLocalDescription(await peer.createOffer());
    if (peer.iceGatheringState !== "complete") await new Promise((done) => {
      peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done(); });
    const answer = await fetch("offer", { method: "POST", body: peer.localDescription.sdp });
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  },
};
</script>"""


def marked(picture: np.ndarray, number: int) -> np.ndarray:
    picture = picture.copy()
    for bit in range(BITS):
        picture[:16, 16 * bit : 16 * bit + 16] = 255 * (number >> bit & 1)
    return picture


class Source:
    """Pictures in time; remembers when each was handed out and how much was sent."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures, self.sent_ms, self.sent_bytes = pictures, {}, 0

    async def __aiter__(self):
        start = time.monotonic()
        for number in range(1 << BITS):
            await asyncio.sleep(max(0.0, start + number / RATE_HZ - time.monotonic()))
            picture = marked(self.pictures[number % len(self.pictures)], number)
            self.sent_ms[number] = 1e3 * time.time()
            yield picture


async def over_websocket(request, source, encode):
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    with contextlib.suppress(ConnectionError):  # the page closes when it has seen enough
        async for picture in source:
            data = encode(picture)
            source.sent_bytes += len(data)
            await socket.send_bytes(data)
    return socket


def h264():
    codec = av.CodecContext.create("libx264", "w")
    codec.width = codec.height = 256
    codec.pix_fmt, codec.time_base = "yuv420p", fractions.Fraction(1, RATE_HZ)
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}

    def encode(picture):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        return b"".join(map(bytes, codec.encode(frame)))

    return encode


class Track(VideoStreamTrack):
    def __init__(self, source: Source) -> None:
        super().__init__()
        self.pictures, self.count = source.__aiter__(), 0

    async def recv(self):
        frame = av.VideoFrame.from_ndarray(await anext(self.pictures), format="rgb24")
        frame.pts, frame.time_base = 3600 * self.count, fractions.Fraction(1, 90_000)
        self.count += 1
        return frame


async def measure(way: str, pictures: list[np.ndarray], seconds: float) -> str:
    source, peers = Source(pictures), []

    async def offer(request):
        peers.append(peer := RTCPeerConnection())
        peer.addTrack(Track(source))
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(text=peer.localDescription.sdp)

    async def page(request):
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/jpeg", lambda r: over_websocket(r, source, lambda p: jpeg_bytes(p, 85)))
    app.router.add_get("/h264", lambda r: over_websocket(r, source, h264()))
    app.router.add_post("/offer", offer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        async with browser(f"http://127.0.0.1:{port}/") as opened:
            await opened.until("document.readyState == 'complete'")
            await opened.run(f"ways['{way}']()")
            await opened.until("seen.length > 2")
            await asyncio.sleep(WARM_UP_S)
            await opened.run("seen.length = 0")
            busy, spent = time.process_time(), source.sent_bytes
            await asyncio.sleep(seconds)
            seen = await opened.run("seen")
            busy, spent = time.process_time() - busy, source.sent_bytes - spent
            for peer in peers:
                stats = await peer.getSenders()[0].getStats()
                total = sum(getattr(one, "bytesSent", 0) for one in stats.values())
                spent = total * seconds / (seconds + WARM_UP_S)
    finally:
        for peer in peers:
            await peer.close()
        await runner.cleanup()
    late = [at - source.sent_ms[number] for number, at in seen if number in source.sent_ms]
    median, p95 = np.percentile(late, (50, 95))
    return (
        f"{way:14} {median:7.1f} {p95:7.1f} {len(set(n for n, _ in seen)) / seconds:10.1f} "
        f"{spent / seconds / 1e3:8.0f} {1e3 * busy / seconds / RATE_HZ:12.2f}"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    given = parser.parse_args()
    avatar = load_avatar("grid-s1")
    replay = avatar.replay[:50]
    codes = torch.from_numpy(np.zeros((len(replay), avatar.head.config.mouth_width), np.float32))
    pictures = list(avatar.head.pictures(codes, replay, 256))
    print("way            median  95 % ms pictures/s     kB/s  server ms/picture")
    for way in given.ways:
        print(await measure(way, pictures, given.seconds), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
