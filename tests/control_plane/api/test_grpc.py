"""The admin API over gRPC, against the real services and a real database."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from control_plane.api.refusal import DETAILS_KEY, GRPC_STATUS, HTTP_STATUS, TITLES
from core.admin import Why
from tests.harness.control_plane import Plane, control_plane
from tests.harness.postgres import Server
from toolgate.v1 import actions_pb2 as actions
from toolgate.v1 import resources_pb2 as pb


def spec(**members: object) -> Struct:
    made = Struct()
    made.update(members)  # type: ignore[arg-type]
    return made


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Field violations of the rich status."""
    details = dict(error.trailing_metadata())[DETAILS_KEY]
    found = {}
    for detail in status_pb2.Status.FromString(details).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            found |= {v.field: v.description for v in bad.field_violations}
    return found


def test_every_kind_of_refusal_reads_on_both_wires() -> None:
    assert set(GRPC_STATUS) == set(HTTP_STATUS) == set(Why)
    assert set(HTTP_STATUS.values()) <= set(TITLES)


async def test_a_resource_goes_in_and_comes_out_with_whole_numbers_whole(plane: Plane) -> None:
    async with plane.grpc() as api:
        who = plane.metadata()
        await api.resources.Apply(pb.ApplyRequest(kind="Tenant", name="acme", spec=spec()), metadata=who)
        limit = pb.ApplyRequest(kind="ratelimits", tenant="acme", name="l", spec=spec(calls=5, period_s=2.5))
        applied = await api.resources.Apply(limit, metadata=who)
        assert (applied.outcome, applied.resource.kind) == (pb.OUTCOME_CREATED, "RateLimit")
        read = await api.resources.Get(pb.GetRequest(kind="RateLimit", tenant="acme", name="l"), metadata=who)
        assert (read.spec["calls"], read.spec["period_s"]) == (5, 2.5)
        assert len(bytes.fromhex(read.digest)) == 32


