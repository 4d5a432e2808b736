"""What HTTP/1.1 lets a client write, and how much of it is served: targets, codings, an early end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from front_harness import Site, Wire, modern, modern_headers, request, serving

HEADERS = modern_headers()
SLOW = modern(params={"name": "hang", "arguments": {}})


def slow(**headers: str) -> bytes:
    return request(SLOW, modern_headers(name="hang") | headers)


# === an early end ===


async def waits(site: Site) -> None:
    wire = await site.connect()
    await wire.send(slow())
    wire.writer.write_eof()
    async with asyncio.timeout(5):
        await site.pipeline.started.wait()
    status, _ = await wire.head()
    assert status == 100
    site.pipeline.go_on.set()
    reply = await wire.reply()
    assert (reply.status, reply.header("connection")) == (200, "close")
    assert reply.json()["result"]["content"][0]["text"] == "waited"
    assert await wire.closed()


async def leaves(site: Site) -> None:
    wire = await site.connect()
    await wire.send(slow())
    async with asyncio.timeout(5):
        await site.pipeline.started.wait()
        await wire.close()
        await site.pipeline.cancelled.wait()


async def leaves_before_all_is_said(site: Site) -> None:
    wire = await site.connect()
    await wire.send(slow()[:-5])
    wire.writer.write_eof()
    assert await wire.closed()
    assert not site.pipeline.started.is_set()


async def leaves_in_version_1_0(site: Site) -> None:
    """It has no interim responses."""
    wire = await site.connect()
    await wire.send(slow().replace(b"HTTP/1.1", b"HTTP/1.0"))
    async with asyncio.timeout(5):
        await site.pipeline.started.wait()
        wire.writer.write_eof()
        await site.pipeline.cancelled.wait()


async def several_and_an_end(site: Site) -> None:
    wire = await site.connect()
    await wire.send(request(modern(), HEADERS) + request(modern(id=2), HEADERS))
    wire.writer.write_eof()
    got: list[object] = []
    while len(got) < 2:
        status, fields = await wire.head()
        if status == 200:
            got.append((await wire.reader.readexactly(int(dict(fields)["content-length"])))[:25])
    assert await wire.closed()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "client", [waits, leaves, leaves_before_all_is_said, leaves_in_version_1_0, several_and_an_end]
)
def test_who_has_said_all_is_answered_and_who_is_gone_is_not_waited_for(
    client: Callable[[Site], Awaitable[None]], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> None:
        async with serving() as site:
            await client(site)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


# === codings ===


@pytest.mark.parametrize("path", ["/acme/main/mcp"])
@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_a_coded_body_is_refused_as_such(site: Site, path: str, coding: str) -> None:
    reply = await site.post(modern(), HEADERS | {"Content-Encoding": coding}, path)
    assert (reply.status, reply.json()["error"]["code"]) == (415, -32600)
    assert not site.pipeline.seen


async def test_a_body_as_it_is_may_be_said_to_be_so(site: Site) -> None:
    assert (await site.post(modern(), HEADERS | {"Content-Encoding": "Identity"})).status == 200


# === targets ===


async def test_an_absolute_target_names_the_host(site: Site) -> None:
    said = {"Host": "evil.example", "Origin": "http://localhost"}
    reply = await site.post(modern(), HEADERS | said, "http://localhost/acme/main/mcp?x=1")
    assert reply.status == 200
    assert site.pipeline.seen[-1].host == "localhost"
    assert (await site.post(modern(), HEADERS, "http://evil.example/acme/main/mcp")).status == 421
    assert (await site.post(modern(), HEADERS, "HTTP://localhost")).status == 404


@pytest.mark.parametrize(
    "target", ["ftp://localhost/mcp", "http://a@localhost/mcp", "http:///mcp", "*", "localhost:80"]
)
async def test_a_target_of_another_form_is_refused(site: Site, target: str) -> None:
    wire: Wire = await site.connect()
    await wire.send(request(modern(), HEADERS, target))
    assert (await wire.head())[0] == 400
    assert not site.pipeline.seen
