"""Details of audit rows that were moved out of the database: where they are, and objects of one JSON line a row."""

import asyncio
import gzip
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from adapters.postgres.database import Connection
from core.admin import AuditRow, Rejected, Why
from core.audit_lines import read_row, row_line
from core.objects import Objects, ObjectsAway
from core.resource import digest

OBJECT_ROWS = 10_000
OBJECT_BYTES = 16 * 1024 * 1024
OPENED_MAX = 4
"""Objects kept open: whoever reads a log reads one after the other."""
OBJECT_MAX_BYTES = 1024 * 1024 * 1024


class Archive(NamedTuple):
    """One object, and which rows of which log it holds."""

    tenant: str
    first_seq: int
    last_seq: int
    object: str
    digest: bytes
    bytes: int


def packed(rows: Sequence[AuditRow]) -> bytes:
    """The same for the same rows."""
    return gzip.compress(b"".join(row_line(row) + b"\n" for row in rows), compresslevel=6, mtime=0)


def archive_of(tenant: str, rows: Sequence[AuditRow], data: bytes) -> Archive:
    first, last = rows[0].seq, rows[-1].seq
    name = f"audit/{tenant or '_platform'}/rows/{first:020d}-{last:020d}.jsonl.gz"
    return Archive(tenant, first, last, name, digest(data), len(data))


class Bulk:
    """Fills rows whose details are in objects."""

    def __init__(self, objects: Objects | None) -> None:
        self._objects = objects
        self._opened: OrderedDict[str, dict[int, dict[str, object]]] = OrderedDict()

    async def fill(self, conn: Connection, tenant: str, rows: list[AuditRow], lacking: set[int]) -> list[AuditRow]:
        """`rows` with the details of those in `lacking`. What no object holds any more stays without: the chain tells.

        Raises Rejected(UNAVAILABLE) while objects cannot be read.
        """
        if not lacking:
            return rows
        details = await self._details(conn, tenant, lacking)
        return [msgspec.structs.replace(row, detail=details[row.seq]) if row.seq in details else row for row in rows]

    async def _details(self, conn: Connection, tenant: str, seqs: set[int]) -> dict[int, dict[str, object]]:
        query = "SELECT object, digest FROM audit_archives WHERE tenant = %s AND last_seq >= %s AND first_seq <= %s"
        found = await (await conn.execute(query, (tenant, min(seqs), max(seqs)))).fetchall()
        details: dict[int, dict[str, object]] = {}
        for name, mark in found:
            details |= await self._open(name, bytes(mark))
        return {seq: details[seq] for seq in seqs if seq in details}

    async def _open(self, name: str, mark: bytes) -> dict[int, dict[str, object]]:
        held = self._opened.get(name)
        if held is None:
            held = await asyncio.to_thread(_read, await self._get(name), mark)
            self._opened[name] = held
            while len(self._opened) > OPENED_MAX:
                self._opened.popitem(last=False)
        self._opened.move_to_end(name)
        return held

    async def _get(self, name: str) -> bytes | None:
        if self._objects is None:
            raise Rejected(Why.UNAVAILABLE, "older rows are in objects, and this control plane is told of no store")
        try:
            return await self._objects.get(name)
        except ObjectsAway as away:
            raise Rejected(Why.UNAVAILABLE, "the store of older rows cannot be reached; try again") from away


def _read(data: bytes | None, mark: bytes) -> dict[int, dict[str, object]]:
    """By row; nothing where the object is not what was written."""
    if data is None or digest(data) != mark:
        return {}
    opener = zlib.decompressobj(wbits=31)
    lines = opener.decompress(data, OBJECT_MAX_BYTES).splitlines()
    return {row.seq: row.detail for row in map(read_row, lines)}
