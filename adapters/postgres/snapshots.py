"""Publications in PostgreSQL, and all that a compilation reads, as of one moment."""

from collections.abc import Collection, Sequence

import msgspec

from adapters.postgres.database import Connection, Database
from adapters.postgres.definitions import known_of
from core.fleet import Published
from core.kinds import KINDS
from core.publication import Draft, Last, Rows, Sign
from core.resource import Ref, Resource, digest, encode
from core.secret import Sealed
from core.snapshot import SignedManifest

CHANNEL = "toolgate_published"
"""Payload: the tenant."""
_COLLECTING = 0x70617274
"""Advisory lock: publications share it, the collection of parts has it alone."""
_LAST = "SELECT tenant, generation, revision, compiler, held, content, manifest FROM publications"
_CURRENT = (
    "SELECT tenant, generation, manifest, key_id, signature, parts,"
    " committed_unix_us FROM publications WHERE generation > 0"
)


class PostgresPublications:
    """Publications and Sources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def behind(self, compiler: int) -> list[tuple[str, int]]:
        statement = (
            "WITH newest AS (SELECT CASE WHEN kind = 'Tenant' THEN name ELSE tenant END AS tenant,"
            "  max(revision) AS revision FROM changes GROUP BY 1"
            "  UNION ALL SELECT name, 0 FROM resources WHERE kind = 'Tenant')"
            " SELECT n.tenant, max(n.revision) FROM newest AS n LEFT JOIN publications AS p USING (tenant)"
            " WHERE n.tenant <> '' AND (p.tenant IS NULL OR p.revision < n.revision OR p.compiler < %s OR p.held)"
            " GROUP BY 1 ORDER BY 1"
        )
        async with self._database.connection() as conn:
            rows = await (await conn.execute(statement, (compiler,))).fetchall()
        return [(tenant, revision) for tenant, revision in rows]

    async def rows(self, tenants: Sequence[str]) -> dict[str, Rows]:
        """Read in one transaction on one snapshot of the database, so that everything belongs together."""
        async with self._database.transaction() as conn:
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return await _rows(conn, list(tenants))

    async def publish(self, drafts: Sequence[Draft], sign: Sign) -> list[Published]:
        ordered = {draft.tenant: draft for draft in sorted(drafts, key=lambda draft: draft.tenant)}
        async with self._database.transaction() as conn:
            await conn.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_COLLECTING,))
            last = await _lock(conn, list(ordered))
            newer = [d for d in ordered.values() if _is_newer(d, last[d.tenant])]
            fresh = [d for d in newer if not _is_in_force(d, last[d.tenant])]
            same = [d for d in newer if _is_in_force(d, last[d.tenant])]
            await _account(conn, same)
            if not fresh:
                return []
            await _store_parts(conn, {digest: data for d in fresh for digest, data in d.parts.items()})
            return await _store(conn, [(d, *_signed(d, last[d.tenant].generation + 1, sign)) for d in fresh])

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
                "SELECT digest, data FROM parts WHERE digest = ANY(%s)", (list(digests),), binary=True
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


async def _lock(conn: Connection, tenants: list[str]) -> dict[str, Last]:
    """The tenants' rows, ours until the transaction ends: whoever publishes the same ones takes turns."""
    await conn.execute(
        "INSERT INTO publications (tenant, generation, revision, compiler, content, manifest, key_id, signature,"
        " parts, held, committed_unix_us) SELECT tenant, 0, 0, 0, '', '', '', '', '{}', false, 0"
        " FROM unnest(%s::text[]) AS wanted(tenant) ORDER BY tenant"
        " ON CONFLICT DO NOTHING",
        (tenants,),
    )
    found = await conn.execute(
        f"{_LAST} WHERE tenant = ANY(%s) ORDER BY tenant FOR UPDATE".encode(),
        (tenants,),
    )
    return {row[0]: _last(row[1:]) for row in await found.fetchall()}


