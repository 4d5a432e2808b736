"""Secrets that come from elsewhere: kept up to date, kept for a while without their source, then taken away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.files.mounted import MountedFiles
from adapters.postgres.secret_sources import PostgresDueSecrets
from adapters.web.client import WebClient
from control_plane.services.secret_sources import SecretSources
from control_plane.services.secret_stores import SecretStores
from core.admin import Rejected
from core.bound import Room
from core.resource import Ref
from tests.control_plane.services.conftest import Plane, admin_of
from tests.harness.vault import VaultServer, vault

STORE = {"login": {"type": "approle", "role_id": "role", "secret_id": "sid"}, "allow_private": True, "grace_s": 600}
VAULT = {"type": "vault", "store": "kv", "path": "shop/db", "key": "password"}


@dataclass
class World:
    plane: Plane
    server: VaultServer
    sources: SecretSources
    folder: Path

    async def look(self, *, all_due: bool = True) -> int:
        """How many were read. `all_due`: as if everything were."""
        if all_due:
            await self.plane.column("UPDATE secret_sources SET due_at = '-infinity' RETURNING name")
        reading = await self.sources.rounds.look()
        await asyncio.gather(*reading)
        return len(reading)

    async def value(self, name: str = "db") -> str | None:
        ref = Ref("Secret", "acme", name)
        sealed = await self.plane.vault.sealed(ref)
        return self.plane.vault.open(ref, sealed).decode() if sealed is not None else None

    async def source(self, name: str = "db") -> dict[str, object]:
        found = (await self.plane.get("Secret", name)).status["source"]
        assert isinstance(found, dict)
        return found

    async def outcomes(self, name: str = "db") -> list[str]:
        return [
            str(outcome)
            for outcome in await self.plane.column(
                f"SELECT outcome FROM audit WHERE tenant = 'acme' AND tool = 'Secret/{name}' ORDER BY seq"
            )
        ]

    async def revision(self) -> int:
        return (await self.plane.store.load("acme"))[0]

    async def from_the_store(self) -> None:
        await self.plane.apply("Secret", "sid", {"value": "the secret id"})
        await self.plane.apply("SecretStore", "kv", {"url": self.server.url, **STORE})
        await self.plane.apply("Secret", "db", {"source": VAULT})
        self.server.write("shop/db", {"password": "first"})

    def mount(self, text: str) -> Path:
        file = self.folder / "acme" / "password"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file


@pytest.fixture
async def world(plane: Plane, tmp_path: Path) -> AsyncIterator[World]:
    web = WebClient()
    async with vault() as server:
        stores, files = SecretStores(web, lambda: server.now), MountedFiles(tmp_path)
        due = PostgresDueSecrets(plane.database)
        sources = SecretSources(due, plane.store, plane.store, plane.vault, stores, files, plane.clock)
        yield World(plane, server, sources, tmp_path)
    web.close()


async def test_a_value_comes_from_the_store_and_follows_it_and_who_reads_the_api_sees_none(world: World) -> None:
    await world.from_the_store()
    assert await world.value() is None
    assert await world.look(all_due=False) == 1
    assert await world.value() == "first"
    assert (await world.source())["state"] == "current"

    before = await world.revision()
    assert await world.look(all_due=False) == 0, "not due"
    assert await world.look() == 1
    assert await world.revision() == before, "the same value is nothing new for gateways"
    world.server.write("shop/db", {"password": "second"})
    await world.look()
    assert await world.value() == "second"
    assert await world.revision() > before
    assert await world.outcomes() == ["created", "refreshed", "refreshed"]

    shown = repr(await world.plane.get("Secret", "db"))
    told = str(await world.plane.column("SELECT detail::text FROM audit"))
    for text in ("first", "second", "the secret id"):
        assert text not in shown + told
    sealed = await world.plane.column("SELECT sealed FROM sealed_values")
    assert not any(b"second" in bytes(one) for one in sealed)  # type: ignore[arg-type]


async def test_while_the_store_is_away_the_last_value_goes_on_for_its_grace_and_then_is_taken_away(
    world: World,
) -> None:
    await world.from_the_store()
    await world.look(all_due=False)
    world.server.sealed = True
    world.plane.clock.now += 599.0
    await world.look()
    assert await world.value() == "first"
    stale = await world.source()
    assert (stale["state"], "sealed" in str(stale["error"])) == ("stale", True)
    assert stale["until"]

    before = await world.revision()
    world.plane.clock.now += 2.0
    await world.look()
    assert await world.value() is None
    assert await world.revision() > before, "gateways learn of it"
    assert (await world.source())["state"] == "absent"
    assert "until" not in await world.source()
    assert (await world.outcomes())[-1] == "withdrawn"
    await world.look()
    assert (await world.outcomes()).count("withdrawn") == 1
    assert world.sources.readings == {"current": 1, "stale": 1, "absent": 2}

    world.server.sealed = False
    await world.look()
    assert await world.value() == "first"
    assert "error" not in await world.source()


async def test_the_end_of_the_grace_is_looked_at_when_it_comes(world: World) -> None:
    await world.from_the_store()
    await world.look(all_due=False)
    world.server.sealed = True
    world.plane.clock.now += 590.0
    await world.look()
    (due_s,) = await world.plane.column("SELECT extract(epoch FROM due_at - now())::float8 FROM secret_sources")
    assert isinstance(due_s, float)
    assert due_s <= 10.0


async def test_what_was_deleted_at_the_store_is_taken_away_at_once(world: World) -> None:
    await world.from_the_store()
    await world.look(all_due=False)
    world.server.write("shop/db", None)
    await world.look()
    assert await world.value() is None


async def test_a_value_of_another_place_does_not_stand_in_for_one_that_cannot_be_read(world: World) -> None:
    await world.from_the_store()
    await world.look(all_due=False)
    await world.plane.apply("Secret", "db", {"source": {**VAULT, "path": "shop/elsewhere"}})
    assert await world.look(all_due=False) == 1, "another declaration is due at once"
    assert await world.value() is None


async def test_a_static_value_and_a_source_take_each_others_place(world: World) -> None:
    await world.from_the_store()
    await world.plane.apply("Secret", "db", {"value": "typed in"})
    assert await world.look() == 0
    assert await world.value() == "typed in"
    await world.plane.apply("Secret", "db", {"source": VAULT})
    await world.look()
    assert await world.value() == "first"


async def test_a_login_never_needs_what_it_opens(world: World) -> None:
    await world.from_the_store()
    await world.look(all_due=False)
    await world.plane.apply("Secret", "sid", {"source": {**VAULT, "path": "shop/sid"}})
    world.plane.clock.now += 1.0
    await world.look()
    assert "must not come from a store" in str((await world.source("db"))["error"])


async def test_a_mounted_file_is_followed(world: World) -> None:
    file = world.mount("first\n")
    await world.plane.apply("Secret", "db", {"source": {"type": "file", "path": "password", "grace_s": 60}})
    await world.look(all_due=False)
    assert await world.value() == "first"
    file.write_text("second")
    await world.look()
    assert await world.value() == "second"
    for broken in (b"", b"\xff\xfe"):
        file.write_bytes(broken)
        await world.look()
        assert await world.value() == "second"
    file.unlink()
    world.plane.clock.now += 61.0
    await world.look()
    assert await world.value() is None


async def test_one_tenants_secret_reads_no_other_tenants_files(world: World) -> None:
    world.mount("acme's")
    source = {"source": {"type": "file", "path": "password"}}
    await world.plane.apply("Secret", "db", source, tenant="umbrella")
    await world.look(all_due=False)
    assert await world.plane.vault.sealed(Ref("Secret", "umbrella", "db")) is None


async def test_a_store_inside_is_the_platforms_to_declare_and_one_in_use_stays(world: World) -> None:
    await world.plane.apply("Secret", "sid", {"value": "x"})
    with pytest.raises(Rejected) as refused:
        await world.plane.apply("SecretStore", "kv", {"url": world.server.url, **STORE}, admin=admin_of("acme"))
    assert [problem.path for problem in refused.value.problems] == ["spec.allow_private"]
    await world.from_the_store()
    with pytest.raises(Rejected):
        await world.plane.resources.delete(admin_of("acme"), "SecretStore", "acme", "kv")
    with pytest.raises(Rejected) as missing:
        await world.plane.apply("Secret", "other", {})
    assert [problem.path for problem in missing.value.problems] == ["spec.value"]


async def test_replicas_share_the_work_and_none_writes_over_another(world: World) -> None:
    await world.from_the_store()
    assert len(await PostgresDueSecrets(world.plane.database).claim(Room(10, 10), 60.0)) == 1
    assert await world.look(all_due=False) == 0, "another replica has it"


async def test_a_store_that_keeps_one_waiting_keeps_nobody_else(world: World) -> None:
    await world.from_the_store()
    await world.plane.apply("Secret", "file", {"source": {"type": "file", "path": "password"}})
    world.mount("quick")
    world.server.hold.clear()
    slow, quick = sorted(await world.sources.rounds.look(), key=lambda task: task.get_name())
    done, waiting = await asyncio.wait({slow, quick}, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(waiting)) == (1, 1)
    assert await world.value("file") == "quick"
    assert await world.sources.rounds.look() == [], "what is being read is not claimed twice"
    assert world.sources.rounds.bound.held == 1
    world.server.hold.set()
    await asyncio.gather(*waiting)
    assert await world.value() == "first"
