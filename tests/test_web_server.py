"""The live page's server: who may ask, what is refused, and that nobody harms anybody else."""

import asyncio
import contextlib
import json
import re
import socket
import time

import aiohttp
import numpy as np
import pytest
from aiohttp import WSMsgType

from browser import patience
from live_heads import PlainHead, live_stream, noise
from se4lip.io.page import page_files
from se4lip.synthesis.live_head import LiveHead
from se4lip.web import messages
from se4lip.web.server import ServeConfig, serving

RATE = 16_000
START = {"start": {"avatar": "plain", "rate": RATE}}


def plain_head(avatar, rate_hz, config, worker):
    return LiveHead(live_stream(rate_hz, PlainHead()), config, worker)


@contextlib.asynccontextmanager
async def server(viewers=3, **how):
    config = ServeConfig(port=0, viewers=viewers, **how)
    async with serving({"plain": object()}, config) as opened:
        opened.house.open_head = plain_head
        async with aiohttp.ClientSession() as session:
            yield opened, session


def joined(session, url, **headers):
    return session.ws_connect(f"{url}/live", headers={"Origin": url} | headers, autoping=True)


async def entered(socket):
    await socket.send_json(START)
    told = json.loads(await socket.receive_str(timeout=5))
    assert "ready" in told, told


async def pictures(socket, count):
    return [messages.read_frame(await socket.receive_bytes(timeout=5)) for _ in range(count)]


async def ending(socket):
    """What the server said last, its close code and its reason."""
    said = None
    while True:
        message = await socket.receive(timeout=5)
        if message.type == WSMsgType.TEXT:
            said = json.loads(message.data)
        elif message.type == WSMsgType.CLOSE:
            return said, message.data, message.extra
        elif message.type != WSMsgType.BINARY:
            return said, socket.close_code, None


async def until(true, within_s=5.0):
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


def pcm(samples):
    return (samples * 32767).astype("<i2").tobytes()


def test_sound_goes_there_and_pictures_come_back():
    async def story():
        async with server() as (opened, session), joined(session, opened.url) as viewer:
            await entered(viewer)
            resting = await pictures(viewer, 3)
            for at in range(0, RATE, 320):
                await viewer.send_bytes(pcm(noise(RATE)[at : at + 320]))
            await viewer.send_json({"flush": True})
            return resting, await pictures(viewer, 24)

    resting, spoken = asyncio.run(story())
    assert all(note.pushed is None and note.completed_by is None for note, _ in resting)
    assert all(jpeg[:3] == b"\xff\xd8\xff" for _, jpeg in resting + spoken)
    told = [note for note, _ in spoken if note.pushed is not None]
    assert len(told) > 2
    assert all(note.completed_by > note.pushed for note in told if note.completed_by)
    assert all(0 <= note.encoding_ms <= note.held_ms + 0.01 for note in told)


def test_the_page_comes_from_the_package_and_names_no_other_place():
    for name, (content, media_type) in page_files().items():
        text = content.decode()
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text), name
        assert media_type.endswith("charset=utf-8")
    assert "This head is synthetic." in page_files()["index.html"][0].decode()

    async def story():
        async with server() as (opened, session):
            for name, (content, media_type) in {
                "": page_files()["index.html"],
                **page_files(),
            }.items():
                async with session.get(f"{opened.url}/{name}") as answer:
                    assert answer.status == 200
                    assert await answer.read() == content
                    assert answer.headers["Content-Type"] == media_type
                    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            async with session.get(f"{opened.url}/avatars") as answer:
                assert await answer.json() == ["plain"]

    asyncio.run(story())


def test_only_its_own_names_are_answered():
    """Against DNS rebinding: a name that points to the loopback address is not its name."""

    async def story():
        async with server() as (opened, session):
            port = opened.url.rpartition(":")[2]
            for host, status in {
                f"127.0.0.1:{port}": 200,
                f"LOCALHOST:{port}": 200,
                f"[::1]:{port}": 200,
                "127.0.0.1": 403,
                f"rebound.example:{port}": 403,
                f"127.0.0.1.example:{port}": 403,
                f"localhost:{port}@rebound.example": 403,
                "": 403,
            }.items():
                async with session.get(opened.url, headers={"Host": host}) as answer:
                    assert answer.status == status, host
                    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]

    asyncio.run(story())


def test_only_its_own_page_opens_its_websocket():
    async def story():
        async with server() as (opened, session):
            port = opened.url.rpartition(":")[2]
            for origin in (
                *("https://elsewhere.example", "null", "", f"https://127.0.0.1:{port}"),
                *(f"http://127.0.0.1:{int(port) - 1}", f"http://localhost:{port}.example"),
            ):
                with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                    await joined(session, opened.url, Origin=origin)
                assert error.value.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(f"{opened.url}/live")  # no Origin at all
            assert error.value.status == 403
            async with joined(session, opened.url, Origin=f"http://localhost:{port}") as viewer:
                await entered(viewer)

    asyncio.run(story())


