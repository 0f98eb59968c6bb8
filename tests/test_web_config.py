"""How a live server may be set up, by what names it is known, and which heads it can serve."""

import asyncio
import dataclasses
import socket
import time
from pathlib import Path

import pytest

from live_heads import live_stream
from se4lip.artifacts.avatar import load_avatar, save_avatar
from se4lip.types import InputError
from se4lip.web.server import ServeConfig, load_avatars, own_names, places_for, serving


@pytest.mark.parametrize(
    ("config", "heard"),
    [
        (ServeConfig(), True),
        (ServeConfig(host="::1"), True),
        (ServeConfig(host="127.1"), True),
        (ServeConfig(host="192.0.2.1"), False),
        (ServeConfig(host="192.0.2.1", origin="http://head.example"), False),
        (ServeConfig(host="192.0.2.1", origin="https://head.example"), True),
        (ServeConfig(origin="http://localhost:9000"), True),
    ],
)
def test_browsers_give_sound_over_https_or_from_their_own_machine(config, heard):
    assert config.heard is heard


def test_its_own_names():
    assert own_names(ServeConfig(), 81)[0] == {"127.0.0.1:81", "localhost:81", "[::1]:81"}
    short = ServeConfig(host="127.1"), ServeConfig(host="0:0::1")
    assert [one.host for one in short] == ["127.0.0.1", "::1"]  # as browsers will ask for it
    hosts, origins = own_names(ServeConfig(host="192.0.2.1", origin="https://Head.example/"), 81)
    assert hosts == {"192.0.2.1:81", "head.example", "head.example:443"}
    assert origins == {"http://192.0.2.1:81", "https://head.example"}
    # Browsers do not say the port that a scheme has anyway.
    hosts, origins = own_names(ServeConfig(host="192.0.2.1", origin="https://a.example:443"), 80)
    assert hosts == {"192.0.2.1", "192.0.2.1:80", "a.example", "a.example:443"}
    assert {"http://192.0.2.1", "https://a.example"} <= origins
    hosts, _ = own_names(ServeConfig(origin="https://a.example:8443"), 81)
    assert {one for one in hosts if one.startswith("a.")} == {"a.example:8443"}


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"viewers": 0}, "0 viewers were allowed, but at least one is needed"),
        ({"size_px": 32}, "pictures of 32 px were asked for: 64 to 1024 can be sent"),
        ({"jpeg_quality": 0}, "a JPEG quality of 0 was asked for: give 1 to 95"),
        *(
            (
                {"origin": wrong},
                f"origin '{wrong}' is no http:// or https:// address without a path",
            )
            for wrong in ("head.example", "https://", "https://a.example/b", "https://a.example:x")
        ),
        *(
            ({"host": every}, "a server on all addresses cannot tell its own page from others'")
            for every in ("0.0.0.0", "0", "0x0", "::", "::0", "")
        ),
        (
            {"origin": "https://köln.example"},
            "origin 'https://köln.example' is not written as browsers send it: give the name that "
            "begins with xn--",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(how, sentence):
    with pytest.raises(InputError) as error:
        ServeConfig(**how)
    assert str(error.value).startswith(sentence)


async def _serve(**how):
    async with serving({}, ServeConfig(viewers=1, **how)):
        pass


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError) as error:
            asyncio.run(_serve(port=port))
    assert str(error.value) == (
        f"cannot listen on 127.0.0.1 port {port}: Address already in use: choose another with "
        "--port"
    )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("nonsense.invalid", "no address is known by this name"),
        ("ü" * 80, "no address is known by this name"),
        ("a\0b", "no address is known by this name"),
        ("192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_an_address_that_is_elsewhere_is_told(host, why):
    with pytest.raises(InputError) as error:
        asyncio.run(_serve(host=host, port=0))
    assert str(error.value) == (
        f"cannot listen on {host} port 0: {why}: give --host an address of this machine"
    )


def test_an_avatar_that_is_not_there_is_told():
    with pytest.raises(InputError, match=r"nowhere\.safetensors"):
        load_avatars([Path("nowhere.safetensors")])


def test_the_shipped_head_can_be_served():
    assert list(load_avatars(["grid-s1", "grid-s1"])) == ["grid-s1"]
    assert places_for(load_avatars(["grid-s1"]), ServeConfig(size_px=64)) >= 1


def test_heads_are_called_by_their_runs(tmp_path):
    runs = [tmp_path / name for name in ("run.v1", "run.v2", "other/run.v1")]
    for run in runs:
        run.mkdir(parents=True)
        save_avatar(run / "avatar.safetensors", load_avatar("grid-s1"))
    given = [runs[0], runs[1], runs[0] / "avatar.safetensors", runs[2]]
    assert list(load_avatars(given)) == ["run.v1", "run.v2", "run.v1 2"]
    for name in ("alice", "bob"):  # as caches of downloads have them
        (tmp_path / f"{name}.safetensors").symlink_to(runs[0] / "avatar.safetensors")
    links = [tmp_path / "alice.safetensors", tmp_path / "bob.safetensors"]
    assert list(load_avatars(links)) == ["alice", "bob"]


def test_what_is_done_to_a_picture_after_it_is_drawn_costs_places_too(monkeypatch):
    def slow(picture, quality):
        time.sleep(0.05)
        return b""

    monkeypatch.setattr("se4lip.web.viewer.jpeg_bytes", slow)
    monkeypatch.setattr("se4lip.web.server.stream_of", lambda *what: live_stream())
    assert places_for({"plain": None}, ServeConfig()) == 1  # 8 of 50 ms and more a second each


def test_a_head_that_hears_other_features_cannot_be_served(tmp_path):
    avatar = load_avatar("grid-s1")
    deaf = dataclasses.replace(
        avatar, encoder=dataclasses.replace(avatar.encoder, name="whisper", features="whisper-base")
    )
    save_avatar(tmp_path / "deaf.safetensors", deaf)
    with pytest.raises(InputError, match=r"trained on whisper features, which do not come live"):
        load_avatars([tmp_path / "deaf.safetensors"])
