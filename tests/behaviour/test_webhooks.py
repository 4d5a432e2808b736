"""Approvers are told by webhook, through both planes."""

import asyncio
import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from tests.behaviour.conftest import World
from tests.behaviour.test_approvals import approval_is_needed, keyed, one_waits, settle
from tests.harness.planes import until

HOOK = """
{kind: Secret, tenant: acme, name: hook-key, spec: {value: sesame}}
---
kind: Webhook
tenant: acme
name: chat
spec: {url: "URL", secret: hook-key, allow_private: true}
"""


class Listener:
    """An HTTP server that answers what it is told to and keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        status = self.answers.pop(0) if self.answers else 204
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listening = Listener()
    server = await asyncio.start_server(listening.serve, "127.0.0.1", 0)
    listening.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield listening


async def test_approvers_are_told_signed_and_again_until_they_take_it(world: World, listener: Listener) -> None:
    listener.answers = [500, 302]
    await approval_is_needed(world)
    await world.planes.apply(HOOK.replace("URL", listener.url))
    bob = await keyed(world, "bobs", user="bob")
    calling = asyncio.ensure_future(world.agent().call("echo", card="4111111111111111"))
    one = await one_waits(world)

    async def took(count: int) -> bool:
        return len(listener.got) >= count

    await until(lambda: took(3), "the third attempt")
    assert len({headers["webhook-id"] for headers, _ in listener.got}) == 1
    for headers, body in listener.got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = b64encode(hmac.new(b"sesame", signed, sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{wanted}"
    told = json.loads(listener.got[0][1])
    assert (told["type"], told["tenant"], told["data"]["id"]) == ("approval.asked", "acme", one["id"])
    assert (told["data"]["user"], told["data"]["name"]) == ("ada", "echo")
    assert told["data"]["arguments"] == '{"card": "[masked:card]"}'
    await settle(world, "approve", one["id"], *bob, "--reason", "seen")
    assert (await calling).ok
    await until(lambda: took(4), "the settlement told")
    settled = json.loads(listener.got[3][1])
    assert (settled["type"], settled["data"]["state"], settled["data"]["by"]) == ("approval.settled", "approved", "bob")

    async def delivered() -> bool:
        status = await world.planes.status("acme", "webhook", "chat")
        return bool(status.get("delivered_at")) and not status.get("error")

    await until(delivered, "the status")
    assert (await world.planes.status("acme", "webhook", "chat"))["failed_at"]
