"""`GrpcBudgets` against a real gRPC server: what counts as the control plane being away, and what does not."""

from collections.abc import AsyncIterator

import grpc
import pytest

from adapters.fleet.budgets import GrpcBudgets
from adapters.fleet.channel import Link
from core.limits import Bucket, CountersAway, counter_key
from toolgate.v1 import fleet_pb2 as pb
from toolgate.v1 import fleet_pb2_grpc as rpc

BUCKET = Bucket(1.0, 100)


class Lending(rpc.FleetServicer):
    """Grants everything but what is named after a status, which it answers with."""

    def __init__(self) -> None:
        self.asked = 0

    async def Lease(  # noqa: N802 - the name is of the wire
        self, request: pb.LeaseQuestion, context: grpc.aio.ServicerContext[pb.LeaseQuestion, pb.LeaseAnswer]
    ) -> pb.LeaseAnswer:
        self.asked += 1
        for status in grpc.StatusCode:
            if status.name in request.name:
                await context.abort(status, "as asked")
        return pb.LeaseAnswer(granted=request.want)


@pytest.fixture
async def lending() -> AsyncIterator[tuple[Lending, GrpcBudgets]]:
    server, lending = grpc.aio.server(), Lending()
    rpc.add_FleetServicer_to_server(lending, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    budgets = GrpcBudgets(Link(targets=(f"127.0.0.1:{port}",)), clock=lambda: 1.0)
    yield lending, budgets
    await budgets.close()
    await server.stop(None)


def key(name: str) -> str:
    return counter_key("day", "deny", "acme", name, ())


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"])
async def test_a_question_that_is_refused_fails_its_own_key_alone(
    lending: tuple[Lending, GrpcBudgets], status: str
) -> None:
    _, budgets = lending
    with pytest.raises(CountersAway, match=status):
        await budgets.take(key(status), BUCKET, 3)
    assert (await budgets.take(key("other"), BUCKET, 3)).tokens == 3


async def test_while_the_control_plane_is_away_nobody_asks(lending: tuple[Lending, GrpcBudgets]) -> None:
    server, budgets = lending
    with pytest.raises(CountersAway):
        await budgets.take(key("UNAVAILABLE"), BUCKET, 3)
    with pytest.raises(CountersAway, match="a moment ago"):
        await budgets.take(key("other"), BUCKET, 3)
    assert server.asked == 1
