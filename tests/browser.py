"""Debian's Chromium, headless, through its DevTools protocol: nothing is needed but aiohttp.

Where SE4LIP_BROWSER is "required", as `.ci/run` has it, a missing browser fails the tests that need
one; elsewhere it skips them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_FLAGS = (
    *("--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-extensions"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
    *("--autoplay-policy=no-user-gesture-required", "--disable-gpu", "--disable-dev-shm-usage"),
    # a page that somebody looks at is not slowed down
    *("--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"),
    *("--disable-background-timer-throttling", "--window-size=500,500"),
    *("--disable-background-networking", "--disable-component-update", "--mute-audio"),
)
MOST_PATIENCE = 6.0


def need_chromium() -> None:
    """Skips the test, or fails it, where there is no browser."""
    if CHROMIUM is None:
        import pytest  # the benchmarks do without

        lacking = "no Chromium is installed: apt-get install chromium"
        if os.environ.get("SE4LIP_BROWSER") == "required":
            pytest.fail(lacking)
        pytest.skip(lacking)


def patience() -> float:
    """How much longer than on a quiet machine things take here and now, 1 to `MOST_PATIENCE`: a
    little work is done, and its time set against the processor time that it was given."""
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < 0.3 and time.monotonic() - began < 0.3 * MOST_PATIENCE:
        pass
    took = (time.monotonic() - began) / max(time.thread_time() - worked, 1e-3)
    return min(MOST_PATIENCE, max(1.0, took))


class Page:
    """One page of a running browser. ``log`` holds its errors; ``window`` opens another page beside
    it, which is seen as well."""

    window: Callable[[str], Awaitable[Page]]

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.log: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.log.append(json.dumps(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.log.append(told["params"]["entry"]["text"])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        told = await asyncio.wait_for(self._waiting[number], 180)
        assert "error" not in told, told
        return told["result"]

    async def run(self, script: str) -> Any:
        """The value of an expression; promises are awaited."""
        told = await self.call(
            "Runtime.evaluate",
            **{"expression": script, "awaitPromise": True, "returnByValue": True},
            userGesture=True,
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, script: str, within_s: float = 200.0) -> Any:
        """Waits until an expression is true."""
        async with asyncio.timeout(within_s):
            while not (value := await self.run(script)):
                await asyncio.sleep(0.05)
            return value


@contextlib.asynccontextmanager
async def browser(url: str, microphone: Path | None = None) -> AsyncIterator[Page]:
    """``url`` open in a fresh browser whose microphone hears the WAV file ``microphone`` once."""
    assert CHROMIUM is not None
    flags = list(_FLAGS)
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses root otherwise
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *flags,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            async with asyncio.timeout(180):
                while not (port_file.exists() and port_file.read_text().count("\n")):
                    await asyncio.sleep(0.1)
            port = port_file.read_text().split()[0]
            async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as sockets:

                async def page_of(wanted: str | None) -> Page:
                    async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                        targets = [one for one in await answer.json() if one["type"] == "page"]
                    address = next(
                        one["webSocketDebuggerUrl"]
                        for one in targets
                        if wanted in (None, one["id"])
                    )
                    socket = await sockets.enter_async_context(
                        session.ws_connect(address, max_msg_size=2**26)
                    )
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    return page

                async def window(url: str) -> Page:
                    told = await first.call(
                        "Target.createTarget", url="about:blank", newWindow=True
                    )
                    page = await page_of(told["targetId"])
                    await page.call("Page.navigate", url=url)
                    return page

                first = await page_of(None)
                first.window = window
                await first.call("Page.navigate", url=url)
                yield first
        finally:
            process.terminate()
            await process.wait()
