"""Snapshots on disk: parts by their digest, and for each tenant the signed manifest that names them.

    parts/<hex digest>        the bytes; verified on every read, so a changed file is never used
    tenants/<tenant>.json     the last good manifest with its signature, and the tenant's data key, sealed to this node
    tenants/<tenant>.new      the same, in force but not yet known to be on the disk
    trust.json                the signing keys this node accepts
    heard                     when the control plane was last heard

A file appears under its name whole or not at all. Waiting for the disk is kept off the path of a push: what is new is
written first and `flush`ed together soon after, parts before the manifests that name them. A killed process loses
nothing; a machine that loses power comes back with what was last flushed.
"""

import base64
import ctypes
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.resource import NAME, digest
from core.snapshot import Manifest, SignedManifest

log = logging.getLogger("toolgate.parts")

PART_MAX_BYTES = 64 * 1024 * 1024
_HEX = frozenset("0123456789abcdef")
_libc = ctypes.CDLL(None)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's file."""

    signed: SignedManifest
    sealed_key: bytes

    @property
    def manifest_digest(self) -> bytes:
        return digest(self.signed.manifest)


_stored = msgspec.json.Decoder(Stored)


class Parts:
    """Reads parts; all that a worker may do with the folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "parts"

    def read(self, part: bytes) -> bytes:
        """The bytes with this digest. Raises OSError where there are none, ValueError where they were changed."""
        data = (self._folder / part.hex()).read_bytes()
        if digest(data) != part:
            raise ValueError(f"part {part.hex()}: the file was changed")
        return data


class PartStore(Parts):
    """The supervisor's end: the only writer."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._dir = data_dir
        self._tenants = data_dir / "tenants"
        for folder in (self._folder, self._tenants):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known = {bytes.fromhex(name) for name in _names(self._folder) if _is_digest(name)}
        self._unflushed: set[str] = set()

    def __contains__(self, part: bytes) -> bool:
        """Whether there is a file for it; only reading tells whether it is good."""
        return part in self._known

    def put(self, part: bytes, data: bytes) -> None:
        """Keep a part. The caller has checked that `part` is the digest of `data`. Raises OSError."""
        if part in self._known:
            # Trusted only as far as it can be read: a push is the chance to heal a changed file.
            try:
                self.read(part)
                return
            except (OSError, ValueError):
                log.warning("part %s was changed on disk; replaced", part.hex())
        _write(self._folder / part.hex(), data)
        self._known.add(part)

    def tenants(self) -> list[str]:
        """Names of all tenants with a file, sorted."""
        names = {path.stem for path in self._tenants.iterdir() if path.suffix in (".json", ".new")}
        return sorted(name for name in names if NAME.fullmatch(name))

    def candidates(self, tenant: str) -> Iterator[Stored]:
        """What is on disk of a tenant, newest first. Unreadable files are logged and passed over."""
        for suffix in (".new", ".json"):
            path = self._tenants / (tenant + suffix)
            try:
                yield _stored.decode(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, msgspec.MsgspecError) as failure:
                log.error("tenant %s: %s is unreadable and not used: %s", tenant, path.name, failure)  # noqa: TRY400

    def keep(self, tenant: str, stored: Stored) -> None:
        """This is in force now; `flush` makes it survive a loss of power. Raises OSError."""
        _write(self._tenants / f"{tenant}.new", msgspec.json.encode(stored))
        self._unflushed.add(tenant)

    def forget(self, tenant: str) -> None:
        self._unflushed.discard(tenant)
        for suffix in (".new", ".json"):
            (self._tenants / (tenant + suffix)).unlink(missing_ok=True)

    @property
    def unflushed(self) -> bool:
        return bool(self._unflushed)

    def take_unflushed(self) -> dict[str, int]:
        """What `flush` is to do: tenants with the identity of their newest file. Call on the event loop."""
        taken: dict[str, int] = {}
        for tenant in self._unflushed:
            try:
                taken[tenant] = (self._tenants / f"{tenant}.new").stat().st_ino
            except FileNotFoundError:
                continue
        self._unflushed.clear()
        return taken

    def sync(self) -> None:
        """Wait until all that was written is on the disk; blocks, so off the event loop. Raises OSError."""
        folder = os.open(self._tenants, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(folder) != 0:
                raise OSError("syncfs failed")
        finally:
            os.close(folder)

    def settle(self, taken: dict[str, int]) -> None:
        """After `sync`: give the synced files their lasting name, unless they were replaced meanwhile."""
        for tenant, inode in taken.items():
            new = self._tenants / f"{tenant}.new"
            try:
                if new.stat().st_ino == inode:
                    new.replace(self._tenants / f"{tenant}.json")
            except FileNotFoundError:
                continue

    def collect(self, named: set[bytes], older_than_unix: float) -> int:
        """Delete parts that are not `named` and were written before; how many. Half-written leftovers go too."""
        gone = 0
        for entry in os.scandir(self._folder):
            part = bytes.fromhex(entry.name) if _is_digest(entry.name) else None
            if part in named or entry.stat().st_mtime >= older_than_unix:
                continue
            Path(entry.path).unlink(missing_ok=True)
            if part is not None:
                self._known.discard(part)
                gone += 1
        return gone

    # === trust and contact ===

    def trusted(self) -> dict[str, bytes]:
        """Signing keys pinned here: key id to raw public key. Raises ValueError where the file is unreadable."""
        try:
            return msgspec.json.decode((self._dir / "trust.json").read_bytes(), type=dict[str, bytes])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as failure:
            raise ValueError(f"trust.json: {failure}") from failure

    def trust(self, keys: dict[str, bytes]) -> None:
        _write(self._dir / "trust.json", msgspec.json.encode(keys), sync=True)

    def heard_unix(self) -> float | None:
        """When the control plane was last heard, to within some seconds; None: never."""
        try:
            return float((self._dir / "heard").read_text())
        except (OSError, ValueError):
            return None

    def heard(self, at_unix: float) -> None:
        _write(self._dir / "heard", f"{at_unix:.0f}".encode())


def node_key(data_dir: Path) -> bytes:
    """The node's X25519 private key: 32 raw bytes, made at the first start. Raises ValueError, OSError."""
    path = data_dir / "node.key"
    if not path.exists():
        _write(path, base64.b64encode(os.urandom(32)), sync=True)
    key = base64.b64decode(path.read_bytes(), validate=True)
    if len(key) != 32:
        raise ValueError(f"{path.name}: not 32 bytes")
    return key


def decode_manifest(signed: SignedManifest) -> Manifest:
    """Raises msgspec.MsgspecError."""
    return msgspec.msgpack.decode(signed.manifest, type=Manifest)


def _names(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - thousands of names, no need of a Path for each


def _is_digest(name: str) -> bool:
    return len(name) == 64 and _HEX.issuperset(name)


def _write(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Whole or not at all, readable by this user only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        if sync:
            os.fsync(file)
    finally:
        os.close(file)
    temporary.rename(path)