def _last(row: Sequence[object]) -> Last:
    names = ("generation", "revision", "compiler", "held", "content", "manifest")
    return msgspec.convert(dict(zip(names, row, strict=True)), Last)


def _is_newer(draft: Draft, last: Last) -> bool:
    """Of the same change, the first to be published counts: secrets sealed twice differ, and mean the same."""
    if not last.generation or (last.held and not draft.held and draft.revision == last.revision):
        return True
    return (draft.revision, draft.compiler) > (last.revision, last.compiler)


def _is_in_force(draft: Draft, last: Last) -> bool:
    if draft.manifest is None:
        return not last.manifest
    return bool(last.manifest) and draft.content == last.content


def _signed(draft: Draft, generation: int, sign: Sign) -> tuple[int, SignedManifest]:
    if draft.manifest is None:
        return generation, SignedManifest(manifest=b"", key_id="", signature=b"")
    return generation, sign(encode(msgspec.structs.replace(draft.manifest, generation=generation)))


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
    found = await conn.execute("SELECT digest FROM parts WHERE digest = ANY(%s)", (list(parts),), binary=True)
    stored = {bytes(row[0]) for row in await found.fetchall()}
    new = sorted(digest for digest in parts if digest not in stored)
    if not new:
        return
    # One order everywhere, so that two publications that share parts never wait for each other.
    await conn.execute("CREATE TEMPORARY TABLE new_parts (digest bytea, data bytea) ON COMMIT DROP")
    async with conn.cursor() as cursor, cursor.copy("COPY new_parts FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["bytea", "bytea"])
        for digest_ in new:
            await copy.write_row((digest_, parts[digest_]))
    await conn.execute(
        "INSERT INTO parts (digest, data) SELECT * FROM new_parts ORDER BY digest ON CONFLICT DO NOTHING"
    )


async def _store(conn: Connection, signed: list[tuple[Draft, int, SignedManifest]]) -> list[Published]:
    """The update of a batch, and a notice per tenant."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "UPDATE publications SET generation = %s, revision = %s, compiler = %s, content = %s, manifest = %s,"
            " key_id = %s, signature = %s, parts = %s, held = %s, committed_unix_us = %s,"
            " published_at = clock_timestamp() WHERE tenant = %s",
            [
                (
                    *(generation, draft.revision, draft.compiler, draft.content),
                    *(one.manifest, one.key_id, one.signature),
                    *(_named(draft), draft.held, draft.committed_unix_us, draft.tenant),
                )
                for draft, generation, one in signed
            ],
        )
    tenants = [draft.tenant for draft, _, _ in signed]
    await conn.execute("SELECT pg_notify(%s, tenant) FROM unnest(%s::text[]) AS t(tenant)", (CHANNEL, tenants))
    found = await conn.execute(f"{_CURRENT} AND tenant = ANY(%s) ORDER BY tenant".encode(), (tenants,))
    return [_published(row) for row in await found.fetchall()]


def _named(draft: Draft) -> list[bytes]:
    return list(dict.fromkeys(ref.digest for ref in draft.manifest.parts)) if draft.manifest is not None else []


def _published(row: Sequence[object]) -> Published:
    tenant, generation, manifest, key_id, signature, parts, at_us = row
    raw = msgspec.convert(manifest, bytes)
    signed = msgspec.convert({"manifest": raw, "key_id": key_id, "signature": signature}, SignedManifest)
    return Published(
        tenant=str(tenant),
        generation=msgspec.convert(generation, int),
        signed=signed if raw else None,
        manifest_digest=digest(raw) if raw else b"",
        parts=msgspec.convert(parts, tuple[bytes, ...]),
        committed_unix_us=msgspec.convert(at_us, int),
    )


async def _rows(conn: Connection, tenants: list[str]) -> dict[str, Rows]:
    resources = await _resources(conn, tenants)
    hashes: dict[str, dict[str, bytes]] = {tenant: {} for tenant in tenants}
    found = await conn.execute("SELECT tenant, name, hash FROM key_hashes WHERE tenant = ANY(%s)", (tenants,))
    for tenant, name, hashed in await found.fetchall():
        hashes[tenant][name] = bytes(hashed)
    sealed: dict[str, dict[Ref, Sealed]] = {tenant: {} for tenant in tenants}
    found = await conn.execute(
        "SELECT CASE WHEN kind = 'Tenant' THEN name ELSE tenant END, tenant, kind, name, key_id, sealed"
        " FROM sealed_values WHERE tenant = ANY(%s) OR (tenant = '' AND kind = 'Tenant' AND name = ANY(%s))",
        (tenants, tenants),
    )
    for owner, tenant, kind, name, key_id, value in await found.fetchall():
        sealed[owner][Ref(kind, tenant, name)] = Sealed(key_id, bytes(value))
    known = await known_of(conn, tenants)
    found = await conn.execute(
        f"{_LAST} WHERE tenant = ANY(%s)".encode(),
        (tenants,),
    )
    last = {row[0]: _last(row[1:]) for row in await found.fetchall()}
    changed = await _changed_at(conn, tenants)
    return {
        tenant: Rows(
            tenant=tenant,
            revision=changed.get(tenant, (0, 0))[0],
            resources=tuple(resources[tenant]),
            key_hashes=hashes[tenant],
            sealed=sealed[tenant],
            known=known.get(tenant, {}),
            last=last.get(tenant),
            changed_unix_us=changed.get(tenant, (0, 0))[1],
        )
        for tenant in tenants
    }


async def _changed_at(conn: Connection, tenants: list[str]) -> dict[str, tuple[int, int]]:
    """Each tenant's newest change: its revision, and when it began to be written. None for changes that are pruned."""
    found = await conn.execute(
        "SELECT t.tenant, c.revision, (extract(epoch FROM c.at) * 1000000)::bigint"
        " FROM unnest(%s::text[]) AS t(tenant), LATERAL ("
        "(SELECT revision, at FROM changes WHERE changes.tenant = t.tenant ORDER BY revision DESC LIMIT 1)"
        " UNION ALL"
        " (SELECT revision, at FROM changes WHERE kind = 'Tenant' AND name = t.tenant ORDER BY revision DESC LIMIT 1)"
        " ORDER BY revision DESC LIMIT 1) AS c",
        (tenants,),
    )
    return {tenant: (revision, at_us) for tenant, revision, at_us in await found.fetchall()}


async def _resources(conn: Connection, tenants: list[str]) -> dict[str, list[Resource]]:
    """By tenant: the Tenant if it exists, then everything by kind and name."""
    found = await conn.execute(
        "SELECT CASE WHEN kind = 'Tenant' THEN name ELSE tenant END AS owner, tenant, kind, name, namespace,"
        " labels::text, spec::text, status::text, generation FROM resources"
        " WHERE tenant = ANY(%s) OR (tenant = '' AND kind = 'Tenant' AND name = ANY(%s))"
        " ORDER BY owner, tenant, kind, name",
        (tenants, tenants),
    )
    resources: dict[str, list[Resource]] = {tenant: [] for tenant in tenants}
    for owner, *fields in await found.fetchall():
        resources[owner].append(_resource(fields))
    return resources


def _resource(fields: Sequence[object]) -> Resource:
    tenant, kind, name, namespace, labels, spec, status, generation = fields
    return Resource(
        tenant=str(tenant),
        kind=str(kind),
        name=str(name),
        namespace=str(namespace),
        labels=msgspec.json.decode(str(labels), type=dict[str, str]),
        spec=msgspec.json.decode(str(spec), type=KINDS[str(kind)]),
        status=msgspec.json.decode(str(status), type=dict[str, object]),
        generation=msgspec.convert(generation, int),
    )
