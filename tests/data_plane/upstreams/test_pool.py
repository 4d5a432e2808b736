"""Connections: kept, capped, waited for in turn, never reused once closed, and left alone when the server is dead."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.call import Outgoing
from core.errors import Reason, Unavailable
from data_plane.upstreams.mcp_http import HttpBackend
from tests.harness.upstream_raw import Peer, RawServer, Request, result, scripted
from tests.harness.upstream_route import ECHO, over_http, route_to

KEY = ("acme", "upstream")


async def answers(request: Request, peer: Peer) -> None:
    await peer.json(result(request))


class Gate:
    """Holds every answer until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0
        self.enough = asyncio.Event()
        self.wanted = 0

    async def script(self, request: Request, peer: Peer) -> None:
        self.waiting += 1
        if self.waiting >= self.wanted:
            self.enough.set()
        await self.opened.wait()
        await peer.json(result(request))


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with scripted(answers) as server:
        yield server


async def call(backend: HttpBackend, at: RawServer, **changes: object) -> bytes:
    route = route_to(over_http(at.url), **changes)  # type: ignore[arg-type]
    return (await backend.call(route, ECHO, lambda _: None)).result


async def test_calls_one_after_another_use_one_connection(backend: HttpBackend, server: RawServer) -> None:
    for _ in range(20):
        await call(backend, server)
    assert server.connections == 1
    assert backend.connections() == {KEY: (0, 1)}


async def test_calls_beyond_the_cap_wait_their_turn(backend: HttpBackend) -> None:
    gate = Gate()
    gate.wanted = 3
    async with scripted(gate.script) as server:
        transport = over_http(server.url, max_connections=3)
        calls = [asyncio.ensure_future(backend.call(route_to(transport), ECHO, lambda _: None)) for _ in range(30)]
        async with asyncio.timeout(20):
            await gate.enough.wait()
            assert server.connections == 3
            gate.opened.set()
            await asyncio.gather(*calls)
        assert server.connections == 3
        assert len(server.requests) == 30


async def test_a_call_that_never_gets_a_connection_is_told_of_overload(backend: HttpBackend) -> None:
    gate = Gate()
    async with scripted(gate.script) as server:
        transport = over_http(server.url, max_connections=1)
        first = asyncio.ensure_future(backend.call(route_to(transport), ECHO, lambda _: None))
        async with asyncio.timeout(20):
            await gate.enough.wait()
            with pytest.raises(Unavailable) as caught:
                await backend.call(route_to(transport, deadline_s=0.2), ECHO, lambda _: None)
            assert caught.value.reason is Reason.OVERLOADED
            assert caught.value.retry_after_s == 1
            gate.opened.set()
            await first


async def test_waiting_callers_that_go_away_leave_the_pool_as_it_was(backend: HttpBackend) -> None:
    gate = Gate()
    async with scripted(gate.script) as server:
        transport = over_http(server.url, max_connections=1)
        calls = [asyncio.ensure_future(backend.call(route_to(transport), ECHO, lambda _: None)) for _ in range(10)]
        async with asyncio.timeout(20):
            await gate.enough.wait()
            for waiting in calls[1:9]:
                waiting.cancel()
            gate.opened.set()
            await asyncio.gather(calls[0], calls[9])
        assert backend.connections() == {KEY: (0, 1)}


