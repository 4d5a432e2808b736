"""What is not MCP: probes, browsers, preflights; and how the server leaves."""

import asyncio

import pytest
from front_harness import KEY, Site, call, modern, modern_headers, request, serving

from data_plane.fronts.server_options import ServerOptions
from data_plane.fronts.streamable_http import FrontOptions


def get(path: str, method: str = "GET", **headers: str) -> bytes:
    fields = {"Host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


async def test_probes_answer_to_any_host(site: Site) -> None:
    assert (await site.exchange(get("/healthz", Host="10.0.0.7"))).status == 200
    assert (await site.exchange(get("/readyz", Host="10.0.0.7"))).status == 200
    site.stop.set()


async def test_a_browser_gets_a_page_that_says_how_to_connect(site: Site) -> None:
    reply = await site.exchange(get("/acme/main/mcp", Accept="text/html,*/*", Host="localhost:80"))
    assert reply.status == 200
    assert "http://localhost:80/acme/main/mcp" in reply.body.decode()
    assert reply.header("x-content-type-options") == "nosniff"
    assert "default-src 'none'" in (reply.header("content-security-policy") or "")
    other = await site.exchange(get("/nobody/none/mcp", Accept="text/html,*/*", Host="localhost:80"))
    assert other.body.decode() == reply.body.decode().replace("/acme/main/", "/nobody/none/")


async def test_configured_hosts_are_served_and_others_are_not() -> None:
    async with serving(FrontOptions(public_hosts=frozenset({"mcp.example.com"}))) as site:
        served = {}
        for host in (
            "mcp.example.com",
            "MCP.example.com:8443",
            "[::1]:80",
            "127.0.0.1",
            "evil.example",
            "a@localhost",
            "",
        ):
            served[host] = (await site.post(modern(), modern_headers() | {"Host": host})).status
        assert served == {
            "mcp.example.com": 200,
            "MCP.example.com:8443": 200,
            "[::1]:80": 200,
            "127.0.0.1": 200,
            "evil.example": 421,
            "a@localhost": 421,
            "": 421,
        }


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://chat.example.com", True),
        ("http://localhost:6274", True),
        ("http://127.0.0.1", True),
        ("https://chat.example.com.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
        ("http://localhost.evil.example", False),
        ("http://localhost@evil.example", False),
    ],
)
async def test_pages_of_allowed_origins_only(site: Site, origin: str, allowed: bool) -> None:
    preflight = await site.exchange(
        get(
            "/acme/main/mcp",
            "OPTIONS",
            Origin=origin,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization, mcp-method",
        )
    )
    reply = await site.post(modern(), modern_headers() | {"Origin": origin})
    assert (preflight.status, reply.status) == ((204, 200) if allowed else (403, 403))
    for answer in (preflight, reply):
        assert answer.header("access-control-allow-origin") == (origin if allowed else None)
    if allowed:
        assert preflight.header("access-control-allow-headers") == "authorization, mcp-method"


async def test_draining_finishes_what_is_in_flight_and_takes_no_more(site: Site) -> None:
    idle, busy = await site.connect(), await site.connect()
    await idle.send(request(modern(), modern_headers()))
    await idle.reply()
    await busy.send(request(modern(params={"name": "hang"}), modern_headers(name="hang")))
    async with asyncio.timeout(20):
        await site.pipeline.started.wait()
    site.stop.set()
    assert await idle.closed()
    site.pipeline.go_on.set()
    reply = await busy.reply()
    assert (reply.status, reply.header("connection")) == (200, "close")
    assert await busy.closed()
    async with asyncio.timeout(20):
        await site.served
    with pytest.raises(OSError):
        await site.connect()


async def test_what_does_not_finish_in_time_is_told_so() -> None:
    async with serving(server=ServerOptions(drain_s=0.1)) as site:
        token = await site.session()
        one, two = await site.connect(), await site.connect()
        await one.send(request(modern(params={"name": "hang"}), modern_headers(name="hang")))
        await two.send(request(call("hang"), {"Mcp-Session-Id": token}))
        async with asyncio.timeout(20):
            while site.front.in_flight < 2:
                await asyncio.sleep(0)
        site.stop.set()
        for wire in (one, two):
            reply = await wire.reply()
            assert (reply.status, reply.json()["error"]["code"]) == (503, 503)
            assert await wire.closed()


async def test_no_credential_is_read_from_the_query(site: Site) -> None:
    reply = await site.post(modern(), modern_headers() | {"Authorization": None}, f"/acme/main/mcp?api_key={KEY}")
    assert reply.status == 400
    assert "no place in a URL" in reply.json()["error"]["message"]
