"""Behind a trusted proxy attempts are counted by whose they are; a stranger's word for it counts for nothing."""

from pathlib import Path

from tests.control_plane.oauth.conftest import REDIRECT, Issuer, declare
from tests.harness.control_plane import control_plane
from tests.harness.postgres import Server

PROXY, STRANGER = "127.5.5.5", "127.6.6.6"


async def registered(issuer: Issuer, source: str, said: str) -> int:
    path, about = f"/oauth/{issuer.tenant}/register", {"redirect_uris": [REDIRECT]}
    answer = await issuer.plane.http("POST", path, about, token="", source=source, x_forwarded_for=said)
    return answer.status


async def test_a_trusted_proxys_clients_are_counted_apart(postgres: Server, tmp_path: Path) -> None:
    with postgres.fresh() as dsn:
        async with control_plane(dsn, tmp_path, "--trusted-proxies", f"{PROXY}/32") as plane:
            issuer = Issuer(plane, "acme")
            await declare(issuer)
            await issuer.server(dynamic_registration=True)
            busy = [await registered(issuer, PROXY, f"203.0.113.9, 2001:db8::{n:x}") for n in range(12)]
            assert busy[:10] == [201] * 10
            assert busy[11] == 429
            assert await registered(issuer, PROXY, "2001:db8:0:1::1") == 201
            liar = [await registered(issuer, STRANGER, f"198.51.100.{n}") for n in range(12)]
            assert (liar[0], liar[11]) == (201, 429)