async def test_a_connection_the_server_closed_while_idle_is_never_picked(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.json(result(request))
        peer.close()

    async with scripted(script) as server:
        for _ in range(200):
            await call(backend, server)
        assert server.connections == len(server.requests) == 200


async def test_a_request_the_server_may_have_read_is_not_sent_twice(backend: HttpBackend) -> None:
    """A reused connection that closes after the request was written: nobody knows whether the tool ran."""

    async def script(request: Request, peer: Peer) -> None:
        if request.connection == 1 and len(server.requests) == 2:
            peer.close()
        else:
            await peer.json(result(request))

    async with scripted(script) as server:
        await call(backend, server)
        with pytest.raises(Unavailable) as caught:
            await call(backend, server)
        assert caught.value.reason is Reason.UPSTREAM_UNAVAILABLE
        assert len(server.messages("tools/call")) == 2
        await call(backend, server)


async def test_connection_close_is_respected(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        await peer.json(result(request), headers="Connection: close\r\n")

    async with scripted(script) as server:
        for _ in range(3):
            await call(backend, server)
        assert server.connections == 3
        async with asyncio.timeout(20):
            while backend.connections() != {KEY: (0, 0)}:
                await asyncio.sleep(0)


async def test_bytes_after_an_answer_end_the_connection(backend: HttpBackend) -> None:
    """An answer nobody asked for must not become the answer to the next request."""
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def script(request: Request, peer: Peer) -> None:
        body = result(request)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        await peer.send(head + body + smuggled)

    async with scripted(script) as server:
        for _ in range(5):
            assert b"ok" in await call(backend, server)
        assert server.connections == 5


async def test_a_dead_server_fails_at_once_after_a_few_attempts_and_others_do_not_notice(
    backend: HttpBackend, server: RawServer
) -> None:
    async with scripted(answers) as doomed:
        pass
    for _ in range(3):
        with pytest.raises(Unavailable, match="cannot connect"):
            await call(backend, doomed, server="dead")
    with pytest.raises(Unavailable, match="not trying for a moment") as caught:
        await call(backend, doomed, server="dead")
    assert caught.value.retry_after_s
    assert 0 < caught.value.retry_after_s <= 0.5
    assert await call(backend, server)


async def test_tenants_never_share_a_connection(backend: HttpBackend, server: RawServer) -> None:
    await call(backend, server, tenant="acme")
    await call(backend, server, tenant="globex")
    assert server.connections == 2
    assert set(backend.connections()) == {("acme", "upstream"), ("globex", "upstream")}


async def test_changed_settings_get_new_connections_while_calls_under_way_finish(backend: HttpBackend) -> None:
    gate = Gate()
    async with scripted(gate.script) as server:
        old = asyncio.ensure_future(call(backend, server))
        async with asyncio.timeout(20):
            await gate.enough.wait()
            changed = over_http(server.url, max_connections=7)
            new = asyncio.ensure_future(backend.call(route_to(changed), ECHO, lambda _: None))
            gate.opened.set()
            await asyncio.gather(old, new)
        assert server.connections == 2


async def test_closing_closes_every_connection(server: RawServer) -> None:
    backend = HttpBackend()
    await asyncio.gather(*(call(backend, server) for _ in range(10)))
    await backend.close()
    async with asyncio.timeout(20):
        while server.open_connections:
            await asyncio.sleep(0)


async def test_what_goes_on_the_wire(backend: HttpBackend, server: RawServer) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    outgoing = Outgoing(
        arguments=b'{"text":\n1}',
        capabilities=b'{"elicitation":{}}',
        wants_progress=True,
        log_level="info",
        traceparent=trace,
        tracestate="a=b",
    )
    headers = ((b"Authorization", b"Bearer s3cret"), (b"host", b"evil"), (b"Content-Length", b"0"))
    mirrored = ((b"Mcp-Param-Region", b"eu"),)
    route = route_to(over_http(server.url + "?a=1"), "größe", headers=headers, header_params=mirrored)
    await backend.call(route, outgoing, lambda _: None)
    request = server.requests[0]
    assert (request.verb, request.path) == ("POST", "/mcp?a=1")
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "toolgate",
        "authorization": "Bearer s3cret",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "=?base64?Z3LDtsOfZQ==?=",
        "mcp-param-region": "eu",
        "traceparent": trace,
        "tracestate": "a=b",
        "content-length": str(len(request.body)),
    }
    assert b'"arguments":{"text":\n1}' in request.body
    assert request.message == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "größe",
            "arguments": {"text": 1},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
                "io.modelcontextprotocol/clientInfo": {"name": "toolgate", "version": "0.1.0"},
                "io.modelcontextprotocol/logLevel": "info",
                "progressToken": 1,
                "traceparent": trace,
                "tracestate": "a=b",
            },
        },
    }


@pytest.mark.parametrize(
    "header", [(b"X-Key", b"a\r\nHost: evil"), (b"X-Key", b"a\x00b"), (b"X Key", b"a"), (b"", b"a")]
)
async def test_a_header_that_would_break_the_request_is_not_sent(
    header: tuple[bytes, bytes], backend: HttpBackend, server: RawServer
) -> None:
    with pytest.raises(Unavailable) as caught:
        await call(backend, server, headers=(header,))
    assert "evil" not in caught.value.detail
    assert server.requests == []


async def test_a_trace_state_that_would_break_the_request_stays_out_of_the_headers(
    backend: HttpBackend, server: RawServer
) -> None:
    outgoing = Outgoing(arguments=b"{}", traceparent="00-a", tracestate="a=b\r\nHost: evil")
    await backend.call(route_to(over_http(server.url)), outgoing, lambda _: None)
    assert "tracestate" not in server.requests[0].headers
    assert server.requests[0].headers["traceparent"] == "00-a"


def certificate(name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for a DNS name, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


@pytest.fixture
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[RawServer, str]]:
    """A TLS server whose certificate is for `localhost`, and the certificate."""
    cert, key = certificate("localhost")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(cert)
    (folder / "key.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    async with scripted(answers, ssl=context) as server:
        server.url = f"https://localhost:{server.port}/mcp"
        yield server, cert.decode()


async def test_a_trusted_certificate_is_accepted_and_the_connection_kept(
    secure: tuple[RawServer, str], backend: HttpBackend
) -> None:
    server, pem = secure
    for _ in range(3):
        await backend.call(route_to(over_http(server.url, ca_pem=pem)), Outgoing(arguments=b"{}"), lambda _: None)
    assert server.connections == 1


async def test_a_certificate_nobody_vouches_for_is_refused(secure: tuple[RawServer, str], backend: HttpBackend) -> None:
    with pytest.raises(Unavailable, match="does not verify"):
        await backend.call(route_to(over_http(secure[0].url)), ECHO, lambda _: None)
    assert secure[0].requests == []


async def test_a_certificate_for_another_name_is_refused(secure: tuple[RawServer, str], backend: HttpBackend) -> None:
    server, pem = secure
    url = f"https://127.0.0.1:{server.port}/mcp"
    with pytest.raises(Unavailable, match="does not verify"):
        await backend.call(route_to(over_http(url, ca_pem=pem)), ECHO, lambda _: None)
    assert server.requests == []


async def test_a_ca_that_is_no_pem_says_so(backend: HttpBackend) -> None:
    with pytest.raises(Unavailable, match="ca_pem cannot be used"):
        await backend.call(route_to(over_http("https://127.0.0.1:9/", ca_pem="nonsense")), ECHO, lambda _: None)


async def test_plain_http_on_a_tls_url_is_an_error_within_the_deadline(backend: HttpBackend, server: RawServer) -> None:
    route = route_to(over_http(server.url.replace("http:", "https:")), deadline_s=0.3)
    with pytest.raises(Unavailable) as caught:
        await backend.call(route, ECHO, lambda _: None)
    assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
