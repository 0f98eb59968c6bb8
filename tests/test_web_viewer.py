"""One viewer among others: floods, silence, absence and failure end one stay and nobody else's."""

import asyncio
import io
import json
import logging
import socket
import time
from collections import deque
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
from PIL import Image

from live_heads import PlainHead, live_stream
from se4lip.synthesis.live_head import LiveHead
from se4lip.web import server as serving
from se4lip.web.allowance import SAVED_S, Allowance
from se4lip.web.messages import POLICY, Refused
from se4lip.web.viewer import House, Way, _listen, attend, picture_writer
from test_web_server import START, ending, entered, joined, pictures, server, until


def test_an_allowance_is_refilled_and_not_hoarded():
    now = [0.0]
    allowance = Allowance(10.0, lambda: now[0])
    assert sum(allowance.spend() for _ in range(200)) == 10 * SAVED_S
    now[0] = 1.0
    assert sum(allowance.spend() for _ in range(200)) == 10
    now[0] = 1000.0
    assert sum(allowance.spend() for _ in range(200)) == 10 * SAVED_S
    assert not allowance.spend(0.5)


async def flooded(foe, send):
    """Sends until the server has had enough."""
    for number in range(30_000):
        try:
            await send(foe)
        except ConnectionError:
            return
        if number % 200 == 0:
            await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["empty sound", "interrupt", "ping"])
def test_who_floods_is_sent_away_while_others_see_every_picture(kind):
    send = {
        "empty sound": lambda foe: foe.send_bytes(b""),
        "interrupt": lambda foe: foe.send_str('{"interrupt": true}'),
        "ping": lambda foe: foe.ping(),
    }[kind]

    async def story():
        async with server() as (opened, session), joined(session, opened.url) as friend:
            await entered(friend)
            async with joined(session, opened.url) as foe:
                await entered(foe)
                flooding = asyncio.create_task(flooded(foe, send))
                said, code, _ = await ending(foe)
                flooding.cancel()
                await asyncio.gather(flooding, return_exceptions=True)
            await until(lambda: opened.house.places == 2)
            first = (await pictures(friend, 1))[0][0].index
            last = (await pictures(friend, 10))[-1][0]
            return said, code, last.index - first

    said, code, span = asyncio.run(story())
    assert said["refused"].startswith(("a message held no sound", "more than "))
    assert code == POLICY
    assert span >= 10


def test_many_messages_that_lie_ready_let_others_through():
    """The loop gets its turn between any two: the task beside them is never kept waiting."""

    class Ready:
        """A socket on which a thousand pings lie."""

        closed, left = False, 1000

        async def receive(self):
            self.left -= 1
            kind = aiohttp.WSMsgType.PING if self.left else aiohttp.WSMsgType.CLOSED
            return aiohttp.WSMessage(kind, b"", None)

        async def pong(self, data):
            pass

    async def story():
        turns, socket, head = 0, Ready(), SimpleNamespace(sample_rate_hz=16_000)
        listening = asyncio.create_task(_listen(socket, head, Way()))
        while not listening.done():
            await asyncio.sleep(0)
            turns += 1
        await listening
        return turns

    assert asyncio.run(story()) >= 1000


def test_of_a_viewer_who_says_nothing_nothing_is_kept():
    way = Way()
    for index in range(1000):
        way.sends(index)
        assert way.has_room()
    assert not way.sent
    way.seen(999)
    way.sends(1000)
    assert [index for index, _ in way.sent] == [1000]


