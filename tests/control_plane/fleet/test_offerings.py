"""What servers offer besides tools, and servers that say they changed: on a real database and over real streams."""

import asyncio
import time

import msgspec

from core.offering import Offering
from core.server import Observation, ObservedEntry
from tests.control_plane.fleet.test_learning import approvals, saw, server, tool
from tests.harness.fleet import ROOT, HoldingNode, connected, control_plane

REVIEW = ObservedEntry(name="review", definition=b'{"name":"review",  "arguments":[], "x-odd":1.50}')
PAGE = ObservedEntry(name="ui://page", definition=b'{"uri":"ui://page","name":"page"}')
DAY = ObservedEntry(name="log:{day}", definition=b'{"uriTemplate":"log:{day}","name":"log"}')


def everything(**changes: object) -> Observation:
    offers = ["prompts", "resources", "tools", "list_changed"]
    seen = msgspec.structs.replace(
        saw(tool("now")), prompts=[REVIEW], resources=[PAGE], templates=[DAY], offers=offers, instructions="Be kind."
    )
    return msgspec.structs.replace(seen, **changes)


async def test_everything_a_server_offers_is_published_and_counted(dsn: str) -> None:
    node = HoldingNode("node-1")
    node.observations["clock"] = everything()
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme", "clock")
        await node.until(lambda: bool(node.catalogue("acme").prompts))
        shown = node.catalogue("acme")
        assert [(one.name, one.definition) for one in shown.prompts] == [("review", REVIEW.definition)]
        assert [(one.name, one.definition) for one in shown.resources] == [("ui://page", PAGE.definition)]
        assert [(one.name, one.definition) for one in shown.templates] == [("log:{day}", DAY.definition)]
        assert (shown.instructions, shown.servers, shown.unavailable) == ("Be kind.", ("clock",), ())
        status = (await server(plane, lambda r: r.status.get("prompts") == 1)).status
        assert (status["resources"], status["templates"]) == (1, 1)
        assert status["offers"] == ["list_changed", "prompts", "resources", "tools"]
        kept = await approvals(plane).offering(ROOT, "acme", "clock")
        assert kept == Offering(
            prompts=(REVIEW,),
            resources=(PAGE,),
            templates=(DAY,),
            offers=("list_changed", "prompts", "resources", "tools"),
        )
        # Longer than until the next look: what is watched stays watched.
        assert node.watched_s["clock"] == 450


async def test_a_server_that_says_it_changed_is_looked_at_and_published_within_a_second(dsn: str) -> None:
    node = HoldingNode("node-1")
    node.observations["clock"] = everything()
    async with control_plane(dsn) as plane, connected(node, plane.target) as source:
        await plane.tenant("acme", "clock")
        await node.until(lambda: bool(node.catalogue("acme").prompts))
        await server(plane, lambda r: r.status.get("prompts") == 1)
        took = []
        for number in range(3):
            other = ObservedEntry(name=f"p{number}", definition=b'{"name":"p%d"}' % number)
            node.observations["clock"] = everything(prompts=[other])
            began = time.monotonic()
            source.changed("acme", "clock")
            await node.until(lambda name=other.name: [p.name for p in node.catalogue("acme").prompts] == [name])
            took.append(time.monotonic() - began)
        assert min(took) < 1.0


async def test_what_changed_while_nobody_was_there_to_be_told_is_told_afterwards(dsn: str) -> None:
    node = HoldingNode("node-1")
    node.observations["clock"] = everything()
    async with control_plane(dsn) as plane:
        async with connected(node, plane.target):
            await plane.tenant("acme", "clock")
            await node.until(lambda: bool(node.catalogue("acme").prompts))
            await server(plane, lambda r: r.status.get("prompts") == 1)
        node.observations["clock"] = everything(prompts=[])
        async with connected(node, plane.target) as source:
            source.changed("acme", "clock")
            await node.until(lambda: not node.catalogue("acme").prompts)


async def test_a_node_speaks_only_of_tenants_it_serves(dsn: str) -> None:
    told: list[tuple[str, str]] = []
    one, other = HoldingNode("node-1"), HoldingNode("node-2")
    async with control_plane(dsn) as plane:
        async with connected(one, plane.target, tenants=("acme",)) as source, connected(other, plane.target):
            await plane.tenant("acme", "clock")
            await plane.tenant("beta", "clock")
            await other.until(lambda: {"acme", "beta"} <= set(other.manifests))
            await one.until(lambda: "acme" in one.manifests)
            heard = asyncio.Event()

            def note(tenant: str, name: str) -> None:
                told.append((tenant, name))
                heard.set()

            plane.plane.hub.on_changed = note
            source.changed("acme", "clock")
            source.changed("beta", "clock")
            async with asyncio.timeout(5):
                await heard.wait()
        assert told == [("acme", "clock")]


async def test_a_server_that_is_away_is_marked_so_until_it_is_back(dsn: str) -> None:
    node = HoldingNode("node-1")
    node.observations["clock"] = everything()
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme", "clock")
        await node.until(lambda: bool(node.catalogue("acme").prompts))
        node.observations["clock"] = Observation(error="connection refused")
        await approvals(plane).refresh(ROOT, "acme", "clock")
        await node.until(lambda: node.catalogue("acme").unavailable == ("clock",))
        # What was known of it is still there.
        assert [p.name for p in node.catalogue("acme").prompts] == ["review"]
        node.observations["clock"] = everything()
        await approvals(plane).refresh(ROOT, "acme", "clock")
        await node.until(lambda: node.catalogue("acme").unavailable == ())


async def test_a_look_that_shows_the_same_publishes_nothing(dsn: str) -> None:
    node = HoldingNode("node-1")
    node.observations["clock"] = everything()
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme", "clock")
        await node.until(lambda: bool(node.catalogue("acme").prompts))
        await server(plane, lambda r: r.status.get("prompts") == 1)
        before, looks = node.generation("acme"), len(node.probed)
        node.observations["clock"] = everything(resources=[PAGE], prompts=[REVIEW])
        await approvals(plane).refresh(ROOT, "acme", "clock")
        async with asyncio.timeout(10):
            while len(node.probed) == looks:
                await asyncio.sleep(0.02)
        node.observations["clock"] = everything(prompts=[])
        await approvals(plane).refresh(ROOT, "acme", "clock")
        await node.until(lambda: not node.catalogue("acme").prompts)
        assert node.generation("acme") == before + 1


async def test_what_a_lost_node_watched_is_looked_at_by_another_one(dsn: str) -> None:
    one, other = HoldingNode("node-1"), HoldingNode("node-2")
    one.observations["clock"] = other.observations["clock"] = everything()
    async with control_plane(dsn) as plane:
        async with connected(one, plane.target):
            await plane.tenant("acme", "clock")
            await one.until(lambda: bool(one.catalogue("acme").prompts))
            await server(plane, lambda r: r.status.get("prompts") == 1)
            assert one.probed == [("acme", "clock")]
        async with connected(other, plane.target), asyncio.timeout(20):
            while not other.probed:
                await asyncio.sleep(0.02)
        assert other.watched_s["clock"] == 450
