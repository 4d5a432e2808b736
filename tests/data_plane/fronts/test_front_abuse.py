"""Rough clients: malformed, oversized, slow, too many. None gets a 5xx for its own fault, or anything for free."""

import asyncio
import gc
import json
import random

import pytest
from front_harness import Site, call, modern, modern_headers, request, serving

from core.errors import Reason
from core.mcp.jsonrpc import MAX_DEPTH
from data_plane.fronts.server import Connection
from data_plane.fronts.server_options import ServerOptions
from data_plane.fronts.streamable_http import FrontOptions

HEADERS = modern_headers()
DEEP = 100_000
NAMED = [
    b"\x00",
    b"null",
    b"7",
    b'"text"',
    b"NaN",
    b"[" * DEEP,
    b"[" * 900 + b"]" * 900,
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":"\xed\xa0\x80"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":"\\ud800"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1e999}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":' + b"9" * 6000 + b"}}}",
    b'{"jsonrpc":"2.0","jsonrpc":"1.0","id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"a","method":7}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":[]}}',
    b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":{}}}}',
]


def malformed(count: int) -> list[bytes]:
    """Real requests with bytes cut, doubled, flipped and swapped."""
    dice = random.Random(20261120)
    seeds = [json.dumps(body).encode() for body in (modern(), call(), modern(progressToken="t"), {"jsonrpc": "2.0"})]
    bodies = list(NAMED)
    while len(bodies) < count:
        body = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(body))
            match dice.randrange(4):
                case 0:
                    del body[at : at + dice.randint(1, 20)]
                case 1:
                    body[at:at] = bytes(dice.randrange(256) for _ in range(dice.randint(1, 4)))
                case 2:
                    body[at] = dice.randrange(256)
                case _:
                    body[at:at] = dice.choice([b"{", b"[", b"null", b'"', b"\\u0000", b"1e9999", b"\x00"])
            body = body or bytearray(b" ")
        bodies.append(bytes(body))
    return bodies


@pytest.mark.parametrize("headers", [HEADERS, {}, {"Mcp-Session-Id": "made-up"}], ids=["modern", "bare", "session"])
async def test_500_malformed_bodies_get_a_json_rpc_error_and_no_5xx(site: Site, headers: dict) -> None:
    wire = await site.connect()
    for body in malformed(500):
        await wire.send(request(body, headers))
        reply = await wire.reply()
        assert reply.status < 500, (body[:200], reply)
        if reply.status in (200, 202):
            continue  # what the dice left valid is served
        answer = reply.json()
        assert answer["jsonrpc"] == "2.0"
        assert isinstance(answer["error"]["code"], int)
    await wire.close()


async def test_a_nesting_up_to_the_limit_is_served(site: Site) -> None:
    def nested(levels: int) -> dict:
        value: object = "x"
        for _ in range(levels):
            value = {"a": value}
        return modern(params={"name": "echo", "arguments": {"text": "[{" * 500, "deep": value}})

    assert (await site.post(nested(MAX_DEPTH - 3), HEADERS)).status == 200
    assert (await site.post(nested(MAX_DEPTH - 2), HEADERS)).status == 400


async def test_a_body_over_the_cap_is_refused_and_the_connection_lives_on() -> None:
    async with serving(FrontOptions(max_body_bytes=10_000)) as site:
        wire = await site.connect()
        big = modern(params={"name": "echo", "arguments": {"text": "x" * 300_000}})
        await wire.send(request(big, HEADERS))
        reply = await wire.reply()
        assert (reply.status, reply.json()["error"]["code"]) == (413, 413)
        await wire.send(request(modern(), HEADERS))
        assert (await wire.reply()).status == 200
        await wire.close()


async def test_a_chunked_body_over_the_cap_is_refused_as_it_comes() -> None:
    async with serving(FrontOptions(max_body_bytes=100_000)) as site:
        wire = await site.connect()
        head = request(b"", HEADERS | {"Content-Length": None, "Transfer-Encoding": "chunked"})
        await wire.send(head + b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        for _ in range(8):
            await wire.send(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        reply = await wire.reply()
        assert reply.status == 413
        await wire.close()


async def test_a_chunked_body_is_put_together(site: Site) -> None:
    body = json.dumps(modern(params={"name": "echo", "arguments": {"text": "y" * 200_000}})).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:150_000], body[150_000:]))
    head = request(b"", HEADERS | {"Content-Length": None, "Transfer-Encoding": "chunked"})
    reply = await site.exchange(head + chunks + b"0\r\n\r\n")
    assert reply.json()["result"]["content"][0]["text"] == "y" * 200_000


