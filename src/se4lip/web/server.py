"""The server of the live page: a few fixed answers and one WebSocket.

It answers only requests that name it by its own address (`Host`), and opens a WebSocket only for
its own page (`Origin`): other sites' pages in a visitor's browser can reach a loopback address too.
Nothing a client sends becomes part of a path: files are read before the first request.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import math
import os
import socket as sockets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from se4lip.artifacts.avatar import AVATAR_FILE, Avatar, avatar_file, load_avatar
from se4lip.io.page import page_files
from se4lip.synthesis.live_head import live, stream_of
from se4lip.synthesis.live_stream import LOOKAHEAD_FRAMES
from se4lip.synthesis.live_work import LiveConfig
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, InputError, within
from se4lip.web.messages import LARGEST_MESSAGE
from se4lip.web.viewer import House, attend, picture_writer

SLOWEST_HZ = 8.0  # frames a second that a viewer is to have when all places are taken
_USUAL_PORTS = {"http": 80, "https": 443}
HEARTBEAT_S = 10.0  # pings; who answers none within half of that is gone
_UNREADABLE = {1007: b"a text message was not UTF-8", 1009: b"a message was too large"}
_WAITING = 16  # connections beside those that have a place
_CONNECTIONS = 4  # for each WebSocket that may be open: a browser opens several for a page
PATIENCE_S = 10.0  # for a whole request, the first as well as the next
_BUSY = 0.8  # share of the drawing thread's time that may be promised
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def _as_browsers_write(host: str) -> str:
    """127.0.0.1 for 127.1, 0.0.0.0 for 0, ::1 for 0::1; names as they are."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    with contextlib.suppress(OSError, ValueError):
        return sockets.inet_ntoa(sockets.inet_aton(host))
    return host


def _is_everywhere(host: str) -> bool:
    """Whether a server on ``host`` listens on all addresses."""
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


