"""Vault-compatible stores: logged in to, renewed, read; what each answer means, and what none means.

The server is our own, written from the public API documentation (`tests.harness.vault`).
"""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from adapters.web.client import WebClient
from control_plane.services.secret_stores import SecretStores
from core.secret import NoValue, VaultSource
from core.secret_store import Denied, Lease, SecretStore
from tests.harness.certificates import Authority
from tests.harness.vault import VaultServer, vault

ROLE = {"type": "approle", "role_id": "role", "secret_id": "sid"}
SOURCE = VaultSource(store="s", path="shop/upstream", key="password")


@dataclass
class World:
    server: VaultServer
    stores: SecretStores
    values: dict[str, str]

    async def read(self, source: VaultSource = SOURCE, **more: object) -> str:
        return (await self.read_with_next(source, **more))[0]

    async def read_with_next(self, source: VaultSource = SOURCE, **more: object) -> tuple[str, float]:
        spec = {"url": self.server.url, "login": ROLE, "allow_private": True, **more}
        store = msgspec.convert(spec, SecretStore)
        assert list(store.problems()) == []
        return await self.stores.read("acme", store, self.values, source)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    web = WebClient()
    async with vault() as server:
        server.write("shop/upstream", {"password": "first"})
        yield World(server, SecretStores(web, lambda: server.now), {"sid": "the secret id"})
    web.close()


async def test_a_value_is_read_with_one_login_for_many(world: World) -> None:
    assert await world.read_with_next() == ("first", 300.0)
    world.server.write("shop/upstream", {"password": "second", "other": "x"})
    assert await world.read() == "second"
    assert await world.read(VaultSource(store="s", path="shop/upstream", key="other")) == "x"
    assert await world.read(VaultSource(store="s", path="shop/upstream", key="password", version=1)) == "first"
    assert world.server.count("login") == 1
    assert world.stores.bound.held == 1


async def test_a_service_account_logs_in_and_so_does_a_token_made_beforehand(world: World) -> None:
    world.values = {"jwt": "the service account's token\n", "t": world.server.token(0)}
    assert await world.read(login={"type": "kubernetes", "role": "toolgate", "jwt": "jwt"}) == "first"
    assert await world.read(login={"type": "token", "token": "t"}) == "first"
    world.server.now += 10**6
    assert await world.read(login={"type": "token", "token": "t"}) == "first", "one without an end needs no renewal"
    assert world.server.count("renew-self") == 0


async def test_a_token_is_renewed_before_its_end_and_had_anew_when_it_cannot_be_any_more(world: World) -> None:
    await world.read()
    for _ in range(5):
        world.server.now += 500.0  # Of 600.
        await world.read()
    assert (world.server.count("login"), world.server.count("renew-self")) == (1, 5)
    for _ in range(4):
        world.server.now += 500.0  # Past the 3,600 s that renewing can bring it to.
        await world.read()
    assert world.server.count("login") == 2
    world.server.now += 10_000.0  # Nothing was read in between: it ended.
    assert await world.read() == "first"
    assert world.server.count("login") == 3


async def test_a_token_made_beforehand_is_renewed_too_and_its_end_is_told(world: World) -> None:
    world.values = {"t": world.server.token()}
    login = {"type": "token", "token": "t"}
    await world.read(login=login)
    world.server.now += 500.0
    assert await world.read(login=login) == "first"
    assert world.server.count("renew-self") == 1
    world.server.now += 5_000.0
    with pytest.raises(Denied, match="refuses the login") as ended:
        await world.read(login=login)
    assert not ended.value.gone
    assert world.values["t"] not in str(ended.value)


async def test_a_token_that_was_ended_at_the_store_is_replaced_within_the_same_reading(world: World) -> None:
    await world.read()
    world.server.tokens.clear()
    assert await world.read() == "first"
    assert world.server.count("login") == 2


