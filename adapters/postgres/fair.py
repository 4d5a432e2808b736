"""Which rows of what is due are claimed next: the oldest, but of one tenant only its share."""

from core.bound import Room


def fair(table: str, key: str, due: str) -> str:
    """A subquery: keys of rows that are locked, and that nobody else has locked. Takes the parameters of `room_for`.

    `key`: columns that name a row. `due`: the condition, of one row, as `d`; said twice, so that it still holds of a
    row that somebody else claimed in between.
    """
    own = ", ".join(f"d.{column}" for column in key.split(", "))
    return (
        f"SELECT {own} FROM {table} AS d JOIN ("
        f"SELECT {own}, row_number() OVER (PARTITION BY d.tenant ORDER BY d.due_at) AS position"
        f" FROM {table} AS d WHERE {due}) AS mine USING ({key})"
        " LEFT JOIN unnest(%(tenants)s::text[], %(counts)s::int[]) AS taken(whose, count) ON taken.whose = d.tenant"
        f" WHERE mine.position + coalesce(taken.count, 0) <= %(of_one)s AND {due}"
        " ORDER BY d.due_at LIMIT %(total)s FOR UPDATE OF d SKIP LOCKED"
    )


def room_for(room: Room) -> dict[str, object]:
    return {
        "tenants": list(room.taken),
        "counts": list(room.taken.values()),
        "of_one": room.of_one,
        "total": room.total,
    }
