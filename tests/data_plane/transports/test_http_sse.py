"""What is HTTP+SSE's own: where to POST, who may, and that any worker takes what is POSTed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.data_plane.fronts.front_harness import Reply, Wire, request
from tests.harness.wired import ANN, BOB, ORIGIN, Wired, Worker, wired

LIMIT_S = 20.0
HELLO = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def call(text: str, id_: object = 1) -> dict[str, object]:
    return {
        "jsonrpc": "2.0",
        "id": id_,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": text}},
    }


class Stream:
    """An event stream, as it is read."""

    def __init__(self, wire: Wire, head: dict[str, str]) -> None:
        self.wire, self.head = wire, head
        self.place = ""
        self._text = ""

    async def event(self) -> tuple[str, str]:
        """(event, data); a comment has no event."""
        while "\n\n" not in self._text:
            self._text += (await self.wire.chunk()).decode()
        event, self._text = self._text.split("\n\n", 1)
        if event.startswith(":"):
            return "", event
        name, data = event.split("\n")
        return name.removeprefix("event: "), data.removeprefix("data: ")

    async def message(self) -> dict[str, object]:
        while True:
            name, data = await self.event()
            if name == "message":
                return dict(json.loads(data))


async def exchange(worker: Worker, data: bytes) -> Reply:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", worker.port))
    try:
        await wire.send(data)
        return await wire.reply()
    finally:
        await wire.close()


async def post(worker: Worker, place: str, body: object, key: bytes = ANN, **headers: str | None) -> Reply:
    fields = {"Authorization": f"Bearer {key.decode()}"} | {n.replace("_", "-"): v for n, v in headers.items()}
    return await exchange(worker, request(body, fields, place))  # type: ignore[arg-type]


def get(place: str = "/acme/default/sse", key: bytes = ANN, method: str = "GET", **headers: str | None) -> bytes:
    fields = {"Authorization": f"Bearer {key.decode()}", "Accept": "text/event-stream"}
    return request(b"", {**fields, "Content-Type": None, "Content-Length": None, **headers}, place, method)


@asynccontextmanager
async def opened(
    worker: Worker, key: bytes = ANN, place: str = "/acme/default/sse", **headers: str
) -> AsyncIterator[Stream]:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", worker.port, limit=1 << 22))
    try:
        await wire.send(get(place, key, **headers))
        status, head = await wire.head()
        assert status == 200
        stream = Stream(wire, dict(head))
        name, stream.place = await stream.event()
        assert name == "endpoint"
        yield stream
    finally:
        await wire.close()


async def greeted(stream: Stream, worker: Worker, key: bytes = ANN) -> None:
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
    assert (await post(worker, stream.place, body, key)).status == 202
    assert (await stream.message())["result"]["protocolVersion"] == "2024-11-05"  # type: ignore[index]
    await post(worker, stream.place, {"jsonrpc": "2.0", "method": "notifications/initialized"}, key)


async def test_the_first_event_says_where_to_post_and_answers_come_on_the_stream(world: Wired) -> None:
    async with opened(world.one) as stream:
        assert stream.head["content-type"] == "text/event-stream"
        assert stream.head["cache-control"].startswith("no-cache")
        assert stream.place.startswith("/acme/default/messages?session=")
        await greeted(stream, world.one)
        accepted = await post(world.one, stream.place, call("hi"))
        assert (accepted.status, accepted.body) == (202, b"Accepted")
        assert (await stream.message())["result"]["content"][0]["text"] == "hi"  # type: ignore[index]


@pytest.mark.parametrize("place", ["/sse", "/servers/matrix/sse", "/acme/default/servers/matrix/sse"])
async def test_each_place_has_its_own_address_for_messages(world: Wired, place: str) -> None:
    async with opened(world.one, place=place) as stream:
        assert stream.place.startswith(place.removesuffix("sse") + "messages?session=")
        await greeted(stream, world.one)
        other = stream.place.replace(place.removesuffix("sse"), "/acme/default/" if place == "/sse" else "/")
        assert (await post(world.one, other, call("elsewhere"))).status == 404


async def test_any_worker_takes_what_is_posted_for_a_stream_of_another(pair: Wired) -> None:
    holder, other = pair.workers
    async with opened(holder) as stream:
        await greeted(stream, other)
        for number, worker in enumerate((other, holder, other)):
            assert (await post(worker, stream.place, call(f"n{number}", number))).status == 202
            answer = await stream.message()
            assert (answer["id"], answer["result"]["content"][0]["text"]) == (number, f"n{number}")  # type: ignore[index]
        assert other.others.bounds()["messages_forwarded"].held == 0


async def test_a_stranger_cannot_post_into_a_stream_it_knows_of(pair: Wired) -> None:
    holder, other = pair.workers
    async with opened(holder) as stream:
        await greeted(stream, holder)
        for worker in pair.workers:
            assert (await post(worker, stream.place, call("evil"), BOB)).status == 404
            assert (await post(worker, stream.place, call("evil"), b"tgk_acme_k9_x")).status == 401
            nobody = await post(worker, stream.place, call("evil"), Authorization=None)
            assert (nobody.status, nobody.header("www-authenticate")) == (401, 'Bearer realm="toolgate"')
        seen = [inbound.method for inbound in holder.inbounds]
        assert "tools/call" not in seen
        assert (await post(other, stream.place, call("mine"))).status == 202
        assert (await stream.message())["result"]["content"][0]["text"] == "mine"  # type: ignore[index]


async def test_a_stream_that_is_not_there_is_nowhere(pair: Wired) -> None:
    holder, other = pair.workers
    async with opened(holder) as stream:
        place = stream.place
        tampered = place[:-1] + ("0" if place[-1] != "0" else "1")
        for worker in pair.workers:
            assert (await post(worker, tampered, call("x"))).status == 404
    for wrong in ("", "?session=", "?session=x", "?session=" + "a" * 500, "?session=../x.y", "?session=%00.a"):
        assert (await post(other, "/acme/default/messages" + wrong, call("x"))).status == 404
    async with asyncio.timeout(LIMIT_S):
        while holder.others.bounds()["talks"].held:
            await asyncio.sleep(0.01)
    assert (await post(holder, place, call("x"))).status == 404
    assert (await post(other, place, call("x"))).status == 404


async def test_a_client_that_tries_streamable_http_first_learns_to_get(world: Wired) -> None:
    reply = await post(
        world.one, "/acme/default/sse", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
    )
    assert (reply.status, reply.header("allow")) == (405, "GET, OPTIONS")
    assert not reply.body.startswith(b"{")
    assert (await exchange(world.one, get("/acme/default/messages"))).status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer tgk_acme_k9_wrong"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": ORIGIN}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Accept": "application/json"}, 406),
        ({"Accept": "*/*"}, 200),
        ({"Accept": None}, 200),
    ],
)
async def test_who_may_open_a_stream(world: Wired, headers: dict[str, str | None], status: int) -> None:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", world.one.port))
    await wire.send(get(**headers))  # type: ignore[arg-type]
    answered, head = await wire.head()
    assert answered == status
    if headers.get("Origin"):
        assert dict(head).get("access-control-allow-origin") == (ORIGIN if status == 200 else None)
    await wire.close()


async def test_a_message_of_another_page_is_refused(world: Wired) -> None:
    async with opened(world.one, Origin=ORIGIN) as stream:
        await greeted(stream, world.one)
        assert (await post(world.one, stream.place, call("x", 5), Origin="https://evil.example")).status == 403
        assert (await post(world.one, stream.place, call("x", 6), Origin=ORIGIN)).status == 202
        assert (await stream.message())["id"] == 6


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'"text"', {}, 400),
        (b"[]", {}, 400),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', {}, 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', {"Content_Type": "text/plain"}, 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"' + b"x" * 5_000_000 + b'"}}', {}, 413),
    ],
)
async def test_what_is_no_message_is_told_to_whoever_posts_it(
    world: Wired, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with opened(world.one) as stream:
        assert (await post(world.one, stream.place, body, **headers)).status == status
        await greeted(stream, world.one)


async def test_a_session_goes_no_further_than_the_key_that_began_it(pair: Wired) -> None:
    holder, other = pair.workers
    async with opened(holder) as stream:
        await greeted(stream, other)
        pair.swap(without_keys=(ANN,))
        assert await stream.wire.reader.readuntil(b"0\r\n\r\n")
        for worker in pair.workers:
            assert (await post(worker, stream.place, call("late"))).status == 401
        assert (await exchange(other, get())).status == 401


async def test_silence_is_kept_alive_with_comments(compiled: Path) -> None:
    async with wired(compiled, quiet_s=0.05) as world, opened(world.one) as stream:
        assert await stream.event() == ("", ": ping")
        assert await stream.event() == ("", ": ping")


async def test_a_client_that_does_not_read_its_stream_is_cut_off(world: Wired) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.one.port, limit=1024)
    writer.write(get())
    async with asyncio.timeout(LIMIT_S):
        head = await reader.readuntil(b"session=")
        place = "/acme/default/messages?session=" + (await reader.readuntil(b"\n")).decode().strip()
    assert b"endpoint" in head
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
    assert (await post(world.one, place, body)).status == 202
    wrong = json.dumps({"jsonrpc": "2.0", "id": "i" * 1000, "method": "no/such" + "x" * 80}).encode()
    async with asyncio.timeout(20):
        while (await post(world.one, place, wrong)).status == 202:
            assert world.one.others.bounds()["talk_bytes"].held < 4_000_000
            big = {"name": "big", "arguments": {"size": 1_000_000}}
            await post(world.one, place, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": big})
            if world.one.others.in_flight >= 64:
                break
    assert world.one.others.bounds()["talk_bytes"].held < 4_000_000
    writer.close()
    async with asyncio.timeout(LIMIT_S):
        while world.one.others.bounds()["talks"].held:
            await asyncio.sleep(0.01)
    assert world.one.others.in_flight == 0
