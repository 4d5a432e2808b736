"""A SnapshotSource over a folder, laid out as a node's own data directory is.

    tenants/<tenant>.json   {"signed": {"manifest", "key_id", "signature"}, "sealed_key"}, bytes in base64
    parts/<hex digest>      the parts

So a folder is made by copying those two from a node with the same key, or by whatever signs for it. Parts are to be
there before the tenant file that names them, and files to be replaced by renaming. A tenant whose file goes away is
withdrawn; one that is refused is offered again when its file changes.
"""

import asyncio
import logging
import time
from pathlib import Path

import msgspec

from core.bound import Bound
from core.resource import NAME, Problem
from core.snapshot import Manifest, SignedManifest, SnapshotReceiver, TenantUpdate

POLL_S = 0.5

log = logging.getLogger("toolgate.files")


class TenantFile(msgspec.Struct, frozen=True, kw_only=True):
    signed: SignedManifest
    sealed_key: bytes


_Mark = tuple[int, int, int]


class FolderSource:
    """Looks at the folder twice a second: a poll needs nothing of the file system but times of change."""

    def __init__(self, folder: Path, poll_s: float = POLL_S) -> None:
        self._folder = folder
        self._poll_s = poll_s
        self._offered: dict[str, _Mark] = {}
        self.heard_at: float | None = None
        """Monotonic time the folder was last read; None: not yet."""

    def bounds(self) -> dict[str, Bound]:
        return {}

    def changed(self, tenant: str, server: str) -> None:
        """Nobody asks for looks, so no server is watched either."""

    async def follow(self, receiver: SnapshotReceiver) -> None:
        held, _ = receiver.holdings()
        self._offered = {}
        stale = {one.tenant for one in held}
        while True:
            try:
                marks = self._marks()
            except OSError as failure:
                log.warning("the snapshot folder cannot be read: %s", failure)
            else:
                await self._bring(receiver, marks, stale)
                stale = set()
                self.heard_at = time.monotonic()
            await asyncio.sleep(self._poll_s)

    async def _bring(self, receiver: SnapshotReceiver, marks: dict[str, _Mark], held: set[str]) -> None:
        """Offer what changed, withdraw what went. `held`: in force from before this source was asked."""
        for tenant in (held | self._offered.keys()) - marks.keys():
            self._offered.pop(tenant, None)
            await receiver.withdraw(tenant)
        _, here = receiver.holdings()
        for tenant, mark in marks.items():
            if self._offered.get(tenant) == mark:
                continue
            problems = await self._offer(receiver, tenant, here)
            if not problems or problems[0].path != "file":
                self._offered[tenant] = mark
            for problem in problems:
                log.error("tenant %s: %s: %s", tenant, problem.path, problem.rule)

    async def _offer(self, receiver: SnapshotReceiver, tenant: str, here: set[bytes]) -> list[Problem]:
        try:
            update = self._read(tenant, here)
        except FileNotFoundError as failure:
            # Its parts may still be on their way: looked at again with the next poll.
            return [Problem("file", f"names {failure.filename}, which is not there")]
        except (OSError, msgspec.MsgspecError) as failure:
            return [Problem("content", str(failure))]
        return await receiver.offer(update)

    def _read(self, tenant: str, here: set[bytes]) -> TenantUpdate:
        raw = (self._folder / "tenants" / f"{tenant}.json").read_bytes()
        file = msgspec.json.decode(raw, type=TenantFile)
        manifest = msgspec.msgpack.decode(file.signed.manifest, type=Manifest)
        lacking = {ref.digest for ref in manifest.parts} - here
        parts = {part: (self._folder / "parts" / part.hex()).read_bytes() for part in lacking}
        return TenantUpdate(signed=file.signed, parts=parts, sealed_key=file.sealed_key)

    def _marks(self) -> dict[str, _Mark]:
        marks = {}
        for path in (self._folder / "tenants").iterdir():
            if path.suffix == ".json" and NAME.fullmatch(path.stem):
                state = path.stat()
                marks[path.stem] = (state.st_ino, state.st_mtime_ns, state.st_size)
        return marks
