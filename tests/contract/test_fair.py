"""What is due is claimed by its age, and of one tenant only its share: somebody with much of it delays nobody else."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from adapters.postgres.connections import PostgresConnections
from adapters.postgres.issuers import PostgresIssuerKeys
from adapters.postgres.secret_sources import PostgresDueSecrets
from adapters.postgres.sinks import PostgresPlaces
from adapters.postgres.webhooks import PostgresOutbox, announce
from control_plane.services.rounds import Errand
from core.audit import Entry
from core.bound import Room
from core.connection import Connection
from tests.control_plane.services.conftest import Plane
from tests.control_plane.services.conftest import plane as plane  # noqa: PLC0414 - the fixture

WHOSE = (*("acme",) * 5, "umbrella")
"""Whose each is, the oldest first."""

Claim = Callable[[Room], Awaitable[Sequence[Errand]]]


async def issuers(plane: Plane) -> Claim:
    for n, tenant in enumerate(WHOSE):
        await plane.apply("IdentityProvider", f"okta-{n}", {"issuer": f"https://{n}.example"}, tenant=tenant)
    return lambda room: PostgresIssuerKeys(plane.database).claim(room, 60.0)


async def secrets(plane: Plane) -> Claim:
    for n, tenant in enumerate(WHOSE):
        await plane.apply("Secret", f"db-{n}", {"source": {"type": "file", "path": "password"}}, tenant=tenant)
    return lambda room: PostgresDueSecrets(plane.database).claim(room, 60.0)


async def sinks(plane: Plane) -> Claim:
    for tenant in dict.fromkeys(WHOSE):
        await plane.apply("Secret", "key", {"value": "sesame"}, tenant=tenant)
    for n, tenant in enumerate(WHOSE):
        to = {"type": "webhook", "url": "https://siem.example/in", "secret": "key"}
        await plane.apply("AuditSink", f"siem-{n}", {"to": to}, tenant=tenant)
    places = PostgresPlaces(plane.database)
    await places.claim(Room(100, 100), 0.0)
    row = Entry(id="one", at_unix=1.0, type="call", outcome="ok", caller="a/b", tool="t", detail={})
    await plane.rows.store({tenant: [row] for tenant in dict.fromkeys(WHOSE)})
    return lambda room: places.claim(room, 60.0)


async def webhooks(plane: Plane) -> Claim:
    for tenant in dict.fromkeys(WHOSE):
        await plane.apply("Secret", "key", {"value": "sesame"}, tenant=tenant)
        await plane.apply("Webhook", "chat", {"url": "https://chat.example/", "secret": "key"}, tenant=tenant)
    async with plane.database.transaction() as conn:
        for n, tenant in enumerate(WHOSE):
            await announce(conn, f"news-{n}", tenant, "approval.asked", b"{}", float(n))
    return lambda room: PostgresOutbox(plane.database).take(100.0, 60.0, room)


async def connections(plane: Plane) -> Claim:
    kept = PostgresConnections(plane.database)
    for n, tenant in enumerate(WHOSE):
        transport = {"type": "http", "url": "https://bank.example/mcp"}
        await plane.apply("Server", f"bank-{n}", {"transport": transport}, tenant=tenant)
        one = Connection(tenant=tenant, server=f"bank-{n}", subject="", state="connected", made_for="x")
        await kept.keep(one, due_s=0.0, force=True)
    return lambda room: kept.claim(room, 60.0)


@pytest.mark.parametrize("declared", [connections, issuers, secrets, sinks, webhooks])
async def test_one_tenant_is_given_its_share_less_what_it_has(
    plane: Plane, declared: Callable[[Plane], Awaitable[Claim]]
) -> None:
    claim = await declared(plane)

    async def claimed(room: Room) -> list[str]:
        return sorted(one.tenant for one in await claim(room))

    assert await claimed(Room(4, 2, {"acme": 1})) == ["acme", "umbrella"]
    assert await claimed(Room(4, 2, {"acme": 2})) == [], "it has all that it may have"
    assert await claimed(Room(1, 2)) == ["acme"]
    assert await claimed(Room(10, 10)) == ["acme"] * 3, "none of them twice"
    assert await claimed(Room(10, 10)) == []
