"""Signs where audit chains end, again and again, and publishes what it signed. Any replica may, or all of them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from core.admin import Rejected
from core.audit_lines import checkpoint_line
from core.checkpoint import Checkpoint, Checkpoints, Due, checkpoint
from core.objects import Objects, ObjectsAway
from core.sealing import Signer

BATCH = 500
ROWS = 10_000
"""A chain that grows by so many rows is signed before its time."""
LOOK_S = 1.0
PUBLISH_BACKOFF_S = 10.0

log = logging.getLogger("toolgate.checkpoints")


class Signing:
    """`run` it as a task."""

    def __init__(
        self,
        kept: Checkpoints,
        signer: Signer,
        objects: Objects | None,
        *,
        every_s: float,
        rows: int = ROWS,
        batch: int = BATCH,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`objects` None: checkpoints are published through the API alone."""
        self._kept = kept
        self._signer = signer
        self._objects = objects
        self._every_s = every_s
        self._rows = rows
        self._batch = batch
        self._clock = clock
        self._wait = wait
        self._publish_at = 0.0
        self.signed = 0
        self.cut: dict[str, int] = {}
        """Chains that end before, or otherwise than, a checkpoint says, and its row: rows were removed or rewritten."""
        self._left_out: set[str] = set()
        """Chains found cut, which are not looked at again for a while: they would fill every page of what is due."""
        self._afresh_at = 0.0
        self.unpublished = 0
        """Failed attempts to publish."""

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                while await self.sign_due() == self._batch:
                    pass
                await self.publish()
            except Rejected as away:
                log.warning("checkpoints are signed later: %s", away.public)
            await self._wait(min(LOOK_S, self._every_s))

    async def sign_due(self) -> int:
        """Sign what is due; how many chains were looked at. Raises Rejected(UNAVAILABLE)."""
        now = self._clock()
        if now >= self._afresh_at:
            self._left_out.clear()
            self._afresh_at = now + self._every_s
        due = await self._kept.due(int((now - self._every_s) * 1000), self._rows, self._batch, self._left_out)
        made = [self._checkpoint(one, int(now * 1000)) for one in due if not self._is_cut(one)]
        self.signed += await self._kept.keep(made)
        if len(due) < self._batch:
            # All were seen: of whom nothing was said is whole again.
            self.cut = {tenant: seq for tenant, seq in self.cut.items() if tenant in self._left_out}
        return len(due)

    def _checkpoint(self, due: Due, now_ms: int) -> Checkpoint:
        return checkpoint(due.tenant, due.head, now_ms, due.last, self._signer)

    def _is_cut(self, due: Due) -> bool:
        last = due.last
        if last is None or not due.cut:
            self.cut.pop(due.tenant, None)
            return False
        self._left_out.add(due.tenant)
        if self.cut.get(due.tenant) != last.seq:
            self.cut[due.tenant] = last.seq
            log.error(
                "the audit log of %s was cut or rewritten: it ends with row %d and another hash than was signed for %d",
                due.tenant or "the platform",
                due.head.seq,
                last.seq,
            )
        return True

    async def publish(self) -> int:
        """Write what is signed to where objects are kept; how many. Raises Rejected(UNAVAILABLE)."""
        if self._objects is None or self._clock() < self._publish_at:
            return 0
        done = 0
        while True:
            ones = await self._kept.unpublished(BATCH)
            try:
                for one in ones:
                    await self._objects.put(object_name(one), checkpoint_line(one) + b"\n")
            except ObjectsAway as away:
                self.unpublished += 1
                self._publish_at = self._clock() + PUBLISH_BACKOFF_S
                log.warning("checkpoints are published later: %s", away)
                return done
            await self._kept.published(ones)
            done += len(ones)
            if len(ones) < BATCH:
                return done


def object_name(one: Checkpoint) -> str:
    """Names that sort as the rows do. No tenant's name begins with an underscore."""
    return f"audit/{one.tenant or '_platform'}/checkpoints/{one.seq:020d}.json"