async def admitted(session, url):
    """A connection, as soon as one more may be open: who leaves is counted for a moment longer."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await joined(session, url)
            except aiohttp.WSServerHandshakeError as error:
                assert error.status == 503
                await asyncio.sleep(0.02)


def test_who_says_nothing_takes_nobodys_place_and_too_many_are_not_let_in():
    async def story():
        async with server(viewers=1) as (opened, session):
            silent = [await joined(session, opened.url) for _ in range(5)]
            async with joined(session, opened.url) as guest:
                await entered(guest)
                await pictures(guest, 3)
            opened.house.most_sockets = 6
            silent.append(await admitted(session, opened.url))
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await joined(session, opened.url)
            assert error.value.status == 503
            await silent.pop().close()
            async with await admitted(session, opened.url) as guest:
                await entered(guest)
            for one in silent:
                await one.close()

    asyncio.run(story())


def test_a_head_that_fails_says_so_and_frees_its_place(caplog):
    class Torn(PlainHead):
        def pictures(self, codes, motion, size_px=None):
            if self.drawn > 2:
                raise RuntimeError("torn")
            yield from super().pictures(codes, motion, size_px)

    async def story():
        async with server() as (opened, session):
            opened.house.open_head = lambda avatar, rate_hz, config, worker: LiveHead(
                live_stream(rate_hz, Torn()), config, worker
            )
            async with joined(session, opened.url) as viewer:
                await entered(viewer)
                told = await ending(viewer)
            await until(lambda: opened.house.places == 3)
            return told

    with caplog.at_level(logging.ERROR):
        said, code, reason = asyncio.run(story())
    assert said == {"refused": "the head failed: start again, or choose another"}
    assert (code, reason) == (1011, said["refused"])
    assert "torn" in caplog.text  # whoever runs the server learns why


class Gone:
    """A socket whose other end went away while something was to be said to it."""

    closed = False

    def __init__(self, how):
        self.how = how

    async def receive(self):
        return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, json.dumps(START), None)

    async def send_json(self, message):
        if self.how == "reset":
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        await asyncio.sleep(60)

    close = send_json


@pytest.mark.parametrize("how", ["reset", "deaf"])
@pytest.mark.parametrize("why", ["refused", "failed"])
def test_a_farewell_to_nobody_neither_raises_nor_lasts(how, why, monkeypatch):
    monkeypatch.setattr("se4lip.web.viewer._FAREWELL_S", 0.1)

    def open_head(*what):
        raise RuntimeError if why == "failed" else Refused("no")

    house = House({"plain": None}, None, None, 1, 60.0, 85, open_head)
    start = time.monotonic()
    asyncio.run(attend(Gone(how), house))
    assert time.monotonic() - start < 5
    assert house.places == 1


def test_who_answers_no_pings_is_gone(monkeypatch):
    monkeypatch.setattr(serving, "HEARTBEAT_S", 0.4)

    async def story():
        async with (
            server() as (opened, session),
            joined(session, opened.url) as alive,
            session.ws_connect(
                f"{opened.url}/live", headers={"Origin": opened.url}, autoping=False
            ) as dead,
        ):
            await entered(alive)
            await entered(dead)
            assert opened.house.places == 1
            watching = asyncio.create_task(pictures(alive, 200))
            reading = asyncio.create_task(pictures(dead, 200))
            await until(lambda: opened.house.places == 2)
            await asyncio.sleep(1.0)
            assert opened.house.places == 2
            for task in (watching, reading):
                task.cancel()
            await asyncio.gather(watching, reading, return_exceptions=True)

    asyncio.run(story())


def test_every_picture_that_is_sent_says_that_it_is_synthetic():
    as_sent = picture_writer(85)
    for grey in (40, 128, 200):
        jpeg = as_sent(np.full((256, 256, 3), grey, np.uint8))
        picture = np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)
        corner, rest = picture[-16:, :60], picture[:200]
        assert corner.max() > 180 and corner.min() < 60  # letters, light on dark
        assert np.abs(rest - grey).max() < 8


def test_it_listens_where_only_this_machine_can_reach_it():
    async def story():
        async with server() as (opened, _):
            address = urlsplit(opened.url)
            assert address.hostname == "127.0.0.1"
            found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
            for outer in {one[4][0] for one in found if not one[4][0].startswith("127.")}:
                with pytest.raises(OSError):
                    await asyncio.wait_for(asyncio.open_connection(outer, address.port), 2)

    asyncio.run(story())


def test_who_says_what_was_seen_is_sent_no_more_than_the_way_holds():
    """A slow link, which holds five pictures a second. The delay stays, frames do not."""

    async def story():
        async with server() as (opened, session), joined(session, opened.url) as viewer:
            await entered(viewer)
            unseen, found = deque(), []
            for _ in range(24):
                note, _ = (await pictures(viewer, 1))[0]
                unseen.append(note.index)
                found.append(note)
                await asyncio.sleep(0.2)
                await viewer.send_json({"seen": unseen.popleft()})
            return found

    found = asyncio.run(story())
    assert found[-1].skipped > 50
    assert found[-1].index - found[0].index >= 24 + found[-1].skipped - found[0].skipped - 1
    assert all(note.held_ms < 500 for note in found)


def test_who_sees_nothing_for_long_is_sent_away(monkeypatch):
    monkeypatch.setattr("se4lip.web.viewer._GONE_S", 0.5)

    async def story():
        async with server() as (opened, session), joined(session, opened.url) as viewer:
            await entered(viewer)
            await viewer.send_json({"seen": 0})
            said, code, _ = await ending(viewer)
            await until(lambda: opened.house.places == 3)
            return said, code

    said, code = asyncio.run(story())
    assert said == {"refused": "no picture was seen for 0.5 s: the connection is too slow"}
    assert code == 1008