async def test_a_refused_expectation_ends_the_connection() -> None:
    async with serving(FrontOptions(max_body_bytes=1000)) as site:
        wire = await site.connect()
        await wire.send(request(b"", HEADERS | {"Content-Length": "5000", "Expect": "100-continue"}))
        assert (await wire.reply()).status == 413
        assert await wire.closed()


async def test_a_content_length_that_lies_gives_nothing_away(site: Site) -> None:
    short = await site.post(b"{}" + b" " * 8, HEADERS | {"Content-Length": "2"})
    assert short.status == 400
    for length in ("-1", "1, 2", "99999999999999999999999", "x"):
        wire = await site.connect()
        await wire.send(request(b"{}", HEADERS | {"Content-Length": length}))
        status, _ = await wire.head()
        assert status in (400, 413)
        await wire.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(site: Site) -> None:
    wire = await site.connect()
    await wire.send(request(b"{", HEADERS | {"Content-Length": "500"}))
    await wire.close()
    assert (await site.post(modern(), HEADERS)).status == 200
    assert len(site.pipeline.seen) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"POST /mcp HTTP/1.1\r\nHost: loc", 408), (request(b"{", {"Content-Length": "9"}), 408), (b"", 408)],
    ids=["half a head", "half a body", "nothing"],
)
async def test_a_slow_client_is_shown_the_door(sent: bytes, status: int) -> None:
    async with serving(server=ServerOptions(head_timeout_s=0.2, body_timeout_s=0.2, drain_s=1)) as site:
        wire = await site.connect()
        await wire.send(sent)
        assert (await wire.head())[0] == status
        assert await wire.closed()


async def test_an_idle_connection_is_closed_but_not_one_that_waits_for_its_answer() -> None:
    async with serving(server=ServerOptions(keep_alive_s=0.1, head_timeout_s=0.1, drain_s=1)) as site:
        waiting = await site.connect()
        await waiting.send(request(modern(params={"name": "hang"}), modern_headers(name="hang")) + b"POST /mcp HT")
        idle = await site.connect()
        await idle.send(request(modern(), HEADERS))
        assert (await idle.reply()).status == 200
        assert await idle.closed()
        site.pipeline.go_on.set()
        assert (await waiting.reply()).status == 200
        await waiting.close()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /acme/main/mcp HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"x" * 40_000,
        b"POST /acme/main/mcp HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X-%d: 1\r\n" % i for i in range(200))
        + b"\r\n",
        b"POST /" + b"a" * 40_000,
    ],
    ids=["a long header", "many headers", "a long path"],
)
async def test_a_head_without_end_is_refused(site: Site, head: bytes) -> None:
    wire = await site.connect()
    await wire.send(head)
    assert (await wire.head())[0] == 431
    await wire.close()


LONG = {"X-Big": "x" * 33_000}


@pytest.mark.parametrize("before", [b"", request(modern(id=1), HEADERS)], ids=["alone", "behind another"])
@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize(
    "head",
    [request(modern(), HEADERS | LONG), request(modern(), HEADERS, path="/acme/main/mcp?" + "a" * 33_000)],
    ids=["a header", "a path"],
)
async def test_a_head_too_long_is_refused_however_it_is_cut(
    site: Site, head: bytes, before: bytes, pieces: int
) -> None:
    wire = await site.connect()
    sent = before + head
    step = -(-len(sent) // pieces)
    for at in range(0, len(sent), step):
        await wire.send(sent[at : at + step])
    status = (await wire.reply()).status
    if before and status == 200:
        status = (await wire.reply()).status
    assert status == 431
    await wire.close()


async def test_trailers_are_not_kept_however_many(site: Site) -> None:
    wire = await site.connect()
    chunked = modern_headers(name="echo") | {"Content-Length": None, "Transfer-Encoding": "chunked"}
    body = json.dumps(modern(id=3)).encode()
    await wire.send(request(b"", chunked) + b"%x\r\n%b\r\n0\r\n" % (len(body), body))
    for number in range(200):
        await wire.send(b"X-Trailer-%d: %s\r\n" % (number, b"y" * 1000))
    await wire.send(b"\r\n")
    assert (await wire.reply()).json()["id"] == 3
    connections = [one for one in gc.get_objects() if isinstance(one, Connection)]
    assert connections
    assert all(len(one.headers) < 100 for one in connections)
    await wire.close()


async def test_a_short_head_is_not_taken_for_a_long_one_because_of_what_comes_with_it(site: Site) -> None:
    long_body = modern(id=1, params={"name": "echo", "arguments": {"text": "x" * 100_000}})
    wire = await site.connect()
    following = request(modern(id=2), HEADERS)
    await wire.send(request(long_body, HEADERS) + following[:40])
    assert (await wire.reply()).status == 200
    await wire.send(following[40:])
    assert (await wire.reply()).json()["id"] == 2
    await wire.close()


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00", b"HELO example\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST * HTTP/1.1\r\n\r\n"]
)
async def test_what_is_not_http_is_refused(site: Site, noise: bytes) -> None:
    wire = await site.connect()
    await wire.send(noise)
    assert (await wire.head())[0] in (400, 421)
    await wire.close()


