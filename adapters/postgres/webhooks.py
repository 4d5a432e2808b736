"""Events for webhooks in PostgreSQL: written with what they tell of, taken by one replica at a time."""

from collections.abc import Sequence
from typing import cast

from adapters.postgres.database import Connection, Database
from adapters.postgres.fair import fair, room_for
from core.bound import Room
from core.webhook import Event, News


async def announce(  # noqa: PLR0917 - what an event is made of
    conn: Connection, id_: str, tenant: str, event: Event, body: bytes, now: float
) -> None:
    """In the caller's transaction; telling of one id twice tells of it once. Tenants without webhooks write nothing."""
    await conn.execute(
        "INSERT INTO webhook_news (id, tenant, event, body, due_at) SELECT %s, %s, %s, %s, %s"
        " WHERE EXISTS (SELECT 1 FROM resources WHERE tenant = %s AND kind = 'Webhook') ON CONFLICT DO NOTHING",
        (id_, tenant, event, body, now, tenant),
    )


_TAKE = (
    "UPDATE webhook_news SET due_at = %(until)s WHERE id IN ("
    f"{fair('webhook_news', 'id', 'd.due_at <= %(now)s')}) RETURNING id, tenant, event, body, attempts, done"
)


class PostgresOutbox:
    """Outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, now: float, lease_s: float, room: Room) -> list[News]:
        async with self._database.transaction() as conn:
            found = await (
                await conn.execute(_TAKE.encode(), {"now": now, "until": now + lease_s, **room_for(room)})
            ).fetchall()
        return [
            News(id=i, tenant=t, event=cast(Event, e), body=bytes(b), attempts=a, done=tuple(d))
            for i, t, e, b, a, d in found
        ]

    async def later(self, news: News, at: float) -> None:
        async with self._database.transaction() as conn:
            await conn.execute(
                "UPDATE webhook_news SET attempts = %s, done = %s, due_at = %s WHERE id = %s",
                (news.attempts, list(news.done), at, news.id),
            )

    async def drop(self, ids: Sequence[str]) -> None:
        async with self._database.transaction() as conn:
            await conn.execute("DELETE FROM webhook_news WHERE id = ANY(%s)", (list(ids),))