def test_no_path_reaches_the_file_system():
    async def story():
        async with server() as (opened, session):
            port = int(opened.url.rpartition(":")[2])
            for path in (
                *("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/static/page.js"),
                *("//etc/passwd", "/page.js%00.html", "/file:///etc/passwd", "/index.html/../../x"),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                answer = await asyncio.wait_for(reader.read(), 5)
                writer.close()
                await writer.wait_closed()
                assert answer.split()[1] in (b"404", b"400"), path
            for method in ("POST", "PUT", "DELETE"):
                async with session.request(method, opened.url, data=b"x" * 10_000) as answer:
                    assert answer.status == 405

    asyncio.run(story())


HOSTILE = {
    "no start": (["{}"], "the first message must be a start"),
    "sound first": ([b"\0\0"], "the first message must be a start"),
    "no json": (["{"], "a text message was not JSON"),
    "deep json": (["[" * 900], "a text message was not JSON"),
    "a list": (["[]"], "a text message was not a JSON object"),
    "long text": (["[" + " " * 2000 + "]"], "a text message was longer than 1000 characters"),
    "no avatar": (['{"start": {"rate": 16000}}'], "the start names no avatar"),
    "a path": (
        ['{"start": {"avatar": "../../etc/passwd", "rate": 16000}}'],
        "there is no such avatar here",
    ),
    "a rate that costs memory": (
        ['{"start": {"avatar": "plain", "rate": 191999}}'],
        "the sample rate must be one of 8000",
    ),
    "a rate in words": (
        ['{"start": {"avatar": "plain", "rate": "16000"}}'],
        "the sample rate must be one of",
    ),
    "half a sample": ([START, b"\0\0\0"], "a message of 16-bit samples had an odd number of bytes"),
    "long sound": ([START, bytes(2 * RATE + 2)], "a message held more than 1 s of sound"),
    "too fast": (
        [START, *[bytes(2 * RATE)] * 7],
        "sound came faster than it sounds: send it as it is heard",
    ),
    "no sound": ([START, b""], "a message held no sound"),
    "messages": (
        [START, *[b"\0\0"] * 1200],
        "more than 200 messages came in a second: send longer",
    ),
    "commands": (
        [START, *['{"interrupt": true}', '{"flush": true}'] * 20],
        "more than 5 commands came in a second: send fewer",
    ),
    "a frame that was never": (
        [START, '{"seen": -1}'],
        "a message was neither sound nor flush nor interrupt nor seen",
    ),
    "more than the rate has": ([START, bytes(400_000)], "a message held more than 1 s of sound"),
    "unknown": ([START, '{"sing": true}'], "a message was neither sound nor flush nor interrupt"),
    "start again": ([START, START], "a message was neither sound nor flush nor interrupt"),
}


@pytest.mark.parametrize(("sent", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_ends_its_connection_with_a_reason_and_no_other(sent, sentence):
    async def story():
        async with server() as (opened, session), joined(session, opened.url) as friend:
            await entered(friend)
            async with joined(session, opened.url) as foe:
                for message in sent:
                    if isinstance(message, bytes):
                        await foe.send_bytes(message)
                    else:
                        text = message if isinstance(message, str) else json.dumps(message)
                        await foe.send_str(text)
                said, code, reason = await ending(foe)
            assert said["refused"].startswith(sentence)
            assert code == 1008
            assert reason.startswith(sentence[:100])
            await until(lambda: opened.house.places == 2)
            before = (await pictures(friend, 1))[0][0].index
            assert (await pictures(friend, 5))[-1][0].index >= before + 5

    asyncio.run(story())


def test_a_message_of_megabytes_is_not_even_read():
    async def story():
        async with server() as (opened, session), joined(session, opened.url) as foe:
            await entered(foe)
            with contextlib.suppress(ConnectionError):
                await foe.send_bytes(bytes(4_000_000))
            _, code, reason = await ending(foe)
            assert (code, reason) in ((1009, "a message was too large"), (1006, None))
            await until(lambda: opened.house.places == 3)

    asyncio.run(story())


def test_one_more_than_fits_is_refused_until_somebody_leaves():
    async def story():
        async with server(viewers=1) as (opened, session):
            async with joined(session, opened.url) as first:
                await entered(first)
                async with joined(session, opened.url) as second:
                    await second.send_json(START)
                    said, code, reason = await ending(second)
                assert said == {"refused": "all places are taken: try again in a minute"}
                assert (code, reason) == (1013, said["refused"])
                await pictures(first, 5)
            await until(lambda: opened.house.places == 1)
            async with joined(session, opened.url) as third:
                await entered(third)

    asyncio.run(story())


def test_who_reloads_the_page_gets_their_own_place_back():
    async def story():
        async with server(viewers=1) as (opened, session):
            for _ in range(5):
                async with joined(session, opened.url) as viewer:
                    await entered(viewer)

    asyncio.run(story())


def test_a_connection_that_is_cut_frees_everything():
    async def story():
        async with server() as (opened, session):
            heads = []

            def watched(*what):
                heads.append(plain_head(*what))
                return heads[-1]

            opened.house.open_head = watched
            viewer = await joined(session, opened.url)
            await entered(viewer)
            await pictures(viewer, 2)
            viewer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await until(lambda: opened.house.places == 3)
            await until(lambda: not heads[0]._living())
            names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
            assert not [name for name in names if "_show" in name or "_listen" in name]
            await viewer.close()

    asyncio.run(story())


def test_who_never_starts_and_who_never_leaves_are_sent_away():
    async def story():
        async with server() as (opened, session):
            opened.house.start_within_s, opened.house.longest_s = 0.2, 0.5
            async with joined(session, opened.url) as silent:
                said, code, _ = await ending(silent)
            assert (said["refused"], code) == ("no start came within 0.2 s", 1008)
            async with joined(session, opened.url) as guest:
                await entered(guest)
                said, code, _ = await ending(guest)
            assert (said["refused"], code) == ("0.00833 minutes are over: start again", 1008)
            await until(lambda: opened.house.places == 3)

    asyncio.run(story())


class Snow(PlainHead):
    """Pictures that no socket's buffer holds many of."""

    def pictures(self, codes, motion, size_px=None):
        for _ in codes:
            yield np.random.default_rng(self.drawn).integers(0, 256, (512, 512, 3), np.uint8)


def test_who_does_not_read_loses_frames_and_delays_nobody():
    async def story():
        async with server(jpeg_quality=95) as (opened, session):
            heads = []

            def watched(avatar, rate_hz, config, worker):
                head = PlainHead() if not heads else Snow()
                heads.append(LiveHead(live_stream(rate_hz, head), config, worker))
                return heads[-1]

            opened.house.open_head = watched
            async with joined(session, opened.url) as friend:
                await entered(friend)
                async with joined(session, opened.url) as deaf:
                    await deaf.send_json(START)
                    start = time.monotonic()
                    await pictures(friend, 75)
                    return time.monotonic() - start, heads

    longer = patience()
    took, (friend, deaf) = asyncio.run(story())
    assert took < longer * (75 / 25 + 1.5)
    assert deaf._work.drawn < friend._work.drawn - 20


def test_as_many_may_be_connected_as_have_places():
    async def story():
        async with server(viewers=100) as (opened, _):
            return opened.house.most_sockets

    assert asyncio.run(story()) > 100


def test_it_ends_while_people_watch():
    async def story():
        async with aiohttp.ClientSession() as session:
            async with server() as (opened, _):
                viewer = await joined(session, opened.url)
                await entered(viewer)
                start = time.monotonic()
            assert time.monotonic() - start < 4
            assert (await ending(viewer))[1] in (1001, 1006)
            await viewer.close()

    asyncio.run(story())


def test_half_a_request_is_waited_for_and_not_for_ever(monkeypatch):
    monkeypatch.setattr("se4lip.web.server.PATIENCE_S", 0.3)

    async def story():
        async with server() as (opened, session):
            port = int(opened.url.rpartition(":")[2])
            halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in halves[1:]:
                writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")
            async with asyncio.timeout(5):
                ended = [await reader.read() for reader, _ in halves]
            for _, writer in halves:
                writer.close()
            async with session.get(opened.url) as answer, joined(session, opened.url) as viewer:
                await entered(viewer)
                await asyncio.sleep(1)  # who watches asks for nothing more, and may stay
                return ended, answer.status, await pictures(viewer, 3)

    ended, status, seen = asyncio.run(story())
    assert ended == [b"", b"", b""]
    assert status == 200
    assert len(seen) == 3


def test_connections_that_ask_for_nothing_do_not_use_up_the_machine(monkeypatch):
    monkeypatch.setattr("se4lip.web.server._CONNECTIONS", 1)

    async def story():
        async with server() as (opened, session):
            opened.house.most_sockets = 5
            port = int(opened.url.rpartition(":")[2])
            several = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            async with asyncio.timeout(5):
                told = [await reader.read() for reader, _ in several[5:]]
                for _, writer in several:
                    writer.close()
                while True:
                    async with session.get(opened.url) as answer:
                        if answer.status == 200:
                            return told

    told = asyncio.run(story())
    assert len(told) == 3
    assert all(one.startswith(b"HTTP/1.1 503 ") for one in told)
    assert all(one.endswith(b"too many connections: try again in a minute\n") for one in told)


def test_pcm_is_read_as_it_was_meant():
    samples = np.array([0, 0.5, -1, 0.25], np.float32)
    read = messages.read_samples((samples * 32768).astype("<i2").tobytes(), RATE)
    np.testing.assert_array_equal(read, samples)
