"""Proof of audit logs: verified here, or exported with all that somebody needs to verify them elsewhere."""

from collections.abc import AsyncIterator, Callable

import msgspec

from control_plane.services.audit import may_read_log
from control_plane.services.resources import page_limit
from core.admin import Admin, AuditRow
from core.audit import AuditRows, Verdict, Wanted
from core.audit_lines import announcement_line, checkpoint_line, end_line, row_line, start_line
from core.checkpoint import Checkpoint, Checkpoints, broken, trusted_ever
from core.store import Store
from core.trust import Announcement, MakeVerifier

EVERYTHING = Wanted()

Keys = Callable[[], tuple[dict[str, bytes], tuple[Announcement, ...]]]
"""The public key this control plane began with, by id, and the chain of announcements."""


class AuditProof:
    def __init__(
        self, rows: AuditRows, checkpoints: Checkpoints, store: Store, *, keys: Keys, verifier: MakeVerifier
    ) -> None:
        self._rows = rows
        self._checkpoints = checkpoints
        self._store = store
        self._keys = keys
        self._verifier = verifier

    async def checkpoints(self, admin: Admin, tenant: str, after_seq: int, page_size: int) -> list[Checkpoint]:
        """By rising `seq`."""
        await may_read_log(self._store, admin, tenant)
        return await self._checkpoints.of(tenant, after_seq, page_limit(page_size))

    async def verify(self, admin: Admin, tenant: str) -> Verdict:
        """Whether the chain is whole, follows every checkpoint, and reaches the last one; else where it does not."""
        await may_read_log(self._store, admin, tenant)
        ones = await self._checkpoints.of(tenant)
        roots, chain = self._keys()
        seq, why = broken(ones, tenant, self._verifier(trusted_ever(roots, chain, self._verifier)))
        if why:
            return Verdict(intact=False, rows=0, first_bad_seq=seq, reason=why)
        found = await self._rows.verify(tenant, {one.seq: one.hash for one in ones})
        signed = next((one for one in ones if one.seq == found.signed_seq), None)
        return msgspec.structs.replace(found, signed_at_ms=signed.at_ms if signed is not None else 0)

    async def export(
        self, admin: Admin, tenant: str, wanted: Wanted, line_of: Callable[[AuditRow], bytes] | None
    ) -> AsyncIterator[list[bytes]]:
        """Lines, some at a time, oldest row first. `line_of` None: as `core.audit_lines`, to be verified elsewhere."""
        await may_read_log(self._store, admin, tenant)
        if line_of is not None:
            async for rows in self._rows.rows(tenant, wanted):
                yield [line_of(row) for row in rows]
            return
        ones = await self._checkpoints.of(tenant)
        head = await self._rows.head(tenant)
        first = [start_line(tenant, head, partial=wanted != EVERYTHING)]
        first += [announcement_line(one) for one in self._keys()[1]]
        yield first + [checkpoint_line(one) for one in ones]
        count, last = 0, msgspec.structs.replace(head, seq=head.pruned_seq, hash=head.pruned_hash)
        async for rows in self._rows.rows(tenant, wanted):
            yield [row_line(row) for row in rows]
            count += len(rows)
            last = msgspec.structs.replace(head, seq=rows[-1].seq, hash=rows[-1].hash)
        yield [end_line(last, count)]
