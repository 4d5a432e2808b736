"""The chain of announcements of signing keys, and the private halves made for it, sealed."""

import msgspec
from psycopg.rows import TupleRow

from adapters.postgres.audit import append
from adapters.postgres.database import Connection, Database
from core.admin import Rejected, Why
from core.audit import Entry
from core.publication import Sign
from core.secret import Sealed
from core.trust import Announcement

CHANNEL = "toolgate_trust"
SIGNING = 0x7369676E
"""Advisory lock: publications share it, an announcement has it alone. So nothing is signed by a key after its time."""
NEWEST = "SELECT signs FROM trust_announcements ORDER BY number DESC LIMIT 1"
RESIGN_ROWS = 200

_announcement = msgspec.msgpack.Decoder(Announcement)


class PostgresTrust:
    """Announcements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chain(self) -> list[Announcement]:
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT announcement FROM trust_announcements ORDER BY number")
            return [_announcement.decode(row[0]) for row in await found.fetchall()]

    async def append(self, one: Announcement, change: Entry, made: tuple[str, Sealed] | None = None) -> bool:
        async with self._database.transaction() as conn:
            await conn.execute("SELECT pg_advisory_xact_lock(%s)", (SIGNING,))
            done = await conn.execute(
                "INSERT INTO trust_announcements (number, announcement, signs) SELECT %s, %s, %s"
                " WHERE %s > coalesce((SELECT max(number) FROM trust_announcements), 0) ON CONFLICT DO NOTHING",
                (one.number, msgspec.msgpack.encode(one), one.signs, one.number),
            )
            if not done.rowcount:
                return False
            await _keep_private(conn, one, made)
            await append(conn, "", [change])
            await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(one.number)))
        return True

    async def private(self) -> dict[str, Sealed]:
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT name, key_id, sealed FROM sealed_values WHERE kind = 'SigningKey'")
            return {name: Sealed(kek_id, bytes(sealed)) for name, kek_id, sealed in await found.fetchall()}

    async def resign(self, key_id: str, sign: Sign) -> int:
        """Sign what other keys than `key_id` signed; replicas are told of each, and a publication under way waits."""
        done = 0
        while True:
            async with self._database.transaction() as conn:
                found = await conn.execute(
                    "SELECT tenant, manifest FROM publications WHERE key_id <> %s AND manifest <> ''"
                    " ORDER BY tenant LIMIT %s FOR UPDATE",
                    (key_id, RESIGN_ROWS),
                )
                rows = await found.fetchall()
                for tenant, manifest in rows:
                    signed = sign(bytes(manifest))
                    await conn.execute(
                        "UPDATE publications SET key_id = %s, signature = %s WHERE tenant = %s",
                        (signed.key_id, signed.signature, tenant),
                    )
                    await conn.execute("SELECT pg_notify('toolgate_published', %s)", (tenant,))
            done += len(rows)
            if len(rows) < RESIGN_ROWS:
                return done


async def _keep_private(conn: Connection, one: Announcement, made: tuple[str, Sealed] | None) -> None:
    """Keys that are trusted no more lose their private half."""
    if made is not None:
        await conn.execute(
            "INSERT INTO sealed_values (tenant, kind, name, key_id, sealed) VALUES ('', 'SigningKey', %s, %s, %s)",
            (made[0], made[1].key_id, made[1].sealed),
        )
    await conn.execute("DELETE FROM sealed_values WHERE kind = 'SigningKey' AND name <> ALL(%s)", (list(one.keys),))


def still_signs(newest: TupleRow | None, key_ids: set[str]) -> None:
    """`newest`: the row of NEWEST, read while SIGNING is held. Raises Rejected(UNAVAILABLE) for a key of before.

    Where nothing was ever announced, whoever publishes answers for the key itself.
    """
    if newest is not None and key_ids - {newest[0]}:
        raise Rejected(Why.UNAVAILABLE, f"the signing key is {newest[0]} from now on: publishing waits for it")
