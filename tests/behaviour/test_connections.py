"""HTTP+SSE and WebSocket through both planes and two gateways: messages cross, keys end, gateways die."""

import json
import time
from urllib.parse import urlsplit, urlunsplit

import httpx2
import pytest

from tests.behaviour.conftest import settle
from tests.harness.planes import Node, Planes, until
from tests.harness.redis import RedisServer
from tests.matrix.front import Front
from tests.matrix.pipes import Frames, Sse


class Elsewhere(Sse):
    """Listens at one gateway, and POSTs to another."""

    def __init__(self, at: Node, to: Node, key: str) -> None:
        super().__init__(f"http://127.0.0.1:{at.port}/acme/default/sse", {"Authorization": f"Bearer {key}"})
        self._to = to

    async def open(self) -> None:
        await super().open()
        self._post_to = urlunsplit(urlsplit(self._post_to)._replace(netloc=f"127.0.0.1:{self._to.port}"))

    async def post(self) -> int:
        """Status of a message."""
        answer = await self._client.post(self._post_to, json={"jsonrpc": "2.0", "id": "x", "method": "ping"})
        return answer.status_code

    @property
    def over(self) -> bool:
        return self._tasks["GET"].done()


@pytest.mark.parametrize("revision", ["2024-11-05", "2026-07-28"])
async def test_what_is_posted_to_one_gateway_reaches_the_stream_at_another(
    planes: Planes, redis_server: RedisServer, revision: str
) -> None:
    async with settle(planes, TOOLGATE_REDIS_URL=redis_server.url) as world:
        other = await planes.node("other", TOOLGATE_REDIS_URL=redis_server.url)
        agent = other.agent(world.key)

        async def served() -> bool:
            return (await agent.request("tools/list", {})).ok

        await until(served, "the other gateway has the snapshot")
        await agent.close()
        pipe = Elsewhere(world.node, other, world.key)
        async with Front(revision, pipe) as client:
            for _ in range(3):
                assert (await client.call("echo", {"text": "hi"}))["content"]
            stranger = await planes.key("acme", "other-ada", user="ada", agent="helper")
            async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {stranger}"}) as http:
                # The key is of the same people; the stream is not its.
                await until(lambda: known(http, pipe._post_to), "the key is known")
                assert await posted(http, pipe._post_to) == 404
            world.node.kill()
            began = time.monotonic()
            assert await pipe.post() == 404
            assert time.monotonic() - began < 4


async def known(http: httpx2.AsyncClient, url: str) -> bool:
    return await posted(http, url) != 401


async def posted(http: httpx2.AsyncClient, url: str) -> int:
    return (await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code


async def test_a_key_that_is_revoked_ends_what_it_opened_everywhere(planes: Planes) -> None:
    async with settle(planes) as world:
        headers = {"Authorization": f"Bearer {world.key}"}
        sse = Elsewhere(world.node, world.node, world.key)
        socket = Frames(f"ws://127.0.0.1:{world.node.port}/ws", headers)
        async with Front("2025-11-25", sse) as old, Front("2026-07-28", socket) as new:
            for client in (old, new):
                assert (await client.call("echo", {"text": "hi"}))["content"][0]["text"]
            await planes.toolgate("key", "revoke", "--tenant", "acme", "--name", "helper-ada")

            async def ended() -> bool:
                return sse.over and socket._tasks["receive"].done()

            await until(ended, "both are closed", 15)
            assert await sse.post() == 401
        rows = [json.loads(line) for line in world.node.call_log.read_text().splitlines()]
        outcomes = {(row["transport"], row["method"], row["outcome"]) for row in rows}
        assert {(way, what, "ok") for way in ("sse", "websocket") for what in ("connect", "tools/call")} <= outcomes
