"""Publications in PostgreSQL: who is first to publish a change, under which number, and the parts."""

from collections.abc import Collection, Sequence

import msgspec
from psycopg.rows import TupleRow

from adapters.postgres.database import Connection, Database
from adapters.postgres.tenant_rows import LAST, last_of, read
from adapters.postgres.trust import NEWEST, SIGNING, still_signs
from core.fleet import Published
from core.publication import Draft, Last, Rows, Sign
from core.resource import digest, encode
from core.snapshot import SignedManifest

CHANNEL = "toolgate_published"
"""Payload: the tenant."""
_COLLECTING = 0x70617274
"""Advisory lock: publications share it, the collection of parts has it alone."""
_CURRENT = (
    "SELECT tenant, generation, manifest, key_id, signature, parts,"
    " committed_unix_us FROM publications WHERE generation > 0"
)


class PostgresPublications:
    """Publications."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def behind(self, compiler: int) -> list[tuple[str, int]]:
        statement = (
            "SELECT tenant, r.revision FROM tenant_revisions AS r LEFT JOIN publications AS p USING (tenant)"
            " WHERE tenant <> '' AND (p.tenant IS NULL OR p.revision < r.revision OR p.compiler < %s OR p.held)"
            " ORDER BY tenant"
        )
        async with self._database.connection() as conn:
            rows = await (await conn.execute(statement, (compiler,))).fetchall()
        return [(tenant, revision) for tenant, revision in rows]

    async def rows(self, tenants: Sequence[str]) -> dict[str, Rows]:
        async with self._database.connection() as conn:
            return await read(conn, list(tenants))

    async def publish(self, drafts: Sequence[Draft], sign: Sign) -> list[Published]:
        """Two round trips: this is on the way of every change to every gateway."""
        ordered = sorted(drafts, key=lambda draft: draft.tenant)
        async with self._database.connection() as conn, conn.pipeline(), conn.transaction():
            locks = "SELECT pg_advisory_xact_lock_shared(%s), pg_advisory_xact_lock_shared(%s)"
            await conn.execute(locks, (_COLLECTING, SIGNING))
            announced = await conn.execute(NEWEST)
            last, stored = await _lock(conn, ordered)
            newer = [d for d in ordered if _is_newer(d, last[d.tenant])]
            fresh = [d for d in newer if not _is_in_force(d, last[d.tenant])]
            await _account(conn, [d for d in newer if _is_in_force(d, last[d.tenant])])
            numbered = [_numbered(d, last[d.tenant].generation + 1, sign) for d in fresh]
            still_signs(await announced.fetchone(), {one.signed.key_id for one in numbered if one.signed is not None})
            await _store_parts(conn, {k: data for d in fresh for k, data in d.parts.items() if k not in stored})
            await _store(conn, fresh, numbered)
        return numbered

    async def current(self, tenants: Collection[str] | None) -> list[Published]:
        async with self._database.connection() as conn:
            if tenants is None:
                found = await conn.execute(f"{_CURRENT} ORDER BY tenant".encode())
            else:
                found = await conn.execute(
                    f"{_CURRENT} AND tenant = ANY(%s) ORDER BY tenant".encode(), (list(tenants),)
                )
            return [_published(row) for row in await found.fetchall()]

    async def parts(self, digests: Collection[bytes]) -> dict[bytes, bytes]:
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT digest, data FROM parts WHERE digest = ANY(%b)", (list(digests),), binary=True
            )
            return {bytes(digest): bytes(data) for digest, data in await found.fetchall()}

    async def collect(self, older_than_s: float = 3600.0) -> int:
        async with self._database.transaction() as conn:
            await conn.execute("SELECT pg_advisory_xact_lock(%s)", (_COLLECTING,))
            done = await conn.execute(
                "DELETE FROM parts WHERE stored_at < now() - make_interval(secs => %s)"
                " AND digest NOT IN (SELECT unnest(parts) FROM publications)",
                (older_than_s,),
            )
            return done.rowcount


async def _lock(conn: Connection, drafts: list[Draft]) -> tuple[dict[str, Last], set[bytes]]:
    """The tenants' rows, ours until the transaction ends; and which of the drafts' parts are stored already."""
    tenants = [draft.tenant for draft in drafts]
    await conn.execute(
        "INSERT INTO publications (tenant, generation, revision, compiler, content, manifest, key_id, signature,"
        " parts, held, committed_unix_us) SELECT tenant, 0, 0, 0, '', '', '', '', '{}', false, 0"
        " FROM unnest(%s::text[]) AS wanted(tenant) ORDER BY tenant ON CONFLICT DO NOTHING",
        (tenants,),
    )
    rows = await conn.execute(f"{LAST} WHERE tenant = ANY(%s) ORDER BY tenant FOR UPDATE".encode(), (tenants,))
    digests = list({digest for draft in drafts for digest in draft.parts})
    stored = await conn.execute("SELECT digest FROM parts WHERE digest = ANY(%b)", (digests,), binary=True)
    last = {row[0]: last_of(row) for row in await rows.fetchall()}
    return last, {bytes(row[0]) for row in await stored.fetchall()}


def _is_newer(draft: Draft, last: Last) -> bool:
    """Of the same change, the first to be published counts: secrets sealed twice differ, and mean the same."""
    if not last.generation or (last.held and not draft.held and draft.revision == last.revision):
        return True
    return (draft.revision, draft.compiler) > (last.revision, last.compiler)


def _is_in_force(draft: Draft, last: Last) -> bool:
    if draft.manifest is None:
        return not last.manifest
    return bool(last.manifest) and draft.content == last.content


def _numbered(draft: Draft, generation: int, sign: Sign) -> Published:
    signed = None
    if draft.manifest is not None:
        signed = sign(encode(msgspec.structs.replace(draft.manifest, generation=generation)))
    return Published(
        tenant=draft.tenant,
        generation=generation,
        signed=signed,
        manifest_digest=digest(signed.manifest) if signed else b"",
        parts=tuple(dict.fromkeys(ref.digest for ref in draft.manifest.parts)) if draft.manifest else (),
        committed_unix_us=draft.committed_unix_us,
    )


async def _account(conn: Connection, drafts: list[Draft]) -> None:
    if drafts:
        await conn.execute(
            "UPDATE publications AS p SET revision = d.revision, compiler = d.compiler, held = d.held"
            " FROM unnest(%s::text[], %s::bigint[], %s::int[], %s::boolean[])"
            " AS d(tenant, revision, compiler, held) WHERE p.tenant = d.tenant",
            (
                *([d.tenant for d in drafts], [d.revision for d in drafts]),
                *([d.compiler for d in drafts], [d.held for d in drafts]),
            ),
        )


async def _store_parts(conn: Connection, parts: dict[bytes, bytes]) -> None:
    """In one order everywhere, so that two publications that share parts never wait for each other."""
    if parts:
        await conn.execute(
            "INSERT INTO parts (digest, data) SELECT * FROM unnest(%b::bytea[], %b::bytea[]) AS p(digest, data)"
            " ORDER BY digest ON CONFLICT DO NOTHING",
            (list(parts), list(parts.values())),
        )


async def _store(conn: Connection, drafts: list[Draft], numbered: list[Published]) -> None:
    """The rows, and a notice per tenant."""
    for draft, one in zip(drafts, numbered, strict=True):
        signed = one.signed or SignedManifest(manifest=b"", key_id="", signature=b"")
        await conn.execute(
            "UPDATE publications SET generation = %s, revision = %s, compiler = %s, content = %b, manifest = %b,"
            " key_id = %s, signature = %b, parts = %b, held = %s, committed_unix_us = %s,"
            " published_at = clock_timestamp() WHERE tenant = %s",
            (
                *(one.generation, draft.revision, draft.compiler, draft.content, signed.manifest),
                *(signed.key_id, signed.signature, list(one.parts), draft.held, draft.committed_unix_us, draft.tenant),
            ),
        )
    tenants = [draft.tenant for draft in drafts]
    await conn.execute("SELECT pg_notify(%s, tenant) FROM unnest(%s::text[]) AS t(tenant)", (CHANNEL, tenants))


def _published(row: TupleRow) -> Published:
    tenant, generation, manifest, key_id, signature, parts, at_us = row
    return Published(
        tenant=tenant,
        generation=generation,
        signed=SignedManifest(manifest=manifest, key_id=key_id, signature=signature) if manifest else None,
        manifest_digest=digest(manifest) if manifest else b"",
        parts=tuple(parts),
        committed_unix_us=at_us,
    )
