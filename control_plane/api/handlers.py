"""What each admin RPC does: from a request message to the services and back. The same for gRPC and REST."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from control_plane.api.connection_handlers import ConnectionHandlers
from control_plane.api.envelope import (
    applied_message,
    draft_of,
    event_message,
    json_of,
    resource_message,
    struct_of,
    timestamp_of,
    unix_of,
)
from control_plane.api.people import IssuerHandlers, PasswordHandlers
from control_plane.api.policy import CallApprovalHandlers, PolicyHandlers
from control_plane.api.rpc import Rpc, Streaming, Unary, rpcs
from control_plane.api.tokens import TokenHandlers
from control_plane.api.told import AuditHandlers, UsageHandlers
from control_plane.oauth.issuers import OwnIssuers
from control_plane.services.access import Access
from control_plane.services.audit import AuditLog
from control_plane.services.audit_proof import AuditProof
from control_plane.services.authority import own_platform
from control_plane.services.call_approvals import CallApprovals
from control_plane.services.connections import Accounts
from control_plane.services.definitions import Approvals
from control_plane.services.fleet_view import FleetView
from control_plane.services.keys import Keys
from control_plane.services.opa_sidecars import OpaSidecars
from control_plane.services.passwords import UserPasswords
from control_plane.services.resources import Resources, change_entry
from control_plane.services.revealing import Revealing
from control_plane.services.secrets import Vault
from control_plane.services.signing import SigningKeys
from control_plane.services.simulation import Simulations
from control_plane.services.usage import QuotaUsage
from control_plane.services.watch import Watch
from core.admin import Admin, Rejected, Why
from core.definition import Definition
from core.fleet import Node, TenantOnNode
from core.node_token import ANY_NODE, NodeToken
from core.offering import Kind
from core.resource import Problem, Ref
from core.server import ObservedEntry
from toolgate.v1 import actions_pb2 as actions
from toolgate.v1 import connections_pb2 as connections
from toolgate.v1 import guard_pb2 as guard
from toolgate.v1 import people_pb2 as people
from toolgate.v1 import policy_pb2 as policy
from toolgate.v1 import resources_pb2 as resources
from toolgate.v1 import usage_pb2 as usage

SEALS = Ref("Seals", "", "all")


@dataclass(frozen=True)
class Services:
    """Everything the handlers call."""

    resources: Resources
    watch: Watch
    keys: Keys
    access: Access
    vault: Vault
    approvals: Approvals
    fleet: FleetView
    audit: AuditLog
    proof: AuditProof
    usage: QuotaUsage
    signing: SigningKeys
    simulations: Simulations
    passwords: UserPasswords
    own_issuers: OwnIssuers
    accounts: Accounts
    call_approvals: CallApprovals
    revealing: Revealing
    sidecars: OpaSidecars


def admin_rpcs(services: Services) -> list[Rpc]:
    """Every method of every admin service, with what runs it."""
    table: Mapping[str, Mapping[str, Unary | Streaming]] = {
        "Resources": _methods(ResourceHandlers(services.resources, services.watch)),
        "Keys": _methods(KeyHandlers(services.keys)),
        "Definitions": _methods(DefinitionHandlers(services.approvals)),
        "Connections": _methods(ConnectionHandlers(services.accounts)),
        "FleetView": _methods(FleetHandlers(services.fleet)),
        "CallApprovals": _methods(CallApprovalHandlers(services.call_approvals)),
        "Policies": _methods(PolicyHandlers(services.simulations, services.sidecars)),
        "Audit": _methods(AuditHandlers(services.audit, services.proof)),
        "Tokens": _methods(TokenHandlers(services.revealing)),
        "Usage": _methods(UsageHandlers(services.usage)),
        "NodeTokens": _methods(NodeTokenHandlers(services.access)),
        "SigningKeys": _methods(SigningKeyHandlers(services.signing)),
        "Passwords": _methods(PasswordHandlers(services.passwords)),
        "Issuer": _methods(IssuerHandlers(services.own_issuers)),
        "Seals": _methods(SealHandlers(services.vault, services.audit)),
    }
    declared = {
        **resources.DESCRIPTOR.services_by_name,
        **actions.DESCRIPTOR.services_by_name,
        **connections.DESCRIPTOR.services_by_name,
        **policy.DESCRIPTOR.services_by_name,
        **people.DESCRIPTOR.services_by_name,
        **guard.DESCRIPTOR.services_by_name,
        **usage.DESCRIPTOR.services_by_name,
    }
    return [rpc for name, service in declared.items() for rpc in rpcs(service, table[name])]


def _methods(handlers: object) -> dict[str, Unary | Streaming]:
    """Its public methods under the names the protos give them: `list_nodes` is `ListNodes`."""
    found = (name for name in dir(handlers) if not name.startswith("_"))
    return {name.title().replace("_", ""): getattr(handlers, name) for name in found}


class ResourceHandlers:
    def __init__(self, service: Resources, watch: Watch) -> None:
        self._resources = service
        self._watch = watch

    async def get(self, admin: Admin, request: resources.GetRequest) -> resources.Resource:
        found = await self._resources.get(admin, request.kind, request.tenant, request.name)
        return resource_message(found)

    async def list(self, admin: Admin, request: resources.ListRequest) -> resources.ListResponse:
        page = await self._resources.list(
            admin,
            request.kind,
            request.tenant,
            namespace=request.namespace,
            selector=request.selector,
            page_size=request.page_size,
            cursor=request.cursor,
            platform=request.platform,
        )
        found = [resource_message(resource) for resource in page.resources]
        return resources.ListResponse(resources=found, next_cursor=page.next_cursor)

    async def apply(self, admin: Admin, request: resources.ApplyRequest) -> resources.ApplyResponse:
        return applied_message(await self._resources.apply(admin, draft_of(request), dry_run=request.dry_run))

    async def delete(self, admin: Admin, request: resources.DeleteRequest) -> resources.DeleteResponse:
        await self._resources.delete(admin, request.kind, request.tenant, request.name, generation=request.generation)
        return resources.DeleteResponse()

    async def watch(self, admin: Admin, request: resources.WatchRequest) -> AsyncIterator[resources.Event]:
        async for event in self._watch.watch(admin, request.kind, request.tenant, request.since):
            yield event_message(event)


class KeyHandlers:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def issue(self, admin: Admin, request: actions.IssueKeyRequest) -> actions.IssueKeyResponse:
        spec = json_of(request.spec)
        key = await self._keys.issue(
            admin, request.tenant, request.name, spec, rotate=request.rotate, overlap_s=request.overlap_s
        )
        return actions.IssueKeyResponse(key=key, name=request.name)

    async def revoke(self, admin: Admin, request: actions.RevokeKeyRequest) -> actions.RevokeKeyResponse:
        await self._keys.revoke(admin, request.tenant, request.name)
        return actions.RevokeKeyResponse()


class DefinitionHandlers:
    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals

    async def list(self, admin: Admin, request: actions.ListDefinitionsRequest) -> actions.ListDefinitionsResponse:
        found = await self._approvals.list(admin, request.tenant, request.server)
        return actions.ListDefinitionsResponse(definitions=[_definition(request.server, d) for d in found])

    async def list_offerings(
        self, admin: Admin, request: actions.ListOfferingsRequest
    ) -> actions.ListOfferingsResponse:
        found = await self._approvals.offering(admin, request.tenant, request.server)
        return actions.ListOfferingsResponse(
            offerings=[_offering(request.server, noun, one) for kind, noun in _NOUNS.items() for one in found.of(kind)]
        )

    async def approve(
        self, admin: Admin, request: actions.ApproveDefinitionRequest
    ) -> actions.ApproveDefinitionResponse:
        digest = _digest(request.digest)
        if not request.tool:
            raise Rejected(Why.INVALID, "the tool is missing", [Problem("tool", 'must name a tool, or be "*"')])
        approved = await self._approvals.approve(admin, request.tenant, request.server, request.tool, digest)
        return actions.ApproveDefinitionResponse(approved=approved)

    async def refresh(self, admin: Admin, request: actions.RefreshRequest) -> actions.RefreshResponse:
        await self._approvals.refresh(admin, request.tenant, request.server)
        return actions.RefreshResponse()


class FleetHandlers:
    def __init__(self, fleet: FleetView) -> None:
        self._fleet = fleet

    async def list_nodes(self, admin: Admin, request: actions.ListNodesRequest) -> actions.ListNodesResponse:
        return actions.ListNodesResponse(nodes=[_node(n) for n in await self._fleet.nodes(admin, request.tenant)])


class NodeTokenHandlers:
    def __init__(self, access: Access) -> None:
        self._access = access

    async def issue(self, admin: Admin, request: actions.IssueNodeTokenRequest) -> actions.IssueNodeTokenResponse:
        wanted = NodeToken(
            name=request.name,
            nodes=tuple(request.nodes) or (ANY_NODE,),
            tenants=tuple(request.tenants),
            expires_unix=unix_of(request.expires_at) if request.HasField("expires_at") else None,
        )
        return actions.IssueNodeTokenResponse(token=await self._access.create_node_token(wanted, admin))

    async def list(self, admin: Admin, _: actions.ListNodeTokensRequest) -> actions.ListNodeTokensResponse:
        now = time.time()
        tokens = [_node_token(one, now) for one in await self._access.node_tokens(admin)]
        return actions.ListNodeTokensResponse(tokens=tokens)

    async def revoke(self, admin: Admin, request: actions.RevokeNodeTokenRequest) -> actions.RevokeNodeTokenResponse:
        await self._access.revoke_node_token(request.name, admin)
        return actions.RevokeNodeTokenResponse()


class SigningKeyHandlers:
    def __init__(self, signing: SigningKeys) -> None:
        self._signing = signing

    async def list(self, admin: Admin, _: actions.ListSigningKeysRequest) -> actions.ListSigningKeysResponse:
        number, keys = await self._signing.list(admin)
        return actions.ListSigningKeysResponse(
            number=number,
            keys=[
                actions.SigningKey(
                    id=one.key_id, public_key=one.public_key, signs=one.signs, held=one.held_here, since=one.since
                )
                for one in keys
            ],
        )

    async def rotate(self, admin: Admin, _: actions.RotateSigningKeyRequest) -> actions.RotateSigningKeyResponse:
        done = await self._signing.rotate(admin)
        return actions.RotateSigningKeyResponse(id=done.key_id, number=done.number, resigned=done.resigned)

    async def retire(self, admin: Admin, request: actions.RetireSigningKeyRequest) -> actions.RetireSigningKeyResponse:
        done = await self._signing.retire(admin, request.id)
        return actions.RetireSigningKeyResponse(number=done.number, resigned=done.resigned)


class SealHandlers:
    def __init__(self, vault: Vault, audit: AuditLog) -> None:
        self._vault = vault
        self._audit = audit

    async def rotate(self, admin: Admin, _: actions.RotateSealsRequest) -> actions.RotateSealsResponse:
        own_platform(admin)
        resealed = await self._vault.rotate()
        await self._audit.note(change_entry(admin, SEALS, "rotated", {"resealed": resealed}, time.time()))
        return actions.RotateSealsResponse(resealed=resealed)


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as failure:
        raise Rejected(Why.INVALID, "the digest is not valid", [Problem("digest", "must be hexadecimal")]) from failure


def _definition(server: str, one: Definition) -> actions.ToolDefinition:
    message = actions.ToolDefinition(
        server=server,
        name=one.name,
        state=one.state,
        approved_digest=one.approved_digest.hex(),
        observed_digest=one.observed_digest.hex(),
    )
    if one.approved:
        message.approved.CopyFrom(struct_of(msgspec.json.decode(one.approved, type=dict[str, object])))
    if one.observed and one.observed_digest != one.approved_digest:
        message.observed.CopyFrom(struct_of(msgspec.json.decode(one.observed, type=dict[str, object])))
    if one.observed_unix:
        message.observed_at.CopyFrom(timestamp_of(one.observed_unix))
    return message


_NOUNS: dict[Kind, str] = {"prompts": "prompt", "resources": "resource", "templates": "template"}


def _offering(server: str, noun: str, one: ObservedEntry) -> actions.Offering:
    message = actions.Offering(server=server, kind=noun, name=one.name)
    message.definition.CopyFrom(struct_of(msgspec.json.decode(one.definition, type=dict[str, object])))
    return message


def _node(node: Node) -> actions.Node:
    return actions.Node(
        name=node.name,
        version=node.version,
        connected=node.connected,
        last_seen=timestamp_of(node.last_seen_unix) if node.last_seen_unix else None,
        workers=node.workers,
        tenants=_held(node.tenants),
        lag_ms=round(node.lag_ms, 1),
        trust_number=node.trust_number,
        trust_nack=list(node.trust_nack),
        notice=node.notice,
    )


def _node_token(one: NodeToken, now: float) -> actions.NodeToken:
    state = "revoked" if one.revoked else "expired" if one.expired(now) else "valid"
    return actions.NodeToken(
        name=one.name,
        nodes=one.nodes,
        tenants=one.tenants,
        issued_at=timestamp_of(one.issued_unix),
        expires_at=timestamp_of(one.expires_unix) if one.expires_unix is not None else None,
        state=state,
    )


def _held(tenants: Sequence[TenantOnNode]) -> list[actions.TenantOnNode]:
    return [
        actions.TenantOnNode(
            tenant=t.tenant, applied=t.applied, current=t.current, digest=t.digest.hex(), nack=list(t.nack)
        )
        for t in tenants
    ]
