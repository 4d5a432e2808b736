"""A conversation that is over is freed at once: nothing of it waits for the garbage collector."""

import asyncio
import gc
import weakref

import pytest

from data_plane.fronts.talk import Talk
from data_plane.fronts.websocket import Socket
from tests.data_plane.transports.test_talks import TRANSPORTS, front, over
from tests.harness.wired import Wired


def alive(kind: type) -> list[object]:
    return [one for one in gc.get_objects() if type(one) is kind]


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nothing_is_left_of_a_conversation(world: Wired, transport: str, revision: str) -> None:
    gc.collect()
    gc.disable()
    try:
        async with front(world.one, transport, revision) as client:
            await client.call("echo", {"text": "hi"})
            await client.call("steps", {"steps": 2}, {"progressToken": 1})
            await client.call("ask_form")
            held = [weakref.ref(one) for one in (*alive(Talk), *alive(Socket))]
            assert len(held) == (2 if transport == "websocket" else 1)
        await over(lambda: world.one.others.bounds()["talks"].held == 0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert [one() for one in held if one() is not None] == []
    finally:
        gc.enable()
