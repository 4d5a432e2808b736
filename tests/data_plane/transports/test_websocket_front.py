"""What is WebSocket's own: the handshake, frames as they should and should not be, and how it ends."""

import asyncio
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Pong, Request, TextMessage

from data_plane.fronts.server_options import ServerOptions
from tests.data_plane.fronts.front_harness import request
from tests.harness.wired import ANN, EVE, ORIGIN, Wired, Worker, wired

LIMIT_S = 20.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


class Peer:
    """The client's end, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.wire = WSConnection(ConnectionType.CLIENT)
        self.events: list[Event] = []

    async def event(self) -> Event:
        async with asyncio.timeout(LIMIT_S):
            while not self.events:
                data = await self.reader.read(65536)
                self.wire.receive_data(data or None)
                self.events.extend(self.wire.events())
        return self.events.pop(0)

    async def message(self) -> dict[str, object]:
        text = ""
        while True:
            event = await self.event()
            if isinstance(event, Ping):
                self.write(event.response())
                continue
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                return dict(json.loads(text))

    async def close_code(self) -> int:
        while True:
            event = await self.event()
            if isinstance(event, CloseConnection):
                return int(event.code)

    def write(self, event: Event) -> None:
        self.writer.write(self.wire.send(event))

    def say(self, method: str, params: dict[str, object] | None = None, id_: object = 1) -> None:
        body = {"jsonrpc": "2.0", "id": id_, "method": method, "params": {**(params or {}), "_meta": META}}
        self.write(TextMessage(json.dumps(body)))


@asynccontextmanager
async def opened(worker: Worker, key: bytes = ANN, protocols: tuple[str, ...] = ("mcp",)) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=1 << 20)
    peer = Peer(reader, writer)
    headers = [(b"Authorization", b"Bearer " + key)] if key else []
    peer.write(Request("localhost", "/acme/default/ws", subprotocols=list(protocols), extra_headers=headers))
    try:
        accepted = await peer.event()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == ("mcp" if "mcp" in protocols else None)
        yield peer
    finally:
        writer.close()


async def handshake(worker: Worker, *, path: str = "/acme/default/ws", **changes: str | None) -> tuple[int, str, bytes]:
    """Status, head and body of what an upgrade is answered with; a header set to None is left out."""
    fields: dict[str, str | None] = {
        "Host": "localhost",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "Authorization": f"Bearer {ANN.decode()}",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        async with asyncio.timeout(LIMIT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            length = re.search(r"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1])) if length else b""
    finally:
        writer.close()
    return status, head.lower(), body


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 101),
        ({"Authorization": None, "X_API_Key": ANN.decode()}, 101),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer tgk_acme_k9_wrong"}, 401),
        ({"Origin": ORIGIN}, 101),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"path": "/acme/other/ws"}, 404),
        ({"path": "/nobody/default/ws"}, 404),
        ({"path": "/acme/default/servers/nothing/ws"}, 404),
        ({"Sec_WebSocket_Version": "8"}, 400),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Content_Length": "5"}, 400),
        ({"Transfer_Encoding": "chunked"}, 400),
        ({"Upgrade": None, "Connection": None}, 426),
        ({"Upgrade": "h2c"}, 426),
    ],
)
async def test_who_may_open_one(world: Wired, changes: dict[str, str | None], status: int) -> None:
    answered, head, body = await handshake(world.one, **changes)
    assert answered == status
    if status == 401:
        assert "www-authenticate: bearer" in head
    if status not in (101, 426):
        assert "connection: close" in head
    if status == 403:
        assert "access-control-allow-origin" not in head
    assert (status == 101) == (not body)


async def test_a_page_brings_its_key_as_a_subprotocol_which_is_never_chosen(world: Wired) -> None:
    key = urlsafe_b64encode(ANN).rstrip(b"=").decode()
    offered = {"Authorization": None, "Origin": ORIGIN, "Sec_WebSocket_Protocol": f"mcp, bearer.{key}"}
    status, head, _ = await handshake(world.one, **offered)
    assert status == 101
    assert "sec-websocket-protocol: mcp\r\n" in head
    assert key.lower() not in head
    for wrong in ("bearer.", "bearer.!!!", f"bearer.{key[:-4]}"):
        status, _, _ = await handshake(world.one, **{**offered, "Sec_WebSocket_Protocol": f"mcp, {wrong}"})
        assert status == 401
    async with opened(world.one, b"", (f"bearer.{key}",)) as peer:
        peer.say("server/discover")
        assert "result" in await peer.message()


async def test_what_follows_the_handshake_at_once_is_not_lost(world: Wired) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.one.port)
    peer = Peer(reader, writer)
    headers = [(b"Authorization", b"Bearer " + ANN)]
    upgrade = peer.wire.send(Request("localhost", "/acme/default/ws", extra_headers=headers))
    ahead = WSConnection(ConnectionType.CLIENT)
    ahead.send(Request("localhost", "/"))
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": META}}).encode()
    frame = b"\x81\xfe" + len(body).to_bytes(2, "big") + bytes(4) + body
    writer.write(upgrade + frame)
    assert isinstance(await peer.event(), AcceptConnection)
    assert (await peer.message())["id"] == 1
    writer.close()


async def test_an_upgrade_waits_for_the_answers_to_what_was_asked_before_it(world: Wired) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.one.port)
    peer = Peer(reader, writer)
    call = {"name": "until_started", "arguments": {"name": "p"}}
    before = json.dumps({"jsonrpc": "2.0", "id": "first", "method": "tools/call", "params": call}).encode()
    upgrade = peer.wire.send(
        Request("localhost", "/acme/default/ws", extra_headers=[(b"Authorization", b"Bearer " + ANN)])
    )
    writer.write(request(before, {"Authorization": f"Bearer {ANN.decode()}"}, "/acme/default/rpc") + upgrade)
    async with opened(world.one) as other:
        other.say("tools/call", {"name": "slow", "arguments": {"name": "p"}})
        async with asyncio.timeout(LIMIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            assert json.loads(await reader.readexactly(int(length[1])))["id"] == "first"
        assert isinstance(await peer.event(), AcceptConnection)
        peer.say("server/discover")
        assert (await peer.message())["id"] == 1
    writer.close()


async def test_a_message_may_come_in_any_number_of_frames_and_bytes(world: Wired) -> None:
    async with opened(world.one) as peer:
        arguments = {"name": "echo", "arguments": {"text": "ä" * 300}}
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {**arguments, "_meta": META}})
        for at in range(0, len(body), 7):
            part = body[at : at + 7]
            for byte in peer.wire.send(TextMessage(part, message_finished=at + 7 >= len(body))):
                peer.writer.write(bytes((byte,)))
            if at % 70 == 0:
                peer.write(Ping(b"between"))
                await peer.writer.drain()
        pongs = 0
        while isinstance(event := await peer.event(), Pong):
            pongs += 1
        assert pongs == len(range(0, len(body), 70))
        assert isinstance(event, TextMessage)
        assert json.loads(event.data)["result"]["content"][0]["text"] == "ä" * 300


async def test_messages_that_are_none_are_answered_and_the_conversation_goes_on(world: Wired) -> None:
    async with opened(world.one) as peer:
        for wrong, code in (("{", -32700), ("[]", -32600), ("7", -32600), ('{"jsonrpc":"1.0","id":1}', -32600)):
            peer.write(TextMessage(wrong))
            answer = await peer.message()
            assert (answer["id"], answer["error"]["code"]) == (None, code)  # type: ignore[index]
        peer.write(TextMessage('{"jsonrpc":"2.0","method":"notifications/whatever"}'))
        peer.write(TextMessage('{"jsonrpc":"2.0","id":"nobody-asked","result":{}}'))
        for own in ("GET", "connect", "status"):
            peer.say(own, id_=own)
            answer = await peer.message()
            assert (answer["id"], answer["error"]["code"]) == (own, -32601)  # type: ignore[index]


async def test_closing_is_answered_in_kind(world: Wired) -> None:
    async with opened(world.one) as peer:
        peer.write(CloseConnection(1000, "done"))
        assert await peer.close_code() == 1000
        assert await peer.reader.read() == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x85" + bytes(4) + b"hello", 1003),  # binary
        (b"\x81\x05hello", 1002),  # not masked
        (b"\x91\x85" + bytes(4) + b"hello", 1002),  # a reserved bit, where no extension was agreed
        (b"\x83\x85" + bytes(4) + b"hello", 1002),  # no such opcode
        (b"\x80\x85" + bytes(4) + b"hello", 1002),  # goes on with what was never begun
        (b"\x89\xfe\x00\x80" + bytes(4) + b"x" * 128, 1002),  # a ping beyond 125 bytes
        (b"\x81\x82" + bytes(4) + b"\xc3\x28", 1007),  # not UTF-8
        (b"\x81\xff" + (2**63 - 1).to_bytes(8, "big") + bytes(4) + b"x" * 2_000_000, 1009),  # longer than all there is
    ],
)
async def test_what_breaks_the_rules_is_closed_with_the_code_for_it(compiled: Path, data: bytes, code: int) -> None:
    async with wired(compiled) as world:
        world.swap(catalogue=msgspec.structs.replace(world.catalogue, max_body_bytes=1_000_000))
        async with opened(world.one) as peer:
            peer.writer.write(data)
            assert await peer.close_code() == code
        async with opened(world.one) as peer:
            peer.say("server/discover")
            assert "result" in await peer.message()


async def test_a_message_beyond_the_endpoints_limit_is_too_big_however_it_is_cut(world: Wired) -> None:
    world.swap(catalogue=msgspec.structs.replace(world.catalogue, max_body_bytes=2000))
    async with opened(world.one) as peer:
        for _ in range(3):
            peer.write(TextMessage("x" * 700, message_finished=False))
        assert await peer.close_code() == 1009


async def test_empty_frames_without_end_cost_nothing(world: Wired) -> None:
    async with opened(world.one) as peer:
        peer.write(TextMessage("", message_finished=False))
        empty = b"\x00\x80" + bytes(4)
        for _ in range(200):
            peer.writer.write(empty * 500)
            await peer.writer.drain()
        peer.writer.write(b"\x80\x81" + bytes(4) + b"{")
        assert (await peer.message())["error"]["code"] == -32700  # type: ignore[index]


async def test_large_messages_on_their_way_in_share_a_budget(world: Wired) -> None:
    async with opened(world.one) as peer:
        peer.write(TextMessage("x" * 1_000_000, message_finished=False))
        await peer.writer.drain()
        peer.write(Ping())
        assert isinstance(await peer.event(), Pong)
        assert world.one.bodies.bound.held == 1_000_000
    async with asyncio.timeout(LIMIT_S):
        while world.one.bodies.bound.held:
            await asyncio.sleep(0.01)


async def test_a_flood_of_pings_nobody_reads_the_answers_of_ends_the_connection(compiled: Path) -> None:
    async with wired(compiled, server=ServerOptions(drain_s=1.0, write_timeout_s=1.0)) as world:
        async with opened(world.one) as peer:
            ping = b"\x89\xfd" + bytes(4) + b"p" * 125
            try:
                async with asyncio.timeout(LIMIT_S):
                    while True:
                        peer.writer.write(ping * 2000)
                        await peer.writer.drain()
            except ConnectionError:
                pass
            except TimeoutError:
                pytest.fail("it goes on for ever")
        assert world.one.others.bounds()["talks"].held <= 1


async def test_a_client_that_does_not_read_its_answers_is_cut_off(compiled: Path) -> None:
    async with wired(compiled, server=ServerOptions(drain_s=1.0, write_timeout_s=1.0)) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.one.port, limit=1024)
        peer = Peer(reader, writer)
        peer.write(Request("localhost", "/acme/default/ws", extra_headers=[(b"Authorization", b"Bearer " + ANN)]))
        assert isinstance(await peer.event(), AcceptConnection)
        for number in range(40):
            peer.say("tools/call", {"name": "big", "arguments": {"size": 1_000_000}}, number)
        async with asyncio.timeout(10):
            while world.one.others.bounds()["talks"].held:
                assert world.one.others.bounds()["talk_bytes"].held < 4_000_000
                await asyncio.sleep(0.02)
        writer.close()


async def test_a_silent_client_is_asked_whether_it_is_there(compiled: Path) -> None:
    async with wired(compiled, quiet_s=0.05) as world, opened(world.one) as peer:
        assert isinstance(await peer.event(), Ping)
        assert isinstance(await peer.event(), Ping)


async def test_a_revoked_key_is_a_matter_of_policy_and_a_leaving_worker_goes_away(world: Wired) -> None:
    async with opened(world.one) as revoked, opened(world.one, EVE) as staying:
        world.swap(without_keys=(ANN,))
        assert await revoked.close_code() == 1008
        world.one.others.depart()
        assert await staying.close_code() == 1001


async def test_a_served_connection_ends_with_the_server(world: Wired) -> None:
    async with opened(world.one) as peer:
        world.one.others.depart()
        world.one.stop.set()
        assert await peer.close_code() == 1001


async def test_the_key_of_a_stranger_to_the_endpoint_opens_it_and_sees_nothing(world: Wired) -> None:
    async with opened(world.one, EVE) as peer:
        peer.say("tools/list")
        assert (await peer.message())["result"]["tools"] == []  # type: ignore[index]
        peer.say("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        assert (await peer.message())["error"]["code"] == -32602  # type: ignore[index]
