"""What a gateway's credential lets it be, and who speaks for a name that two gateways claim."""

import asyncio
import time
from contextlib import suppress

import grpc
import pytest

from adapters.fleet.channel import Link
from adapters.fleet.records import GrpcRecords
from control_plane.fleet.servicer import certified
from core.call import RecordsAway
from core.fleet import Node
from core.node_token import NodeToken
from tests.harness.fleet import ROOT, ControlPlane, HoldingNode, connected, control_plane
from toolgate.v1 import fleet_pb2 as pb
from toolgate.v1 import fleet_pb2_grpc as rpc


async def token(plane: ControlPlane, name: str = "edge", **bounds: object) -> str:
    return await plane.access.create_node_token(NodeToken(name=name, **bounds), ROOT)  # type: ignore[arg-type]


async def ended(target: str, token: str, node: HoldingNode, *tenants: str) -> tuple[grpc.StatusCode, str]:
    """How a stream ends that is opened with this hello."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = rpc.FleetStub(channel).Connect(metadata=(("authorization", f"Bearer {token}"),))
        hello = pb.Hello(node=node.name, public_key=node.key.public_key, tenants=tenants)
        async with asyncio.timeout(5):
            with suppress(grpc.aio.AioRpcError):
                await call.write(pb.NodeMessage(hello=hello))
                while await call.read() is not grpc.aio.EOF:
                    pass
            return await call.code(), await call.details()


async def shown(plane: ControlPlane, fits: object) -> list[Node]:
    assert callable(fits)
    async with asyncio.timeout(20):
        while True:
            nodes = await plane.nodes.nodes(None)
            if fits(nodes):
                return nodes
            await asyncio.sleep(0.02)


async def test_a_token_for_some_names_lets_in_no_other(dsn: str) -> None:
    async with control_plane(dsn, identify=None) as plane:
        await plane.tenant("acme")
        bound = await token(plane, nodes=("edge-*", "gw-1"))
        code, said = await ended(plane.target, bound, HoldingNode("core-1"))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert said == "hello.node is core-1, and this credential is for edge-*, gw-1"
        for name in ("edge-7", "gw-1"):
            node = HoldingNode(name)
            async with connected(node, plane.target, token=bound):
                await node.until(lambda node=node: "acme" in node.manifests)


async def test_a_token_for_some_tenants_gives_those_and_refuses_to_be_asked_for_more(dsn: str) -> None:
    async with control_plane(dsn, identify=None) as plane:
        for tenant in ("other", "acme", "third"):
            await plane.tenant(tenant)
        await plane.publisher_settled()
        bound = await token(plane, tenants=("acme", "third"))
        code, said = await ended(plane.target, bound, HoldingNode("n"), "acme", "other")
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert said == "hello.tenants names other, and this credential is for acme, third only"
        everything, some = HoldingNode("node-1"), HoldingNode("node-2")
        async with connected(everything, plane.target, token=bound):
            await everything.until(lambda: {"acme", "third"} <= everything.manifests.keys())
            await plane.apply("RateLimit", "other", "fair", {"calls": 5})
            before = everything.generation("acme")
            await plane.apply("RateLimit", "acme", "fair", {"calls": 5})
            await everything.until(lambda: everything.generation("acme") > before)
            assert {m.tenant for m in everything.manifests.values()} == {"acme", "third"}
        async with connected(some, plane.target, token=bound, tenants=("third",)):
            await some.until(lambda: "third" in some.manifests)
            assert set(some.manifests) == {"third"}


async def test_what_a_narrower_token_does_not_cover_is_taken_from_the_gateway(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn, identify=None) as plane:
        await plane.tenant("acme")
        await plane.tenant("other")
        async with connected(node, plane.target, token=await token(plane)):
            await node.until(lambda: len(node.manifests) == 2)
        async with connected(node, plane.target, token=await token(plane, "narrow", tenants=("acme",))):
            await node.until(lambda: node.withdrawn == ["other"])
            assert set(node.manifests) == {"acme"}


@pytest.mark.parametrize("how", ["revoked", "replaced"])
async def test_streams_of_a_token_end_within_a_second_of_its_end_at_every_replica(dsn: str, how: str) -> None:
    async with (
        control_plane(dsn, replica="one", identify=None) as one,
        control_plane(dsn, replica="two", identify=None) as two,
    ):
        bound, other = await token(one), await token(one, "other")
        stays = HoldingNode("node-2")
        records = GrpcRecords(Link(targets=(two.target,), token=bound))
        await records.ship([b"r"])
        async with connected(stays, two.target, token=other) as source:
            ending = asyncio.create_task(ended(two.target, bound, HoldingNode("node-1")))
            await shown(two, lambda nodes: [node.connected for node in nodes] == [True, True])
            began = time.monotonic()
            if how == "revoked":
                await one.access.revoke_node_token("edge", ROOT)
            else:
                await token(one)
            assert await ending == (grpc.StatusCode.UNAUTHENTICATED, "the node token is not valid")
            assert time.monotonic() - began < 1.0
            async with asyncio.timeout(1.0):
                await turned_away(records)
            stored = len(two.records)
            await turned_away(records)
            assert len(two.records) == stored
            assert source.connected
        await records.close()


async def turned_away(records: GrpcRecords) -> None:
    """Ship until the credential does not count."""
    while True:
        try:
            await records.ship([b"s"])
        except RecordsAway as away:
            if "UNAUTHENTICATED" in str(away):
                return


async def test_a_stream_ends_when_its_token_expires(dsn: str) -> None:
    async with control_plane(dsn, identify=None) as plane:
        bound = await token(plane, expires_unix=time.time() + 1.0)
        assert await ended(plane.target, bound, HoldingNode("node-1")) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "the node token edge has expired",
        )


async def test_of_two_gateways_with_one_name_the_newest_speaks_and_the_other_is_kept_out(dsn: str) -> None:
    first, second = HoldingNode("node-1"), HoldingNode("node-1")
    async with control_plane(dsn, identify=None) as plane:
        any_node = await token(plane)
        ousted = asyncio.create_task(ended(plane.target, any_node, first))
        await shown(plane, lambda nodes: nodes and nodes[0].connected)
        async with connected(second, plane.target, token=any_node):
            code, said = await ousted
            assert (code, "each needs a name of its own" in said) == (grpc.StatusCode.ABORTED, True)
            for _ in range(2):
                assert (await ended(plane.target, any_node, first))[0] is grpc.StatusCode.ALREADY_EXISTS
            (node,) = await shown(plane, lambda nodes: nodes[0].notice)
            assert node.connected
            assert "a second gateway connected under this name" in node.notice
        await shown(plane, lambda nodes: not nodes[0].connected and not nodes[0].notice)
        async with connected(first, plane.target, token=any_node) as back:
            await shown(plane, lambda nodes: nodes[0].connected)
            assert back.connected


async def test_two_gateways_with_one_name_at_two_replicas_do_not_take_turns(dsn: str) -> None:
    first, second = HoldingNode("node-1"), HoldingNode("node-1")
    async with (
        control_plane(dsn, replica="one", identify=None) as one,
        control_plane(dsn, replica="two", identify=None) as two,
    ):
        any_node = await token(one)
        ousted = asyncio.create_task(ended(one.target, any_node, first))
        await shown(one, lambda nodes: nodes and nodes[0].connected)
        async with connected(second, two.target, token=any_node) as winner:
            # The first notices when its replica next writes that it was heard.
            one.plane.roster.seen("node-1", 1)
            one.plane.roster._wake.set()
            code, said = await ousted
            assert (code, "another replica" in said) == (grpc.StatusCode.ABORTED, True)
            code, said = await ended(one.target, any_node, first)
            assert code is grpc.StatusCode.ABORTED
            (node,) = await shown(one, lambda nodes: nodes[0].notice)
            assert node.connected
            assert winner.connected
            assert two.plane.hub.connected == 1


async def test_a_gateway_that_comes_back_is_not_taken_for_another(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn, identify=None) as plane:
        any_node = await token(plane)
        lost = asyncio.create_task(ended(plane.target, any_node, node))
        await shown(plane, lambda nodes: nodes and nodes[0].connected)
        async with connected(node, plane.target, token=any_node) as source:
            assert (await lost)[0] is grpc.StatusCode.ABORTED
            (one,) = await shown(plane, lambda nodes: nodes and nodes[0].connected)
            assert one.notice == ""
            assert source.connected


@pytest.mark.parametrize(
    ("common", "alternatives", "nodes"),
    [
        ("gw-1", (), ("gw-1",)),
        ("gw-1.example", (), ("gw-1", "gw-1.example")),
        ("", ("gw-2.example", "unrelated"), ("gw-2", "gw-2.example")),
        ("admin", ("gw-3",), ("gw-3",)),
        ("gw-*", (), ("gw-[*]",)),
        ("admin", ("db",), None),
        ("", (), None),
    ],
)
def test_a_certificate_is_good_for_the_names_in_it(
    common: str, alternatives: tuple[str, ...], nodes: tuple[str, ...] | None
) -> None:
    proven = {
        "x509_common_name": [common.encode()],
        "x509_subject_alternative_name": [name.encode() for name in alternatives],
    }
    found = certified(proven, ("gw-*",))
    assert (found.nodes if found is not None else None) == nodes
    if common == "gw-*":
        assert found is not None
        assert not found.admits("gw-1")
