"""What a node must not be made to forget: whose signatures count, how far each tenant has come, when it last heard.

    trust    the signing keys pinned here
    floors   of each tenant the newest snapshot that was in force, so that an older one is noticed at the next start
    heard    when the control plane was last heard, so that silence goes on across a restart

Each file is a line with a keyed hash, made with a key derived of the node's own, and then what it covers. Who can write
these files but not read `node.key` cannot change them, or pass one off as another; who can also put back *all* of an
older state unnoticed is held by `max_staleness_s` only (docs/decisions/0009).
"""

import hmac
import logging
import os
from hashlib import blake2b
from pathlib import Path

import msgspec

from core.snapshot import Manifest
from core.trust import Pinned

log = logging.getLogger("toolgate.ledger")

FORGOTTEN_KEPT = 100_000
"""Withdrawn tenants remembered; past it the first ones are forgotten."""


class LedgerBroken(Exception):
    """A file is not as this node wrote it; the message names it."""


class Floor(msgspec.Struct, frozen=True, array_like=True):
    """The newest of a tenant that was in force here."""

    generation: int
    epoch: int
    """Its revocation epoch."""
    manifest_digest: bytes
    withdrawn: bool = False
    """It was taken away afterwards: only a newer one may come back by itself."""


class _Trust(msgspec.Struct, frozen=True):
    pinned: Pinned
    roots: list[str]
    """Ids of the keys the operator had given; others given now begin anew."""


_floors = msgspec.msgpack.Decoder(dict[str, Floor])
_trust = msgspec.msgpack.Decoder(_Trust)


class Ledger:
    """The supervisor's. Reading is strict: a file that is not right raises LedgerBroken."""

    def __init__(self, data_dir: Path, node_key: bytes, *, fresh: bool) -> None:
        """`node_key`: the node's private key. `fresh`: there is no snapshot here of which a missing file could tell."""
        self._dir = data_dir
        self._key = blake2b(node_key, digest_size=32, person=b"toolgate ledger").digest()
        self.problem = ""
        """Why no snapshot on disk can be told from an older one; empty: they can."""
        self._floors: dict[str, Floor] = {}
        self._changed = False
        try:
            self._floors = self._load_floors(fresh=fresh)
        except LedgerBroken as broken:
            self.problem = str(broken)

    # === how far tenants have come ===

    def _load_floors(self, *, fresh: bool) -> dict[str, Floor]:
        body = self._read("floors")
        if body is None:
            if not fresh:
                raise LedgerBroken("floors: is missing, so an older snapshot could not be told from the newest")
            self._write("floors", msgspec.msgpack.encode({}))
            return {}
        try:
            return _floors.decode(body)
        except msgspec.MsgspecError as failure:
            raise LedgerBroken(f"floors: {failure}") from failure

    def below(self, manifest: Manifest, manifest_digest: bytes) -> str:
        """Why a snapshot on disk is not the newest this node had in force; empty: it is, or is newer."""
        floor = self._floors.get(manifest.tenant)
        if self.problem:
            return self.problem
        if floor is None or manifest.generation > floor.generation:
            if floor is not None and not floor.withdrawn and manifest.revocation_epoch < floor.epoch:
                return f"is rolled back: revocation epoch {manifest.revocation_epoch}, {floor.epoch} was in force"
            return ""
        if floor.withdrawn:
            return f"is rolled back: the tenant was withdrawn after generation {floor.generation}"
        if manifest.generation < floor.generation:
            return f"is rolled back: generation {manifest.generation}, {floor.generation} was in force"
        return "" if manifest_digest == floor.manifest_digest else "is another than was in force under its generation"

    def generation(self, tenant: str) -> int:
        """The newest generation that was in force; 0: none is remembered."""
        floor = self._floors.get(tenant)
        return floor.generation if floor is not None else 0

    def raise_to(self, manifest: Manifest, manifest_digest: bytes) -> None:
        """This is on the disk, and came from the control plane."""
        floor = Floor(manifest.generation, manifest.revocation_epoch, manifest_digest)
        if self._floors.get(manifest.tenant) != floor:
            self._floors[manifest.tenant] = floor
            self._changed = True

    def withdraw(self, tenant: str, generation: int) -> None:
        """Nothing up to `generation` may come back by itself."""
        self._floors.pop(tenant, None)
        self._floors[tenant] = Floor(generation, 0, b"", withdrawn=True)
        self._changed = True
        gone = [name for name, floor in self._floors.items() if floor.withdrawn]
        for name in gone[:-FORGOTTEN_KEPT]:
            del self._floors[name]

    def taken(self) -> bytes | None:
        """What is to be written, for `write`; None: nothing changed. From here on the files speak for themselves."""
        if not self._changed:
            return None
        self._changed, self.problem = False, ""
        return msgspec.msgpack.encode(self._floors)

    def write(self, taken: bytes) -> None:
        """Waits for the disk, so off the event loop. Raises OSError."""
        self._write("floors", taken)

    def again(self) -> None:
        """It could not be written."""
        self._changed = True

    # === whose signatures count ===

    def trust(self, configured: dict[str, bytes]) -> Pinned:
        """What is pinned; where other keys are `configured` than it began with, those. Raises LedgerBroken."""
        body = self._read("trust")
        if body is None:
            return Pinned(keys=configured)
        try:
            kept = _trust.decode(body)
        except msgspec.MsgspecError as failure:
            raise LedgerBroken(f"trust: {failure}") from failure
        if configured and kept.roots != sorted(configured):
            return Pinned(keys=configured)
        return kept.pinned

    def pin(self, pinned: Pinned, configured: dict[str, bytes]) -> None:
        """Raises OSError."""
        self._write("trust", msgspec.msgpack.encode(_Trust(pinned, sorted(configured))))

    # === contact ===

    def heard_unix(self) -> float | None:
        """When the control plane was last heard, to within some seconds; None: never, or it cannot be told."""
        try:
            body = self._read("heard")
            return float(body) if body is not None else None
        except (LedgerBroken, ValueError):
            log.exception("when the control plane was last heard cannot be told")
            return None

    def heard(self, at_unix: float) -> None:
        """Raises OSError."""
        self._write("heard", f"{at_unix:.0f}".encode(), sync=False)

    # === files ===

    def _mac(self, name: str, body: bytes) -> bytes:
        return blake2b(name.encode() + b"\0" + body, key=self._key, digest_size=32).hexdigest().encode()

    def _read(self, name: str) -> bytes | None:
        """None: it is not there."""
        try:
            mac, _, body = (self._dir / name).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise LedgerBroken(f"{name}: cannot be read: {failure}") from failure
        if not hmac.compare_digest(mac, self._mac(name, body)):
            raise LedgerBroken(f"{name}: was changed, or is of another node")
        return body

    def _write(self, name: str, body: bytes, *, sync: bool = True) -> None:
        """Whole or not at all."""
        path = self._dir / f".{name}.tmp"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(self._mac(name, body) + b"\n" + body)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        path.rename(self._dir / name)
