"""The live page in a real browser that hears a recording through its microphone."""

import asyncio
import base64
import contextlib
import dataclasses

import numpy as np
import pytest

import browser as browsers
from recordings import wav
from se4lip.artifacts.avatar import load_avatar
from se4lip.io.audio import read_speech
from se4lip.synthesis.demo import shipped_speech
from se4lip.web.server import ServeConfig, serving

pytestmark = pytest.mark.slow
SIZE_PX = 128  # small, so that a busy machine can follow
MOUTH = (42, 78, 36, 32)  # left, top, width, height
QUIET_S, TALK_S = 3.0, 4.0  # on a quiet machine; a busy one draws fewer pictures a second

# What the microphone hears and what the mouth does, in the page's own time.
WATCH = """
window.seen = { loud: [], moved: [] };
const send = live.sound.send, pen = document.getElementById("head").getContext("2d");
live.sound.send = (bytes) => {
  const samples = new Int16Array(bytes), power = samples.reduce((sum, x) => sum + x * x, 0);
  seen.loud.push([performance.now(), Math.sqrt(power / samples.length)]);
  return send(bytes);
};
const add = live.meter.add.bind(live.meter);
let before = null;
live.meter.add = (now, timing) => {
  add(now, timing);
  const mouth = pen.getImageData(LEFT, TOP, WIDTH, HEIGHT).data;
  const change = before && mouth.reduce((sum, x, i) => sum + Math.abs(x - before[i]), 0);
  if (before) seen.moved.push([now, change / mouth.length]);
  before = mouth;
};
"""


@pytest.fixture(scope="module", autouse=True)
def _chromium():
    browsers.need_chromium()


def speech(seconds):
    return np.resize(read_speech(shipped_speech()).samples, round(seconds * 16_000))


def pcm(samples):
    return (samples * 32767).astype(np.int16)


@contextlib.asynccontextmanager
async def page(microphone=None):
    avatar = load_avatar("grid-s1")
    still = dataclasses.replace(avatar, replay=avatar.replay[:1])  # nothing moves but the lips
    async with (
        serving({"still": still}, ServeConfig(port=0, viewers=1, size_px=SIZE_PX)) as server,
        browsers.browser(server.url, microphone) as opened,
    ):
        await opened.until("window.live")
        await opened.until("document.getElementById('status').textContent == 'ready'")
        yield opened


def test_a_microphone_that_is_asked_for_twice_is_heard_once_and_let_go(tmp_path):
    # Permission takes a while, as from a person, and whoever waits clicks again.
    ask = """
    window.tracks = [];
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (what) => {
      const stream = await ask(what);
      await new Promise((done) => setTimeout(done, 500));
      tracks.push(...stream.getTracks());
      return stream;
    }; 1
    """
    click = "document.getElementById('{}').click(), 1"
    live = "tracks.filter((one) => one.readyState === 'live').length"

    async def story():
        async with page() as opened:
            await opened.run(ask)
            await opened.run(click.format("microphone"))
            await opened.run(click.format("microphone"))
            await opened.until("tracks.length === 2")
            await opened.until("document.getElementById('status').textContent == 'listening'")
            heard = await opened.run(live)
            await opened.run(click.format("stop"))
            return heard, await opened.run(live)

    assert asyncio.run(story()) == (1, 0)


def test_lips_move_while_the_microphone_hears_speech_and_rest_when_it_does_not(tmp_path):
    longer = browsers.patience()
    quiet = np.zeros(round(longer * QUIET_S * 16_000), np.float32)
    heard = np.concatenate((quiet, speech(longer * TALK_S), quiet))
    microphone = wav(tmp_path / "microphone.wav", pcm(heard), 16_000)

    async def story():
        async with page(microphone) as opened:
            await opened.until("live.meter.count > 3")
            box = dict(zip(("LEFT", "TOP", "WIDTH", "HEIGHT"), map(str, MOUTH), strict=True))
            script = WATCH
            for name, number in box.items():
                script = script.replace(name, number)
            await opened.run(script + "; document.getElementById('microphone').click()")
            seconds = len(heard) / 16_000
            await opened.until(f"seen.loud.length > {50 * seconds}", 4 * seconds + 150)
            figures = await opened.run("live.meter.figures()")
            text = await opened.run("document.getElementById('total').textContent")
            caption = await opened.run("document.querySelector('figcaption').innerText")
            pressed = "document.getElementById('microphone').getAttribute('aria-pressed')"
            assert await opened.run(pressed) == "true"
            await opened.run("document.getElementById('microphone').click()")  # once more: enough
            assert await opened.run(pressed) == "false"
            await opened.until("document.getElementById('status').textContent == 'ready'")
            return await opened.run("seen"), figures, text, caption, opened.log

    seen, figures, text, caption, log = asyncio.run(story())
    assert log == []
    assert caption.startswith("This head is synthetic.")
    loud, moved = (np.array(seen[key]) for key in ("loud", "moved"))
    talk_ms = loud[loud[:, 1] > 300, 0]
    since_ms = moved[:, 0] - talk_ms[0]
    until_ms = moved[:, 0] - talk_ms[-1]
    talking = (since_ms > 500) & (until_ms < 0)
    resting = (since_ms < 0) | (until_ms > 1500)
    assert talking.sum() > 4
    assert resting.sum() > 4
    assert moved[talking, 1].mean() > 0.8
    assert moved[resting, 1].mean() < 0.1 * moved[talking, 1].mean()

    parts = [figures[p] for p in ("lookahead", "encoding", "rendering", "transport", "playout")]
    assert min(parts) >= 0
    assert figures["lookahead"] >= 195
    assert figures["total"] == pytest.approx(sum(parts), rel=0.5)
    assert text.endswith(" ms")
    assert float(text.split()[0]) >= 195


def test_a_dropped_file_is_played_in_step_with_the_lips(tmp_path):
    longer = browsers.patience()
    sound = wav(tmp_path / "file.wav", pcm(speech(2 * longer)), 16_000).read_bytes()

    async def story():
        async with page() as opened:
            await opened.run(
                f"""
                const bytes = Uint8Array.from(atob("{base64.b64encode(sound).decode()}"),
                  (c) => c.charCodeAt());
                window.apart = [];
                const add = live.meter.add.bind(live.meter);
                live.meter.add = (now, timing) => {{
                  add(now, timing);
                  if (timing) apart.push(
                    now - timing.heard - live.laterMs() - live.sound.outputLatency);
                }};
                const carrier = new DataTransfer();
                carrier.items.add(new File([bytes], "file.wav", {{ type: "audio/wav" }}));
                document.getElementById("drop").dispatchEvent(
                  new DragEvent("drop",
                    {{ dataTransfer: carrier, cancelable: true, bubbles: true }}));
                """
            )
            await opened.until("document.getElementById('status').textContent.includes('file.wav')")
            await opened.until("document.getElementById('status').textContent == 'ready'")
            return await opened.run("apart"), opened.log

    apart, log = asyncio.run(story())
    assert log == []
    assert len(apart) > 2
    assert -15 <= np.median(apart) <= 60
    assert min(apart) >= -40