async def test_an_offer_to_upgrade_is_ignored(site: Site) -> None:
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    wire = await site.connect()
    await wire.send(request(modern(id=1), HEADERS | upgrade))
    assert (await wire.reply()).json()["result"]["content"][0]["text"] == "hi"
    split = request(modern(id=2), HEADERS | upgrade)
    await wire.send(split[:-30])
    await asyncio.sleep(0)
    await wire.send(split[-30:])
    assert (await wire.reply()).json()["id"] == 2
    await wire.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert (await wire.head())[0] == 400


async def test_more_connections_than_allowed_are_turned_away() -> None:
    async with serving(server=ServerOptions(max_connections=2, drain_s=1)) as site:
        kept = [await site.connect() for _ in range(2)]
        for wire in kept:
            await wire.send(request(modern(), HEADERS))
            assert (await wire.reply()).status == 200
        extra = await site.connect()
        assert (await extra.head())[0] == 503
        assert await extra.closed()
        for wire in kept:
            await wire.close()


async def test_large_bodies_share_a_budget() -> None:
    async with serving(FrontOptions(max_buffered_bytes=200_000)) as site:
        reply = await site.post(modern(params={"name": "echo", "arguments": {"text": "x" * 600_000}}), HEADERS)
        assert (reply.status, reply.json()["error"]["code"]) == (503, 503)
        assert (await site.post(modern(), HEADERS)).status == 200


async def test_requests_sent_at_once_are_answered_in_order(site: Site) -> None:
    wire = await site.connect()
    await wire.send(b"".join(request(modern(id=number), HEADERS) for number in range(20)))
    assert [(await wire.reply()).json()["id"] for _ in range(20)] == list(range(20))
    await wire.close()


async def test_a_bug_is_told_by_its_id_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(inbound: object) -> None:
        raise RuntimeError("the password is hunter2")

    site.pipeline.tools["broken"] = broken
    reply = await site.post(modern(params={"name": "broken"}), modern_headers(name="broken"))
    error = reply.json()["error"]
    assert (reply.status, error) == (500, {"code": -32603, "message": f"internal error {site.pipeline.seen[-1].id}"})
    assert "hunter2" in caplog.text


async def test_an_upstreams_nonsense_is_not_a_bug(site: Site) -> None:
    from core.call import Result

    async def nonsense(inbound: object) -> Result:
        return Result(result=b"[1]", era="legacy")

    site.pipeline.tools["nonsense"] = nonsense
    reply = await site.post(modern(params={"name": "nonsense"}), modern_headers(name="nonsense"))
    assert (reply.status, reply.json()["error"]["code"]) == (200, 502)


@pytest.mark.parametrize("reason", list(Reason))
async def test_every_reason_has_an_answer_in_both_eras(site: Site, reason: Reason) -> None:
    from core.errors import Refused

    async def refuse(inbound: object) -> None:
        raise Refused(reason, "a reason", retry_after_s=1.2)

    site.pipeline.tools["refuse"] = refuse
    one = await site.post(modern(params={"name": "refuse"}), modern_headers(name="refuse"))
    two = await site.post(call("refuse"), {"Mcp-Session-Id": await site.session()})
    for reply in (one, two):
        assert reply.json()["id"] == 1
        assert (reply.header("retry-after") == "2") == (reply.status >= 400)


async def test_a_forbidden_tool_and_an_unknown_one_answer_alike(site: Site) -> None:
    from core.errors import Refused

    async def forbidden(inbound: object) -> None:
        raise Refused(Reason.FORBIDDEN, "role says no", detail="secret")

    body = modern(params={"name": "t"})
    unknown = await site.post(body, modern_headers(name="t"))
    site.pipeline.tools["t"] = forbidden
    denied = await site.post(body, modern_headers(name="t"))
    assert (unknown.status, unknown.body) == (denied.status, denied.body)