async def test_a_refusal_carries_its_fields_in_the_status_details(plane: Plane) -> None:
    async with plane.grpc() as api:
        request = pb.ApplyRequest(kind="Tenant", name="Acme", spec=spec(audit="never", retention_days=float("nan")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.resources.Apply(request, metadata=plane.metadata())
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert violations(caught.value) == {
            "name": "must be 1-63 of a-z, 0-9 and '-', starting and ending with a letter or digit",
            "spec.audit": "must be one of 'best_effort', 'required', not 'never'",
            "spec.retention_days": "must be a finite number",
        }
        request = pb.ApplyRequest(kind="Gizmo", tenant="a b", name="-", labels={"!": "x"}, spec=spec())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.resources.Apply(request, metadata=plane.metadata())
        assert set(violations(caught.value)) == {"kind", "tenant", "name", 'labels["!"]'}
        request = pb.ApplyRequest(kind="Tenant", name="Acme")
        request.spec.CopyFrom(spec(audit="never", retention_days="x"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.resources.Apply(request, metadata=plane.metadata())
        assert set(violations(caught.value)) == {"name", "spec.audit", "spec.retention_days"}


@pytest.mark.parametrize("metadata", [(), (("authorization", "Basic eA=="),), (("authorization", "Bearer tgk_-_a_b"),)])
async def test_without_a_valid_token_every_method_is_refused(
    plane: Plane, metadata: tuple[tuple[str, str], ...]
) -> None:
    async with plane.grpc() as api:
        calls = [
            api.resources.Get(pb.GetRequest(kind="nonsense"), metadata=metadata),
            api.keys.Issue(actions.IssueKeyRequest(), metadata=metadata),
            api.seals.Rotate(actions.RotateSealsRequest(), metadata=metadata),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.resources.Watch(pb.WatchRequest(), metadata=metadata).read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_watch_tells_the_state_and_then_every_change(plane: Plane) -> None:
    async with plane.grpc() as api, asyncio.timeout(10):
        who = plane.metadata()
        await api.resources.Apply(pb.ApplyRequest(kind="Tenant", name="acme", spec=spec()), metadata=who)
        watch = api.resources.Watch(pb.WatchRequest(kind="tenants"), metadata=who)
        first, synced = await watch.read(), await watch.read()
        assert (first.type, first.resource.name) == (pb.EVENT_TYPE_APPLIED, "acme")
        assert (synced.type, synced.HasField("resource")) == (pb.EVENT_TYPE_SYNCED, False)
        await api.resources.Apply(pb.ApplyRequest(kind="Tenant", name="beta", spec=spec()), metadata=who)
        told = [await watch.read()]
        while told[-1].resource.name != "beta":
            told.append(await watch.read())
        assert {event.resource.name for event in told} <= {"acme", "beta"}
        watch.cancel()


async def test_reflection_and_health_are_served_without_a_token(plane: Plane) -> None:
    async with plane.channel() as channel:
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
        services = {s.name for s in (await stream.read()).list_services_response.service}
        assert {
            f"toolgate.v1.{s}" for s in ("Resources", "Keys", "Definitions", "FleetView", "Audit", "Fleet")
        } <= services
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "toolgate.v1.Resources"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_message_above_the_cap_is_refused(plane: Plane) -> None:
    async with plane.grpc() as api:
        request = pb.ApplyRequest(kind="Tenant", name="acme", spec=spec(display_name="x" * (9 * 1024 * 1024)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.resources.Apply(request, metadata=plane.metadata())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_bootstrap_token_is_made_once_and_anew_only_when_asked(postgres: Server, tmp_path: Path) -> None:
    with postgres.fresh() as dsn:
        async with control_plane(dsn, tmp_path) as first:
            token = first.token
        async with control_plane(dsn, tmp_path) as second:
            assert (second.serving.bootstrap_token, second.serving.node_token) == (None, None)
            async with second.grpc() as api:
                await api.resources.List(pb.ListRequest(kind="Tenant"), metadata=second.metadata(token))
        file = tmp_path / "token"
        async with control_plane(
            dsn, tmp_path, "--reset-bootstrap-token", "true", "--bootstrap-token-file", str(file)
        ) as third:
            assert file.stat().st_mode & 0o777 == 0o600
            async with third.grpc() as api:
                await api.resources.List(
                    pb.ListRequest(kind="Tenant"), metadata=third.metadata(file.read_text().strip())
                )
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await api.resources.List(pb.ListRequest(kind="Tenant"), metadata=third.metadata(token))
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_secrets_move_to_a_new_key_encryption_key(postgres: Server, tmp_path: Path) -> None:
    old, new = tmp_path / "old.key", tmp_path / "new.key"
    for path, text in ((old, "01" * 32), (new, "02" * 32)):
        path.touch(0o600)
        path.write_text(text)
    with postgres.fresh() as dsn:
        async with control_plane(dsn, tmp_path, "--kek-file", str(old)) as plane, plane.grpc() as api:
            who = plane.metadata()
            await api.resources.Apply(pb.ApplyRequest(kind="Tenant", name="acme", spec=spec()), metadata=who)
            secret = pb.ApplyRequest(kind="Secret", tenant="acme", name="s", spec=spec(value="v"))
            await api.resources.Apply(secret, metadata=who)
        environment = {"TOOLGATE_PREVIOUS_KEKS": "01" * 32}
        both = control_plane(dsn, tmp_path, "--kek-file", str(new), environment=environment)
        async with both as plane, plane.grpc() as api:
            rotated = await api.seals.Rotate(actions.RotateSealsRequest(), metadata=who)
            assert rotated.resealed == 3  # the platform's keys, the tenant's, and the secret
            told = await api.audit.List(actions.ListAuditRequest(outcome="rotated"), metadata=who)
            assert [entry.tool for entry in told.entries] == ["Seals/all"]
        async with control_plane(dsn, tmp_path, "--kek-file", str(new)) as plane, plane.grpc() as api:
            unchanged = await api.resources.Apply(secret, metadata=who)
            assert unchanged.outcome == pb.OUTCOME_UNCHANGED


async def test_node_tokens_are_for_owners_of_the_platform(plane: Plane) -> None:
    async with plane.grpc() as api:
        who = plane.metadata()
        issued = await api.nodes.Issue(actions.IssueNodeTokenRequest(name="edge-1"), metadata=who)
        assert issued.token.startswith("tgn_")
        await api.nodes.Revoke(actions.RevokeNodeTokenRequest(name="edge-1"), metadata=who)
        await api.resources.Apply(pb.ApplyRequest(kind="Tenant", name="acme", spec=spec()), metadata=who)
        request = actions.IssueKeyRequest(tenant="acme", name="admin", spec=spec(admin_role="owner"))
        key = (await api.keys.Issue(request, metadata=who)).key
        for call in (
            api.nodes.Issue(actions.IssueNodeTokenRequest(name="edge-2"), metadata=plane.metadata(key)),
            api.seals.Rotate(actions.RotateSealsRequest(), metadata=plane.metadata(key)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
