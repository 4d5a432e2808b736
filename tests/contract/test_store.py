"""What every Store keeps to: one suite, the memory store and real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from adapters.memory.store import MemoryStore
from adapters.postgres.resources import PostgresStore
from core.audit import Entry
from core.endpoint import Endpoint, Member
from core.identity import ApiKey, User
from core.resource import Ref, Resource, Spec
from core.secret import Sealed, Secret
from core.server import HttpTransport, Server
from core.store import Change, IssuedKey, Pruned, Put, Query, Store, parse_selector
from core.tenant import Namespace, Tenant
from tests.harness.postgres import Server as PostgresServer


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, postgres: PostgresServer) -> AsyncIterator[MemoryStore | PostgresStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with postgres.database() as database:
        yield PostgresStore(database)


def entry(name: str = "e") -> Entry:
    return Entry(
        id=name, at_unix=1.5, type="change", outcome="created", caller="root", tool="x", detail={"a": [1, 2.0]}
    )


def a(spec: Spec, name: str = "one", tenant: str = "acme", **more: object) -> Resource:
    made = Resource(
        kind=type(spec).__name__, tenant=tenant, name=name, spec=spec, generation=1, created_unix=5.25, updated_unix=6.5
    )
    return msgspec.structs.replace(made, **more)


async def put(store: Store, *resources: Resource, **more: object) -> None:
    for resource in resources:
        async with store.writing(resource.tenant) as writing:
            references = tuple(resource.spec.references())
            await writing.put(
                Put(resource=resource, references=references, **more), entry(f"{resource.ref}{resource.generation}")
            )


async def test_what_was_put_is_read_back_whole(store: Store) -> None:
    server = a(
        Server(transport=HttpTransport(url="http://x/mcp", headers={"A-b": "ü"}), timeout_s=2.0),
        namespace="team",
        labels={"tier": "gold"},
        generation=7,
    )
    await put(store, server)
    assert await store.get(server.ref) == server


async def test_what_is_not_there_is_none(store: Store) -> None:
    assert await store.get(Ref("User", "acme", "nobody")) is None


async def test_putting_again_replaces_all_but_status_and_creation(store: MemoryStore | PostgresStore) -> None:
    await put(store, a(User(email="a@b")), status={"seen": True})
    await put(store, a(User(email="c@d"), generation=2, labels={"x": "y"}, updated_unix=9.0), status={"more": 1})
    assert await store.get(Ref("User", "acme", "one")) == a(
        User(email="c@d"), generation=2, labels={"x": "y"}, updated_unix=9.0, status={"seen": True, "more": 1}
    )


async def test_a_block_that_raises_changes_nothing(store: Store) -> None:
    async def fail() -> None:
        async with store.writing("acme") as writing:
            await writing.put(Put(resource=a(User())), entry())
            assert await writing.get(Ref("User", "acme", "one")) is not None
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await store.get(Ref("User", "acme", "one")) is None
    assert await store.changes(0, 10) == []


async def test_pages_follow_each_other_without_gap_or_repeat(store: Store) -> None:
    names = ["a", "a-b", "a0", "b", "b-1", "z9"]
    for tenant in ("acme", "b"):
        await put(store, *(a(User(), name, tenant) for name in names))
    seen = []
    after = None
    while page := await store.find(Query(kind="User", tenant=None, after=after, limit=5)):
        seen += [(one.tenant, one.name) for one in page]
        after = seen[-1]
    assert seen == [(tenant, name) for tenant in ("acme", "b") for name in sorted(names)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", ["bare", "gold", "iron"]),
        ("tier=gold", ["gold"]),
        ("tier==gold", ["gold"]),
        ("tier!=gold", ["bare", "iron"]),
        ("tier", ["gold", "iron"]),
        ("!tier", ["bare"]),
        ("tier in (gold, iron), team", ["iron"]),
        ("tier notin (gold)", ["bare", "iron"]),
        ("tier=gold,tier=iron", []),
    ],
)
async def test_selectors_choose_by_label(store: Store, selector: str, expected: list[str]) -> None:
    await put(
        store,
        a(User(), "bare"),
        a(User(), "gold", labels={"tier": "gold"}),
        a(User(), "iron", labels={"tier": "iron", "team": "pay"}),
        a(Namespace(), "other", labels={"tier": "gold"}),
        a(User(), "stranger", "umbrella", labels={"tier": "gold"}),
    )
    found = await store.find(Query(kind="User", tenant="acme", selector=parse_selector(selector)))
    assert [one.name for one in found] == expected


async def test_find_narrows_by_name_and_namespace(store: Store) -> None:
    await put(store, a(User(), "x", namespace="team"), a(User(), "y"))
    assert [r.name for r in await store.find(Query(kind="User", tenant="acme", namespace="team"))] == ["x"]
    assert [r.name for r in await store.find(Query(kind="User", tenant="acme", name="y"))] == ["y"]


async def test_load_gives_a_tenant_and_all_in_it_at_one_revision(store: Store) -> None:
    tenant = a(Tenant(), "acme", "")
    await put(
        store, tenant, a(User(), "u"), a(Namespace(), "n"), a(User(), "u", "umbrella"), a(Tenant(), "umbrella", "")
    )
    revision, found = await store.load("acme")
    assert revision == 5
    assert [str(one.ref) for one in found] == ["Tenant/acme", "Namespace/n", "User/u"]
    assert await store.load("nowhere") == (5, [])


async def test_referrers_and_existence_are_seen_while_writing(store: Store) -> None:
    await put(
        store,
        a(Server(transport=HttpTransport(url="http://x")), "time"),
        a(Endpoint(members=[Member(server="time"), Member(server="gone")]), "default", namespace="team"),
        a(Endpoint(members=[Member(server="time")]), "default", "umbrella"),
        a(Namespace(), "team"),
    )
    async with store.writing("acme") as writing:
        server, default = Ref("Server", "acme", "time"), Ref("Endpoint", "acme", "default")
        assert await writing.existing([server, Ref("Server", "acme", "gone")]) == {server}
        assert await writing.referrers(server, 10) == [(default, "spec.members[0].server")]
        assert await writing.referrers(Ref("Namespace", "acme", "team"), 10) == [(default, "namespace")]
        assert await writing.referrers(Ref("Tenant", "", "umbrella"), 10) == [
            (Ref("Endpoint", "umbrella", "default"), "tenant")
        ]
        assert len(await writing.referrers(Ref("Tenant", "", "acme"), 2)) == 2
        assert await writing.count("acme", "Endpoint") == 1


async def test_references_follow_the_newest_spec(store: Store) -> None:
    await put(store, a(Server(transport=HttpTransport(url="http://x")), "time"))
    await put(store, a(Endpoint(members=[Member(server="time")])), a(Endpoint(members=[]), generation=2))
    async with store.writing("acme") as writing:
        assert await writing.referrers(Ref("Server", "acme", "time"), 10) == []


async def test_dropping_removes_what_is_kept_beside(store: Store) -> None:
    secret, key = a(Secret(), "token"), a(ApiKey(user="u"), "key")
    await put(store, secret, sealed=Sealed("k1", b"sealed"))
    await put(store, key, key=IssuedKey("id", b"hash", 1.0))
    async with store.writing("acme") as writing:
        assert await writing.sealed(secret.ref) == Sealed("k1", b"sealed")
        await writing.drop(secret.ref, entry("drop secret"))
        await writing.drop(key.ref, entry("drop key"))
    async with store.writing("acme") as writing:
        assert await writing.sealed(secret.ref) is None
        assert await writing.get(key.ref) is None


async def test_what_is_sealed_can_be_taken_away_and_the_resource_stays(store: Store) -> None:
    secret = a(Secret(), "token")
    await put(store, secret, sealed=Sealed("k1", b"sealed"))
    (before, _) = await store.load("acme")
    async with store.writing("acme") as writing:
        await writing.unseal(secret.ref, entry("withdraw secret"))
    async with store.writing("acme") as writing:
        assert await writing.sealed(secret.ref) is None
        assert await writing.get(secret.ref) is not None
    (after, _) = await store.load("acme")
    assert after > before


async def test_changes_come_in_commit_order_with_what_was_deleted(store: Store) -> None:
    user = a(User(email="x@y"))
    await put(store, user)
    async with store.writing("acme") as writing:
        await writing.drop(user.ref, entry("drop"))
    assert await store.changes(0, 10) == [Change(1, "applied", user.ref), Change(2, "deleted", user.ref, user)]
    assert await store.changes(1, 10) == [Change(2, "deleted", user.ref, user)]
    assert await store.changes(0, 1) == [Change(1, "applied", user.ref)]


async def test_a_revision_that_never_was_is_refused(store: Store) -> None:
    await put(store, a(User()))
    assert await store.changes(1, 10) == []
    with pytest.raises(Pruned):
        await store.changes(2, 10)


async def test_reports_merge_into_status_and_are_no_change(store: MemoryStore | PostgresStore) -> None:
    user = a(User())
    await put(store, user, status={"keep": 1, "go": 2})
    await store.report({user.ref: {"new": [1, {"x": None}], "go": None}, Ref("User", "acme", "nobody"): {"x": 1}})
    found = await store.get(user.ref)
    assert found == msgspec.structs.replace(user, status={"keep": 1, "new": [1, {"x": None}]})
    assert len(await store.changes(0, 10)) == 1


async def test_writers_of_one_tenant_take_turns_and_others_do_not_wait(store: Store) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with store.writing("acme"):
            inside.set()
            await leave.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(hold())
        await inside.wait()
        await put(store, a(User(), tenant="umbrella"))
        second = group.create_task(put(store, a(User())))
        await put(store, a(User(), "two", "umbrella"))
        assert not second.done()
        leave.set()
        await second
    assert await store.get(Ref("User", "acme", "one")) is not None


async def test_readers_of_changes_miss_none_of_many_writers(store: Store) -> None:
    """A revision must never become visible after a higher one: each writer's commit is seen exactly once."""
    seen: list[int] = []
    writers, each = 8, 12

    async def write(number: int) -> None:
        for i in range(each):
            await put(store, a(User(), f"u{i}", f"t{number}"))

    async def read() -> None:
        while len(seen) < writers * each:
            seen.extend(change.revision for change in await store.changes(seen[-1] if seen else 0, 7))
            await asyncio.sleep(0)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(read())
        for number in range(writers):
            group.create_task(write(number))
    assert seen == list(range(1, writers * each + 1))
