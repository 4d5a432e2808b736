"""What only files are asked of: what is no snapshot among them, and records in one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from adapters.files.records import RecordFile
from adapters.files.snapshots import FolderSource
from core.call import Record, RecordsAway
from core.resource import Problem, digest
from core.snapshot import Holding, SnapshotReceiver, SnapshotSource, TenantUpdate
from tests.data_plane.node.snapshots import manifest_of, parts_of, update


class Memory:
    """A SnapshotReceiver that takes everything."""

    def __init__(self) -> None:
        self.in_force: dict[str, TenantUpdate] = {}
        self.parts: dict[bytes, bytes] = {}
        self.changed = asyncio.Condition()

    def holdings(self) -> tuple[list[Holding], set[bytes]]:
        held = [
            Holding(tenant, manifest_of(one).generation, digest(one.signed.manifest))
            for tenant, one in self.in_force.items()
        ]
        return held, set(self.parts)

    async def offer(self, update: TenantUpdate) -> list[Problem]:
        manifest = manifest_of(update)
        async with self.changed:
            self.changed.notify_all()
            self.parts |= update.parts
            assert {ref.digest for ref in manifest.parts} <= self.parts.keys()
            self.in_force[manifest.tenant] = update
            return []

    async def withdraw(self, tenant: str) -> None:
        async with self.changed:
            self.in_force.pop(tenant, None)
            self.changed.notify_all()

    async def until(self, holds: object) -> None:
        assert callable(holds)
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(holds)


class Folder:
    """Publishes to a FolderSource."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("tenants", "parts"):
            (path / name).mkdir()

    def source(self) -> SnapshotSource:
        return FolderSource(self.path, poll_s=0.01)

    def publish(self, one: TenantUpdate) -> None:
        for part, data in one.parts.items():
            (self.path / "parts" / part.hex()).write_bytes(data)
        file = self.path / "tenants" / f"{manifest_of(one).tenant}.json"
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode({"signed": one.signed, "sealed_key": one.sealed_key}))
        temporary.rename(file)


@pytest.fixture
def published(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@asynccontextmanager
async def following(source: SnapshotSource, receiver: SnapshotReceiver) -> AsyncIterator[None]:
    task = asyncio.ensure_future(source.follow(receiver))
    try:
        yield
        assert not task.done(), "it follows for ever"
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_garbage_among_the_files_stops_nothing(published: Folder) -> None:
    node = Memory()
    (published.path / "tenants" / "broken.json").write_text("{")
    (published.path / "tenants" / "Not A Name.json").write_text("{}")
    lost = update("lost")
    published.publish(lost)
    missing = published.path / "parts" / next(iter(lost.parts)).hex()
    data = missing.read_bytes()
    missing.unlink()
    published.publish(update("acme", parts=parts_of("acme", marker="own")))
    async with following(published.source(), node):
        await node.until(lambda: "acme" in node.in_force)
        assert "lost" not in node.in_force
        missing.write_bytes(data)
        await node.until(lambda: "lost" in node.in_force)


async def test_a_record_file_holds_every_record_by_its_id_and_says_when_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    rows = [msgspec.msgpack.encode(Record(id=f"r{n}", at_unix=float(n), tenant="acme")) for n in range(3)]
    records = RecordFile(path)
    await records.ship(rows)
    await records.ship(rows[2:])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["id"] for line in lines} == {"r0", "r1", "r2"}
    assert lines[0]["tenant"] == "acme"
    with pytest.raises(RecordsAway):
        await RecordFile(tmp_path).ship(rows)