@dataclass(frozen=True)
class ServeConfig:
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8025
    """Port to listen on; 0 takes a free one."""
    origin: str | None = None
    """How browsers reach it when something stands in front, such as https://head.example.org."""
    viewers: int | None = None
    """Places; by default as many as this machine can draw for, which is measured at the start."""
    encoder: Path | None = None
    """Encoder the heads were trained with, the shipped one by default."""
    size_px: int = 256
    """Width of the pictures."""
    lookahead_frames: int = LOOKAHEAD_FRAMES
    """How many frames of speech to wait for beyond the encoder's two: lips against delay."""
    longest_s: float = 1800.0
    """After so long a viewer has to start again."""
    jpeg_quality: int = 85
    """Of the pictures sent, 1 to 95."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", _as_browsers_write(self.host))
        if self.viewers is not None and self.viewers < 1:
            raise InputError(f"{self.viewers} viewers were allowed, but at least one is needed")
        if not 64 <= self.size_px <= 1024:
            raise InputError(
                f"pictures of {self.size_px} px were asked for: 64 to 1024 can be sent"
            )
        if not 1 <= self.jpeg_quality <= 95:
            raise InputError(f"a JPEG quality of {self.jpeg_quality} was asked for: give 1 to 95")
        if self.origin is not None and not _is_origin(self.origin):
            raise InputError(
                f"origin {self.origin!r} is no http:// or https:// address without a path, such as "
                "https://head.example.org"
            )
        if self.origin is not None and not self.origin.isascii():
            raise InputError(
                f"origin {self.origin!r} is not written as browsers send it: give the name that "
                "begins with xn--"
            )
        if self.origin is None and _is_everywhere(self.host):
            raise InputError(
                "a server on all addresses cannot tell its own page from others': give --origin, "
                "the address that browsers will use"
            )
        within(self, port=(0, 65_535), longest_s=(1, math.inf))

    @property
    def heard(self) -> bool:
        """Whether browsers give sound to the page: over https, or from their own machine."""
        if self.origin is None:
            return _is_loopback(self.host)
        address = urlsplit(self.origin)
        return address.scheme == "https" or _is_loopback(address.hostname or "")

    @property
    def live(self) -> LiveConfig:
        return LiveConfig(size_px=self.size_px, lookahead_frames=self.lookahead_frames)


@dataclass(frozen=True)
class Open:
    """A server that answers."""

    url: str
    viewers: int
    house: House


def load_avatars(
    given: Sequence[Path | str], config: ServeConfig = ServeConfig()
) -> dict[str, Avatar]:
    """Avatars by the names under which the page lists them.

    Raises:
        InputError: files that cannot be used, or a head that cannot hear live sound.
    """
    avatars: dict[str, Avatar] = {}
    # A file may be given by its run's folder too, and twice. A link is called by its own name.
    for file in dict.fromkeys(avatar_file(one).absolute() for one in given):
        name = stem = (file.parent.name if file.name == AVATAR_FILE else "") or file.stem
        number = 2
        while name in avatars:
            name, number = f"{stem} {number}", number + 1
        avatars[name] = load_avatar(file)
        stream_of(avatars[name], SAMPLE_RATE_HZ, config.encoder, config.live)
    return avatars


def places_for(avatars: Mapping[str, Avatar], config: ServeConfig) -> int:
    """How many viewers can be served at `SLOWEST_HZ` at least, after a few frames of each avatar
    were heard, drawn, and made ready to be sent.

    Sound must be encoded for every frame of everybody, pictures may be left out.
    """
    worst, as_sent = 0.0, picture_writer(config.jpeg_quality)
    for avatar in avatars.values():
        stream = stream_of(avatar, SAMPLE_RATE_HZ, config.encoder, config.live)
        heard, drawn = [], []
        for _ in range(12):
            began = time.perf_counter()
            due = stream.put(np.zeros(SAMPLE_RATE_HZ // FRAME_RATE_HZ, np.float32))
            then = time.perf_counter()
            for frame in due:
                as_sent(stream.draw(frame))
                heard.append(then - began)
                drawn.append(time.perf_counter() - then)
        worst = max(worst, FRAME_RATE_HZ * median(heard) + SLOWEST_HZ * median(drawn))
    return max(1, int(_BUSY / worst))


@contextlib.asynccontextmanager
async def serving(avatars: Mapping[str, Avatar], config: ServeConfig) -> AsyncIterator[Open]:
    """The server, for as long as the block runs.

    Raises:
        InputError: the address cannot be used, or aiohttp is missing.
    """
    web = _aiohttp_web()
    listening = _listening(config.host, config.port)
    port = listening.getsockname()[1]
    places = config.viewers
    if places is None:
        places = await asyncio.to_thread(places_for, avatars, config)
    with ThreadPoolExecutor(1, "se4lip-live") as worker:
        house = House(
            avatars,
            config.live,
            worker,
            places,
            config.longest_s,
            config.jpeg_quality,
            lambda avatar, rate_hz, how, thread: live(avatar, rate_hz, config.encoder, how, thread),
            most_sockets=max(House.most_sockets, places + _WAITING),
        )
        hosts, origins = own_names(config, port)
        runner = web.AppRunner(
            application(house, hosts, origins),
            access_log=None,
            shutdown_timeout=2.0,
            keepalive_timeout=PATIENCE_S,
        )
        await runner.setup()

        def admitted() -> asyncio.BaseProtocol:
            """Strangers who open connections must not use up what files and sockets there are."""
            server = runner.server
            full = len(server.connections) >= _CONNECTIONS * house.most_sockets
            return _Full() if full else server()

        door = await asyncio.get_running_loop().create_server(admitted, sock=listening)
        try:
            host = f"[{config.host}]" if ":" in config.host else config.host
            yield Open(config.origin or f"http://{host}:{port}", places, house)
        finally:
            door.close()
            await runner.cleanup()


def _listening(host: str, port: int) -> sockets.socket:
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    here, asked = "give --host an address of this machine", f"cannot listen on {host} port {port}"
    try:
        sockets.getaddrinfo(host, port, family)
    except (OSError, ValueError, TypeError) as error:  # among them names that none can have
        raise InputError(f"{asked}: no address is known by this name: {here}") from error
    try:
        return sockets.create_server((host, port), family=family)
    except OSError as error:
        taken = error.errno in {errno.EADDRINUSE, errno.EACCES}
        why = os.strerror(error.errno or 0)  # without what Python adds
        remedy = "choose another with --port" if taken else here
        raise InputError(f"{asked}: {why}: {remedy}") from error


class _Full(asyncio.Protocol):
    """Who comes when too many are connected is told so, and nothing is kept of them."""

    def connection_made(self, transport: Any) -> None:
        said = b"too many connections: try again in a minute\n"
        transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n")
        transport.write(b"Content-Length: %d\r\n\r\n%b" % (len(said), said))
        transport.close()


def own_names(config: ServeConfig, port: int) -> tuple[frozenset[str], frozenset[str]]:
    """What `Host` and `Origin` may say. Browsers leave out the port that a scheme has anyway."""
    names = {f"[{config.host}]" if ":" in config.host else config.host}
    if _is_loopback(config.host):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    addresses = [f"http://{name}:{port}" for name in names]
    addresses += [] if config.origin is None else [config.origin.rstrip("/")]
    hosts, origins = set(), set()
    for address in map(str.lower, addresses):
        scheme, _, host = address.partition("://")
        usual = f":{_USUAL_PORTS[scheme]}"
        bare = host.removesuffix(usual)
        hosts |= {bare, bare + usual} if bare != host or urlsplit(address).port is None else {host}
        origins |= {address, f"{scheme}://{bare}"}
    return frozenset(hosts), frozenset(origins)


def _is_origin(address: str) -> bool:
    try:
        parts = urlsplit(address)
        has_port = parts.port != 0
    except ValueError:
        return False
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    return parts.scheme in _USUAL_PORTS and bool(parts.hostname) and bare and has_port


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def application(house: House, hosts: frozenset[str], origins: frozenset[str]) -> Any:
    """The aiohttp application."""
    web = _aiohttp_web()
    files = page_files()

    @web.middleware
    async def guard(request: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            if request.headers.get("Host", "").lower() not in hosts:
                raise web.HTTPForbidden(text="this server answers to its own address only\n")
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def page(name: str) -> Callable[[Any], Any]:
        content, media_type = files[name]

        async def answer(request: Any) -> Any:
            return web.Response(body=content, headers={"Content-Type": media_type})

        return answer

    async def names(request: Any) -> Any:
        return web.json_response(list(house.avatars))

    class Socket(web.WebSocketResponse):  # type: ignore[name-defined, misc]
        async def close(self, *, code: int = 1000, message: bytes = b"", **how: Any) -> bool:
            """Also what aiohttp itself cannot read is told."""
            message = message or _UNREADABLE.get(code, b"")
            return await super().close(code=code, message=message, **how)

    async def watch(request: Any) -> Any:
        if request.headers.get("Origin", "").lower() not in origins:
            raise web.HTTPForbidden(text="only this server's own page may open its WebSocket\n")
        if len(open_sockets) >= house.most_sockets:
            raise web.HTTPServiceUnavailable(text="too many connections: try again in a minute\n")
        socket = Socket(
            heartbeat=HEARTBEAT_S,
            autoping=False,  # pings count as messages, and no answer goes off uncounted
            max_msg_size=LARGEST_MESSAGE,
            compress=False,
        )
        open_sockets.add(socket)
        try:
            await socket.prepare(request)
            await attend(socket, house)
        finally:
            open_sockets.discard(socket)
        return socket

    async def close_all(app: Any) -> None:
        for socket in [one for one in open_sockets if one.prepared]:
            await socket.close(code=1001, message=b"the server ends")

    open_sockets: set[Any] = set()
    app = web.Application(middlewares=[guard], client_max_size=1024)
    app.router.add_get("/", page("index.html"))
    for name in files:
        app.router.add_get(f"/{name}", page(name))
    app.router.add_get("/avatars", names)
    app.router.add_get("/live", watch)
    app.on_shutdown.append(close_all)
    return app


def _aiohttp_web() -> Any:
    try:
        from aiohttp import web
    except ImportError as error:
        raise InputError(
            "the live page needs aiohttp: pip install '.[web]' in se4lip's checkout"
        ) from error
    return web
