"""WebSocket servers that are broken, hostile or merely gone; and how a connection is shared."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from wsproto.events import BytesMessage, CloseConnection, Ping, RejectConnection, TextMessage

from core.call import Ask, Interest, Outgoing, Question, Reply
from core.errors import Reason, Unavailable
from core.server import WebSocketTransport
from data_plane.upstreams import websocket
from data_plane.upstreams.channels import ChannelBackend
from tests.data_plane.upstreams.test_pool import certificate
from tests.harness.upstream_route import ECHO, route_to
from tests.harness.upstream_websocket import Peer, RawWebSocket, scripted

ROOTS = b'{"roots":{}}'


@pytest.fixture
async def backend() -> AsyncIterator[ChannelBackend]:
    backend = ChannelBackend(WebSocketTransport, websocket.connect, modern=True)
    yield backend
    await backend.close()


async def call(
    backend: ChannelBackend,
    server: RawWebSocket | str,
    outgoing: Outgoing = ECHO,
    ask: Ask | None = None,
    **changes: Any,
) -> bytes:
    url = server if isinstance(server, str) else server.url
    transport = WebSocketTransport(url=url, allow_private=changes.pop("allow_private", True))
    route = route_to(transport, **{"era": "legacy", **changes})
    return (await backend.call(route, outgoing, lambda _: None, ask)).result


async def answers(peer: Peer) -> None:
    await peer.handshake()
    while True:
        await peer.answer(await peer.message())


async def test_it_asks_for_the_subprotocol_with_its_path_and_its_headers(backend: ChannelBackend) -> None:
    async with scripted(answers) as server:
        own = ((b"Authorization", b"Bearer a"), (b"Sec-WebSocket-Key", b"stolen"), (b"Upgrade", b"h2c"))
        assert b"ok" in await call(backend, server, headers=own)
        request = server.peers[0].request
        assert request is not None
        assert (request.subprotocols, request.target) == (["mcp"], "/ws?a=b")
        headers = dict(request.extra_headers)
        assert headers[b"authorization"] == b"Bearer a"
        assert b"stolen" not in headers.values()


async def test_calls_share_a_connection_unless_credential_or_capabilities_differ(backend: ChannelBackend) -> None:
    async def nobody(_: Question) -> Reply:
        raise AssertionError

    async with scripted(answers) as server:
        await asyncio.gather(*(call(backend, server) for _ in range(20)))
        assert len(server.peers) == 1
        await call(backend, server, headers=((b"Authorization", b"Bearer b"),))
        assert len(server.peers) == 2
        able = Outgoing(arguments=b"{}", capabilities=ROOTS)
        for _ in range(2):
            await call(backend, server, able, nobody)
        assert len(server.peers) == 3
        await call(backend, server, able, None)
        assert len(server.peers) == 3


async def test_a_connection_lost_between_calls_is_made_again_and_lost_in_a_call_fails_it(
    backend: ChannelBackend,
) -> None:
    async def once(peer: Peer) -> None:
        await peer.handshake()
        await peer.answer(await peer.message())
        if len(server.peers) == 2:
            await peer.message()

    async with scripted(once) as server:
        assert b"ok" in await call(backend, server)
        await server.peers[0].writer.wait_closed()
        await asyncio.sleep(0.05)  # For the end to come through the kernel: here nothing tells.
        assert b"ok" in await call(backend, server)
        with pytest.raises(Unavailable) as caught:
            await call(backend, server)
        assert caught.value.reason is Reason.UPSTREAM_UNAVAILABLE
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (TextMessage("no json"), "no JSON-RPC message"),
        (TextMessage("[1]"), "no JSON-RPC message"),
        (BytesMessage(b'{"jsonrpc":"2.0","id":2,"result":{}}'), "binary frames"),
        (CloseConnection(1011, "out of order"), "1011 out of order"),
    ],
    ids=lambda said: said if isinstance(said, str) else type(said).__name__,
)
async def test_what_no_server_says_ends_the_connection(said: Any, why: str, backend: ChannelBackend) -> None:
    async def odd(peer: Peer) -> None:
        await peer.handshake()
        await peer.message()
        await peer.send(said)
        await peer.message()

    async with scripted(odd) as server:
        with pytest.raises(Unavailable) as caught:
            await call(backend, server)
        assert why in caught.value.detail


async def test_bytes_that_are_no_websocket_end_the_connection(backend: ChannelBackend) -> None:
    async def odd(peer: Peer) -> None:
        await peer.handshake()
        await peer.message()
        await peer.raw(b"\xff" * 100)
        await peer.message()

    async with scripted(odd) as server:
        with pytest.raises(Unavailable, match="Invalid opcode"):
            await call(backend, server)


async def test_a_message_beyond_the_cap_in_however_many_pieces_is_refused(backend: ChannelBackend) -> None:
    async def drips(peer: Peer) -> None:
        await peer.handshake()
        await peer.message()
        while True:
            await peer.send(TextMessage("x" * 60_000, message_finished=False))

    async with scripted(drips) as server:
        with pytest.raises(Unavailable) as caught:
            await call(backend, server, max_result_bytes=200_000)
        assert caught.value.reason is Reason.UPSTREAM_TOO_LARGE


async def test_a_refused_handshake_says_its_status_and_redirects_are_not_followed(backend: ChannelBackend) -> None:
    async def rejects(peer: Peer) -> None:
        await peer.event()
        status = 403 if len(server.peers) == 1 else 302
        await peer.send(RejectConnection(headers=[(b"location", b"ws://127.0.0.1:1/")], status_code=status))

    async with scripted(rejects) as server:
        for status in ("403", "302"):
            with pytest.raises(Unavailable, match=f"HTTP {status}"):
                await call(backend, server)


async def test_pings_are_answered(backend: ChannelBackend) -> None:
    async def pings(peer: Peer) -> None:
        await peer.handshake()
        request = await peer.message()
        await peer.send(Ping(b"there?"))
        await peer.say(id="p", method="ping")
        assert (await peer.message())["id"] == "p"
        await peer.answer(request, f"{peer.pongs} pongs")
        await peer.message()

    async with scripted(pings) as server:
        assert b"1 pongs" in await call(backend, server)


async def test_one_that_answers_no_ping_is_taken_for_dead() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.handshake()
        await asyncio.Event().wait()

    backend = ChannelBackend(WebSocketTransport, partial(websocket.connect, ping_s=0.05, silent_s=0.2), modern=True)
    try:
        async with scripted(deaf) as server:
            with pytest.raises(Unavailable, match="silent"):
                await call(backend, server)
    finally:
        await backend.close()


async def test_one_that_never_accepts_or_never_answers_meets_the_deadline(backend: ChannelBackend) -> None:
    async def silent(peer: Peer) -> None:
        if len(server.peers) == 1:
            await asyncio.Event().wait()
        await peer.handshake()
        while True:
            await peer.message()

    async with scripted(silent) as server:
        for credential in (b"a", b"b"):
            with pytest.raises(Unavailable) as caught:
                await call(backend, server, deadline_s=0.3, headers=((b"Authorization", credential),))
            assert caught.value.reason is Reason.UPSTREAM_TIMEOUT


async def test_the_deadline_stands_still_while_the_caller_thinks(backend: ChannelBackend) -> None:
    async def asks(peer: Peer) -> None:
        await peer.handshake()
        request = await peer.message()
        await peer.say(id=1, method="roots/list")
        await peer.answer(request, str((await peer.message())["result"]))
        await peer.message()

    async def thinks(_: Question) -> Reply:
        await asyncio.sleep(0.6)  # Longer than the deadline, and no event says when that has passed.
        return Reply(result=b'{"roots":[]}')

    async with scripted(asks) as server:
        able = Outgoing(arguments=b"{}", capabilities=ROOTS)
        assert b"roots" in await call(backend, server, able, thinks, deadline_s=0.4)


async def test_over_tls_the_certificate_is_verified(backend: ChannelBackend, tmp_path: Path) -> None:
    cert, key = certificate("localhost")
    (tmp_path / "cert.pem").write_bytes(cert)
    (tmp_path / "key.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with scripted(answers, ssl=context) as server:
        trusted = WebSocketTransport(url=server.url, allow_private=True, ca_pem=cert.decode())
        assert (await backend.call(route_to(trusted, era="legacy"), ECHO, lambda _: None)).result
        with pytest.raises(Unavailable, match="does not verify"):
            await call(backend, server)


async def test_private_addresses_take_permission(backend: ChannelBackend) -> None:
    with pytest.raises(Unavailable, match="allow_private"):
        await call(backend, "ws://127.0.0.1:9/", allow_private=False)


async def test_a_dead_server_is_left_alone_for_a_while(backend: ChannelBackend) -> None:
    details = []
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await call(backend, "ws://127.0.0.1:9/")
        details.append(caught.value.detail)
    assert "cannot connect" in details[0]
    assert "not trying for a moment" in details[-1]


async def test_retiring_ends_listening_lets_calls_end_and_says_goodbye(backend: ChannelBackend) -> None:
    there, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.handshake()
        request = await peer.message()
        there.set()
        await go.wait()
        await peer.answer(request)
        await peer.message()

    async with scripted(slow) as server:
        running = asyncio.ensure_future(call(backend, server))
        async with asyncio.timeout(5):
            await there.wait()
        began = asyncio.Event()
        route = route_to(WebSocketTransport(url=server.url, allow_private=True), era="legacy")
        listening = asyncio.ensure_future(backend.watch(route, Interest(), lambda _: None, began=began.set))
        async with asyncio.timeout(5):
            await began.wait()
        backend.retire("acme", "upstream")
        with pytest.raises(Unavailable):
            await listening
        go.set()
        assert b"ok" in await running
        async with asyncio.timeout(5):
            while server.peers[0].closed_with is None:
                await asyncio.sleep(0.01)
        assert server.peers[0].closed_with == 1000


async def test_what_was_said_to_be_modern_gets_no_handshake(backend: ChannelBackend) -> None:
    async def modern(peer: Peer) -> None:
        await peer.accept()
        request = await peer.message()
        meta = request["params"]["_meta"]
        await peer.answer(request, meta["io.modelcontextprotocol/protocolVersion"])
        await peer.message()

    async with scripted(modern) as server:
        assert b"2026-07-28" in await call(backend, server, era="modern")


async def test_a_greeting_finds_the_era_of_one_that_hangs_up_on_what_it_does_not_know(backend: ChannelBackend) -> None:
    async def old(peer: Peer) -> None:
        if len(server.peers) == 1:
            await peer.accept()
            await peer.message()
            return
        await answers(peer)

    async with scripted(old) as server:
        transport = WebSocketTransport(url=server.url, allow_private=True)
        greeting = await backend.greet(route_to(transport, era=None))
        assert (greeting.era, greeting.revision) == ("legacy", "2025-11-25")
