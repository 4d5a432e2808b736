"""The suite's authorization-server scenarios, against a tenant's own issuer; a browser of ours stands for a person."""

import asyncio
import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from tests.conformance.suite import NODE, SUITE
from tests.harness.browser import Browser
from tests.harness.control_plane import Plane, control_plane
from tests.harness.planes import free_port
from tests.harness.postgres import FAST

SCENARIOS = ("authorization-server-metadata-endpoint", "authorization-code-grant")
WITHIN_S = 60.0
PASSWORD = "correct horse battery staple"
RESOURCE = "http://127.0.0.1:8080/acme/default/mcp"
_LINK = re.compile(r"https?://\S+/authorize\?\S+")


async def main(folder: Path) -> bool:
    """Whether all passed; printed. The second takes up what the first found, so they run together."""
    from adapters.postgres.embedded import EmbeddedPostgres

    folder.mkdir(parents=True, exist_ok=True)
    print("\n## authorization\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="toolgate-pg-") as data:
        postgres = EmbeddedPostgres(Path(data), settings=FAST)
        await postgres.start()
        try:
            async with control_plane(postgres.dsn(), folder / "data") as plane:
                port = free_port()
                await _declare(plane, port)
                issuer = f"http://127.0.0.1:{plane.serving.admin_port}/oauth/acme"
                passed = await _passes(issuer, port, folder)
        finally:
            await postgres.stop()
    return passed


async def _declare(plane: Plane, port: int) -> None:
    client = {
        "grants": ["authorization_code"],
        "auth": "none",
        "redirect_uris": [f"http://127.0.0.1:{port}/callback"],
    }
    for verb, path, body in (
        ("PUT", "/v1/tenants/acme", {"spec": {}}),
        ("PUT", "/v1/tenants/acme/endpoints/default", {"spec": {"members": []}}),
        ("PUT", "/v1/tenants/acme/authorizationservers/default", {"spec": {}}),
        ("PUT", "/v1/tenants/acme/users/ada", {"spec": {}}),
        ("POST", "/v1/tenants/acme/users/ada:setPassword", {"password": PASSWORD}),
        ("PUT", "/v1/tenants/acme/agents/suite", {"spec": {"oauth": client}}),
    ):
        answer = await plane.http(verb, path, body)
        assert answer.status == 200, answer.body


async def _passes(issuer: str, port: int, folder: Path) -> bool:
    words = ["authorization", "--url", issuer, "--client-id", "suite", "--resource", RESOURCE, "-p", str(port)]
    process = await asyncio.create_subprocess_exec(
        *(NODE, SUITE, *words, "-o", folder / "results"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = []
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            async for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip()
                said.append(line)
                link = _LINK.search(line)
                if link is not None:
                    await _allow(link[0])
            code = await process.wait()
    except TimeoutError:
        process.kill()
        code = await process.wait()
    ran = [name for name in SCENARIOS if any(name in line for line in said)]
    well = code == 0 and ran == list(SCENARIOS)
    print(f"{', '.join(ran)}: {'passed' if well else f'FAILED, exit {code}'}", flush=True)
    for line in said[-6:] if well else said:
        print(f"    {line}")
    return well


async def _allow(link: str) -> None:
    """What a person does: signs in, reads, allows, and is led back to the client."""
    browser = Browser()
    page = await browser.open(link)
    page = await browser.send(page, "sign-in", user="ada", password=PASSWORD)
    page = await browser.send(page, "consent", "allow")
    assert urlsplit(page.location).path == "/callback", page.text
    await browser.open(page.location)
