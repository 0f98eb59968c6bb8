"""``se4lip serve``"""

import asyncio
import contextlib
import sys
from typing import Annotated

import tyro

from se4lip.artifacts.avatar import SHIPPED
from se4lip.commands.shared import run
from se4lip.web.server import ServeConfig, load_avatars, serving

_DEFAULT = ServeConfig()


def serve(arguments: list[str]) -> int | None:
    def command(
        avatars: Annotated[tuple[str, ...], tyro.conf.Positional] = (SHIPPED,),
        config: Annotated[ServeConfig, tyro.conf.arg(name="")] = _DEFAULT,
    ) -> None:
        """A page on which heads answer while you speak. Ctrl-C ends it.

        Only this machine can reach it unless --host says otherwise; browsers give the microphone
        to pages from this machine or over HTTPS.

        Args:
            avatars: Files of heads to choose from, or names of shipped ones.
            config: Where it listens and for whom.
        """
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(avatars, config))

    return run(command, "serve", arguments)


async def _serve(avatars: tuple[str, ...], config: ServeConfig) -> None:
    async with serving(load_avatars(avatars, config), config) as server:
        people = "one viewer" if server.viewers == 1 else f"{server.viewers} viewers"
        print(f"{server.url} (for {people}; Ctrl-C ends it)", file=sys.stderr, flush=True)
        if not config.heard:
            print(
                "browsers give no sound to pages that come over plain http from another machine: "
                "put something that speaks https in front, and give --origin https://...",
                file=sys.stderr,
                flush=True,
            )
        await asyncio.Event().wait()
