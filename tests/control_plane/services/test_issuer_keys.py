"""Keys of issuers at the control plane: fetched when due, published when they are others, kept while nobody answers."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import msgspec
import pytest

from adapters.postgres.database import Database
from adapters.postgres.issuers import PostgresIssuerKeys
from adapters.postgres.resources import PostgresStore
from adapters.web.client import WebClient
from control_plane.services.issuers import Issuers
from core.audit import Entry
from core.issuer import IdentityProvider, KeySet
from core.resource import Ref, Resource
from core.store import Put
from core.tenant import Tenant
from tests.harness.issuer import Issuer, issuing
from tests.harness.postgres import Server
from tests.harness.rounds import once

OKTA = Ref("IdentityProvider", "acme", "okta")


@pytest.fixture
def dsn(postgres: Server) -> Iterator[str]:
    with postgres.fresh() as dsn:
        yield dsn


@dataclass
class Plane:
    database: Database
    store: PostgresStore
    keys: PostgresIssuerKeys
    issuers: Issuers
    issuer: Issuer
    now: float = 0.0

    async def declare(self, ref: Ref, spec: object, generation: int = 1) -> None:
        entry = Entry(
            id=f"{ref}-{generation}", at_unix=1.0, type="change", outcome="x", caller="t", tool=str(ref), detail={}
        )
        made = Resource(kind=ref.kind, tenant=ref.tenant, name=ref.name, spec=spec, generation=generation)
        async with self.store.writing(ref.tenant or ref.name) as writing:
            await writing.put(Put(resource=made), entry)

    async def known(self) -> KeySet:
        async with self.database.connection() as conn:
            row = await (await conn.execute("SELECT keys FROM issuer_keys WHERE name = 'okta'")).fetchone()
        return msgspec.msgpack.decode(row[0], type=KeySet) if row else KeySet()

    async def due(self) -> int:
        async with self.database.connection() as conn:
            await conn.execute("UPDATE issuer_keys SET due_at = '-infinity'")
        return await once(self.issuers.rounds)

    async def revision(self) -> int:
        return (await self.store.load("acme"))[0]

    async def status(self) -> dict[str, object]:
        found = await self.store.get(OKTA)
        assert found is not None
        return found.status


@pytest.fixture
async def plane(dsn: str) -> AsyncIterator[Plane]:
    database = await Database.open(dsn)
    web, store, keys = WebClient(), PostgresStore(database), PostgresIssuerKeys(database)
    async with issuing() as issuer:
        made = Plane(database, store, keys, Issuers(keys, web, store, lambda: made.now or time.time()), issuer)
        await made.declare(Ref("Tenant", "", "acme"), Tenant())
        await made.declare(OKTA, IdentityProvider(issuer=issuer.url, allow_private=True, refresh_s=30, grace_s=400))
        yield made
    web.close()
    await database.close()


async def test_what_is_new_is_fetched_and_published_and_then_only_what_is_other_or_old(plane: Plane) -> None:
    before = await plane.revision()
    assert await once(plane.issuers.rounds) == 1
    first, published = await plane.known(), await plane.revision()
    assert first.is_there
    assert published > before
    assert await once(plane.issuers.rounds) == 0, "nothing is due"
    assert await plane.due() == 1
    assert (await plane.known(), await plane.revision()) == (first, published), "the same keys are no news"
    plane.now = time.time() + 101
    await plane.due()
    assert (await plane.known()).seen_unix == plane.now, "a fourth of the grace later their age is"
    assert await plane.revision() > published
    plane.issuer.rotate()
    await plane.due()
    assert (await plane.known()).keys != first.keys
    assert (await plane.status())["keys"] == 1


async def test_while_the_issuer_is_away_the_last_keys_stay_and_the_status_says_why(plane: Plane) -> None:
    await once(plane.issuers.rounds)
    had, revision = await plane.known(), await plane.revision()
    await plane.issuer.stop()
    await plane.due()
    assert (await plane.known(), await plane.revision()) == (had, revision)
    assert "refused" in str((await plane.status())["error"])
    await plane.issuer.start()
    await plane.due()
    assert "error" not in await plane.status()


async def test_another_declaration_is_due_at_once_and_its_predecessors_keys_are_not_its_own(plane: Plane) -> None:
    await once(plane.issuers.rounds)
    had = await plane.known()
    async with issuing() as other:
        spec = IdentityProvider(issuer=other.url, allow_private=True, refresh_s=30, grace_s=400)
        await plane.declare(OKTA, spec, generation=2)
        assert had.source != spec.source
        assert await once(plane.issuers.rounds) == 1
        now = await plane.known()
        assert (now.source, now.keys != had.keys) == (spec.source, True)


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {"/.well-known/openid-configuration": {"issuer": "https://evil.example", "jwks_uri": "http://127.0.0.1:9/"}},
        {"/.well-known/openid-configuration": {"jwks_uri": "http://127.0.0.1:9/"}},
        {"/.well-known/openid-configuration": []},
        {"/.well-known/openid-configuration": {"issuer": "SELF", "jwks_uri": "SELF/keys"}, "/keys": {"keys": []}},
        {"/.well-known/openid-configuration": {"issuer": "SELF", "jwks_uri": "SELF/keys"}, "/keys": {"keys": "x"}},
        {"/.well-known/openid-configuration": {"issuer": "SELF", "jwks_uri": "file:///etc/passwd"}},
    ],
    ids=["nothing", "another's", "no issuer", "a list", "no keys", "no list", "a file"],
)
async def test_metadata_that_is_wrong_or_another_issuers_brings_no_keys(
    plane: Plane, documents: dict[str, object]
) -> None:
    plane.issuer.says = json.loads(json.dumps(documents).replace("SELF", plane.issuer.url))
    await once(plane.issuers.rounds)
    assert not (await plane.known()).is_there
    assert (await plane.status())["error"]
