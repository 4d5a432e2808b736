"""What the REST port says to browsers, and to clients that take their time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypercorn.asyncio import serve

from control_plane import listening, settings
from control_plane.api.rest_edge import SECURITY_HEADERS
from control_plane.oauth.edge import ENDPOINTS
from core.oauth.server import ISSUER_PATH
from tests.harness.control_plane import Plane

ORIGIN = "https://evil.example"
PATHS = [
    *("/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/tenants", "/v1/tenants/acme", "/v1/nothing"),
    *("/connect/acme/made-up", "/connect/callback", "/connect/client.json", "/connect/", "/auth/a2a/token"),
    *(f"{ISSUER_PATH}acme/{endpoint}" for endpoint in sorted(ENDPOINTS)),
    "/.well-known/oauth-authorization-server/auth/t/acme",
]
OPEN_TO_ALL = {f"{ISSUER_PATH}acme/{endpoint}" for endpoint in ENDPOINTS - {"authorize"}}
"""Where clients that run in browsers come; no cookie is ever read there."""


async def test_every_page_and_answer_says_what_a_browser_may_do_with_it(plane: Plane) -> None:
    acme = {"spec": {}}
    assert (await plane.http("PUT", "/v1/tenants/acme", acme)).status == 200
    assert (await plane.http("PUT", "/v1/tenants/acme/authorizationservers/default", acme)).status == 200
    for path in PATHS:
        for verb in ("GET", "POST", "OPTIONS", "PATCH"):
            for token in ("", None):
                got = await plane.http(verb, path, token=token, origin=ORIGIN)
                where = f"{verb} {path} {got.status}"
                assert got.status < 500, where
                for name in ("x-content-type-options", "x-frame-options"):
                    assert got.headers[name] == SECURITY_HEADERS[name], where
                policy = got.headers["content-security-policy"]
                assert "default-src 'none'" in policy, where
                assert "frame-ancestors 'none'" in policy, where
                assert got.headers["referrer-policy"] in ("no-referrer", "same-origin"), where
                assert got.headers["cache-control"], where
                assert "server" not in got.headers, where
                _shared(path, got.headers, where)


def _shared(path: str, headers: object, where: str) -> None:
    """Who of other origins may read the answer."""
    assert isinstance(headers, dict)
    allowed = headers.get("access-control-allow-origin")
    known = path.startswith("/.well-known/") or path in OPEN_TO_ALL or path == "/auth/a2a/token"
    assert allowed in ((None, "*") if known else (None,)), where
    assert "access-control-allow-credentials" not in headers, where


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: l", b"GET / HTTP/1.1\r\nHost: l\r\n\r\n"])
async def test_a_client_that_takes_its_time_with_a_head_is_hung_up_on(tmp_path: Path, sent: bytes) -> None:
    """However it drips: its clock is not set back by a byte."""
    wanted = settings.read(["--data-dir", str(tmp_path)], {"TOOLGATE_DATABASE_URL": "postgresql://nowhere"})
    listener = listening.bound_listener("127.0.0.1", 0)
    listener.listen()  # Who comes before it is served waits.
    config = listening.http_config(replace(wanted, drain_s=0.0), listener)
    assert config.keep_alive_timeout == 30
    config.keep_alive_timeout = 0.3
    stop = asyncio.Event()

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        writer.write(sent)
        async with asyncio.timeout(5):
            while not reader.at_eof():
                try:
                    async with asyncio.timeout(0.1):
                        await reader.read(1000)
                except TimeoutError:
                    if sent and not sent.endswith(b"\r\n"):
                        writer.write(b"a")
                except ConnectionError:
                    break
        writer.close()
        stop.set()
    listener.close()