async def test_another_credential_is_another_login(world: World) -> None:
    world.values = {"sid": "wrong"}
    with pytest.raises(Denied):
        await world.read()
    world.values = {"sid": "the secret id"}
    assert await world.read() == "first"


async def test_namespaces_are_apart(world: World) -> None:
    world.server.write("shop/upstream", {"password": "theirs"}, "team/a")
    assert await world.read(namespace="team/a") == "theirs"
    assert await world.read() == "first"


async def test_version_1_is_read_too_and_again_when_its_lease_says(world: World) -> None:
    world.server.plain["", "shop/upstream"] = ({"password": "old"}, 60.0)
    assert await world.read_with_next(mount="kv1", version=1) == ("old", 60.0)
    world.server.plain["", "shop/upstream"] = ({"password": "old"}, 2_764_800.0)
    assert await world.read_with_next(mount="kv1", version=1, refresh_s=30) == ("old", 30.0)


@pytest.mark.parametrize(
    "source",
    [
        VaultSource(store="s", path="shop/nothing", key="password"),
        VaultSource(store="s", path="shop/upstream", key="nothing"),
        VaultSource(store="s", path="shop/upstream", key="number"),
        VaultSource(store="s", path="shop/upstream", key="password", version=9),
        VaultSource(store="s", path="shop/ended", key="password"),
    ],
)
async def test_what_the_store_says_is_not_there_is_gone(world: World, source: VaultSource) -> None:
    world.server.write("shop/upstream", {"password": "first", "number": 7})
    world.server.write("shop/ended", {"password": "x"})
    world.server.write("shop/ended", None)
    with pytest.raises(NoValue) as none:
        await world.read(source)
    assert none.value.gone


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>no such page</html>"),
        (404, b'{"errors":["no handler for route"]}'),
        (500, b"{}"),
        (503, b'{"errors":["Vault is sealed"]}'),
        (429, b""),
        (307, b""),
        (200, b"<html>sign in</html>"),
        (200, b'{"data":"x"}'),
    ],
)
async def test_what_is_not_the_stores_word_on_a_secret_says_nothing_of_it(
    world: World, status: int, body: bytes
) -> None:
    await world.read()
    world.server.said = [(status, body)]
    with pytest.raises(NoValue) as none:
        await world.read()
    assert not none.value.gone
    assert await world.read() == "first"


async def test_a_wrong_mount_is_no_word_either(world: World) -> None:
    with pytest.raises(NoValue) as none:
        await world.read(mount="other")
    assert not none.value.gone


async def test_a_store_that_does_not_answer_is_left_alone_for_ever_longer_moments(world: World) -> None:
    world.server.silent = True

    async def away() -> None:
        with pytest.raises(NoValue, match="away") as none:
            await world.read()
        assert not none.value.gone

    for pause_s in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        asked = len(world.server.asked)
        await away()
        world.server.now += pause_s - 1.0
        await away()
        assert len(world.server.asked) == asked + 1
        world.server.now += 1.0
    world.server.silent = False
    assert await world.read() == "first"
    world.server.silent = True
    await away()
    world.server.silent = False
    world.server.now += 5.0
    assert await world.read() == "first"


async def test_what_a_store_says_in_an_error_is_not_repeated(world: World) -> None:
    world.values = {"t": "hvs.never-to-be-told"}
    with pytest.raises(NoValue) as none:
        await world.read(login={"type": "token", "token": "t"})
    assert "never-to-be-told" not in str(none.value)
    assert "hvs.x" not in repr(Lease("hvs.x", 1.0))


async def test_certificates_are_checked_against_the_authority_that_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("vault"))
    web = WebClient()
    async with vault(context) as server:
        server.write("shop/upstream", {"password": "first"})
        world = World(server, SecretStores(web, lambda: server.now), {"sid": "the secret id"})
        assert await world.read(ca_pem=authority.file.read_text()) == "first"
        with pytest.raises(NoValue, match="certificate"):
            await world.read()
    web.close()
