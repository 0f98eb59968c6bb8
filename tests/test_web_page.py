"""The page before it is connected, when the heads cannot be listed, and when another is chosen."""

import asyncio
import dataclasses

import numpy as np
import pytest

import browser as browsers
from live_heads import PlainHead, live_stream
from se4lip.synthesis.live_head import LiveHead
from se4lip.web.server import ServeConfig, serving

pytestmark = pytest.mark.slow
DISABLED = "['microphone', 'file', 'avatar'].map((id) => document.getElementById(id).disabled)"
STATUS = "(document.getElementById('status')?.textContent ?? '')"

# Pictures take half a second to decode; what is drawn when.
SLOW = """
window.ImageDecoder = undefined;
const decode = window.createImageBitmap.bind(window);
window.createImageBitmap = async (blob) => {
  await new Promise((done) => setTimeout(done, 500));
  return decode(blob);
};
const pen = document.getElementById("head").getContext("2d"), draw = pen.drawImage.bind(pen);
window.drawn = [];
pen.drawImage = (...what) => {
  draw(...what);
  drawn.push([performance.now(), pen.getImageData(32, 20, 1, 1).data[0]]);
};
"""

# A page that came over plain http from another machine.
INSECURE = "Object.defineProperty(window, 'isSecureContext', { value: false })"

# Drops files that no page may decode, beside the place for them.
LARGE = """
(async () => {
  const said = [];
  const drop = async (file) => {
    const carrier = new DataTransfer();
    carrier.items.add(file);
    const dropped = { dataTransfer: carrier, cancelable: true, bubbles: true };
    const over = new DragEvent("dragover", dropped), there = new DragEvent("drop", dropped);
    for (const event of [over, there]) document.getElementById("head").dispatchEvent(event);
    if (!over.defaultPrevented || !there.defaultPrevented) said.push("the browser takes the file");
    const status = document.getElementById("status");
    while (!status.textContent.startsWith(file.name)) await new Promise((on) => setTimeout(on, 20));
    said.push(status.textContent);
  };
  await drop(new File([new Uint8Array(50 * 2 ** 20 + 1)], "large.wav"));
  live.sound.context.decodeAudioData = async () => ({ duration: 601 });
  await drop(new File([new Uint8Array(10)], "long.wav"));
  return said;
})()
"""


class Plain(LiveHead):
    """Of one grey."""

    grey = 0

    async def __anext__(self):
        frame = await super().__anext__()
        return dataclasses.replace(frame, picture=np.full((64, 64, 3), self.grey, np.uint8))


def test_the_page_waits_for_its_server_and_keeps_no_picture_of_another_head():
    browsers.need_chromium()

    def open_head(grey, rate_hz, config, worker):
        head = Plain(live_stream(rate_hz, PlainHead()), config, worker)
        head.grey = grey
        return head

    async def story():
        greys = {"white": 255, "black": 0}
        async with serving(greys, ServeConfig(port=0, viewers=2)) as server:
            server.house.open_head = open_head
            server.house.avatars = None  # the list of heads fails
            async with browsers.browser(server.url) as page:
                await page.until(f"{STATUS}.includes('reload this page')")
                said, waiting = await page.run(STATUS), await page.run(DISABLED)
                unheard = list(page.log)
                server.house.avatars = greys
                script = {"source": INSECURE}
                insecure = await page.call("Page.addScriptToEvaluateOnNewDocument", **script)
                await page.call("Page.reload")
                await page.until(f"{STATUS}.includes('https')")
                far = await page.run(f"[{STATUS}, ...{DISABLED}]")
                await page.call("Page.removeScriptToEvaluateOnNewDocument", **insecure)
                await page.call("Page.reload")
                await page.until(f"window.live && {STATUS} == 'ready'")
                usable = await page.run(DISABLED)
                files = await page.run(LARGE)
                await page.run(SLOW)
                await page.until("drawn.length > 3")
                chosen = await page.run(
                    """
                    const heads = document.getElementById("avatar");
                    heads.value = "black";
                    heads.dispatchEvent(new Event("change"));
                    performance.now();
                    """
                )
                await page.until("drawn.filter(([, grey]) => grey < 128).length > 3")
                drawn = await page.run("drawn")
                return said, waiting, far, usable, unheard, files, chosen, drawn

    said, waiting, far, usable, unheard, files, chosen, drawn = asyncio.run(story())
    assert said == "the heads cannot be listed (the server answered 500): reload this page"
    assert waiting == [True, True, True]
    assert far == [
        "browsers give sound only to pages of this machine or over https: open this one so",
        *(True, True, True),
    ]
    assert usable == [False, False, False]
    assert not [entry for entry in unheard if "Uncaught" in entry]
    assert files == [
        "large.wav: the file has more than 50 MB",
        "long.wav: the file is longer than 10 minutes",
    ]
    greys = np.array([grey for at, grey in drawn if at > chosen + 100])
    assert len(greys) > 3
    assert (greys < 128).all()  # with the first head's pictures decoded later, some were white
