"""Watch: what is there, then what changes, and how a watch ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from control_plane.services.watch import QUEUE, Watch
from core.admin import Admin, Event, Rejected, Why
from tests.control_plane.services.conftest import ROOT, Plane, admin_of


@pytest.fixture
async def running(plane: Plane) -> AsyncIterator[Plane]:
    task = asyncio.create_task(plane.watch.run())
    yield plane
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def told(event: Event) -> str:
    return event.type if event.resource is None else f"{event.type} {event.resource.tenant}/{event.resource.ref}"


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


async def until_synced(events: AsyncIterator[Event]) -> list[str]:
    seen: list[str] = []
    while not seen or seen[-1] != "synced":
        seen += [told(event) for event in await take(events, 1)]
    return seen


async def test_a_watch_tells_what_is_there_then_what_changes(running: Plane) -> None:
    await running.apply("User", "alice", {})
    events = running.watch.watch(ROOT, "User", "acme")
    assert await until_synced(events) == ["applied acme/User/alice", "synced"]
    await running.apply("User", "bob", {}, tenant="umbrella")
    await running.apply("Agent", "bot", {})
    await running.apply("User", "alice", {"email": "a@b"})
    (changed,) = await take(events, 1)
    await running.resources.delete(ROOT, "User", "acme", "alice")
    (deleted,) = await take(events, 1)
    assert (changed.type, deleted.type) == ("applied", "deleted")
    assert changed.revision < deleted.revision
    assert deleted.resource is not None
    assert deleted.resource.spec.email == "a@b"  # type: ignore[attr-defined]
    await events.aclose()


async def test_a_watch_resumes_after_the_last_event_it_saw(running: Plane) -> None:
    events = running.watch.watch(ROOT, tenant="acme")
    await until_synced(events)
    await running.apply("User", "a", {})
    (seen,) = await take(events, 1)
    await events.aclose()
    await running.apply("User", "b", {})
    await running.apply("User", "c", {})
    await running.resources.delete(ROOT, "User", "acme", "b")
    resumed = running.watch.watch(ROOT, tenant="acme", since=seen.revision)
    heard: list[str] = []
    while "deleted acme/User/b" not in heard:
        heard += [told(event) for event in await take(resumed, 1)]
    await resumed.aclose()
    assert [one for one in heard if one != "synced"] == ["applied acme/User/c", "deleted acme/User/b"]


async def test_a_revision_no_longer_kept_is_a_conflict(running: Plane) -> None:
    for name in ("a", "b", "c"):
        await running.apply("User", name, {})
    await running.store.prune_changes(keep=1)
    for since in (1, 10_000):
        with pytest.raises(Rejected) as rejected:
            await take(running.watch.watch(ROOT, since=since), 1)
        assert rejected.value.why is Why.CONFLICT


async def test_a_tenants_watch_shows_no_other_tenant(running: Plane) -> None:
    events = running.watch.watch(admin_of("acme", "viewer"))
    assert await until_synced(events) == ["applied /Tenant/acme", "synced"]
    await running.apply("User", "spy", {}, tenant="umbrella")
    await running.apply("Tenant", "umbrella", {"display_name": "U"})
    await running.keys.issue(ROOT, "", "root2", {"admin_role": "owner"})
    await running.apply("User", "own", {})
    assert [told(event) for event in await take(events, 1)] == ["applied acme/User/own"]
    await events.aclose()
    with pytest.raises(Rejected) as rejected:
        await take(running.watch.watch(admin_of("acme"), tenant="umbrella"), 1)
    assert (rejected.value.why, rejected.value.public) == (Why.NOT_FOUND, "Tenant/umbrella does not exist")


async def test_a_watch_ends_when_its_key_is_revoked(running: Plane) -> None:
    token = await running.keys.issue(ROOT, "acme", "ops", {"admin_role": "viewer"})
    admin = await running.access.identify(token)
    events = running.watch.watch(admin)
    await until_synced(events)
    await running.keys.revoke(ROOT, "acme", "ops")
    with pytest.raises(Rejected) as rejected:
        await take(events, 2)
    assert rejected.value.why is Why.UNAUTHENTICATED


async def test_a_watch_does_not_outlive_the_key_it_was_begun_with(running: Plane) -> None:
    token = await running.keys.issue(ROOT, "acme", "ops", {"admin_role": "viewer"})
    events = running.watch.watch(await running.access.identify(token))
    await until_synced(events)
    await running.keys.issue(ROOT, "acme", "ops", {}, rotate=True)
    with pytest.raises(Rejected, match="begin the watch again") as rejected:
        await take(events, 2)
    assert rejected.value.why is Why.UNAVAILABLE


async def test_a_slow_watcher_is_dropped_and_told_and_others_go_on(running: Plane) -> None:
    slow, quick = running.watch.watch(ROOT, "User", "acme"), running.watch.watch(ROOT, "User", "umbrella")
    await until_synced(slow)
    await until_synced(quick)
    user = (await running.apply("User", "a", {})).resource
    revision = (await running.store.load("acme"))[0]
    for i in range(QUEUE + 1):
        running.watch._tell(Event("applied", revision + i + 1, user))
    with pytest.raises(Rejected, match="too slow") as rejected:
        await take(slow, QUEUE + 2)
    assert rejected.value.why is Why.UNAVAILABLE
    assert not [one for one in running.watch._watchers if one.admin is None]
    again = running.watch.watch(ROOT, "User", "umbrella")
    await until_synced(again)
    await again.aclose()
    await quick.aclose()
    assert not running.watch._watchers


async def test_without_a_reader_of_changes_a_watch_is_refused_in_time(plane: Plane) -> None:
    async def silence() -> AsyncIterator[int | None]:
        await asyncio.Event().wait()
        yield None

    watch = Watch(plane.store, silence, ready_s=0.01)
    with pytest.raises(Rejected) as rejected:
        await take(watch.watch(Admin("a", None, "viewer")), 1)
    assert rejected.value.why is Why.UNAVAILABLE
