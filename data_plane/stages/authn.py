"""Who calls: a credential becomes a Caller, or nothing."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from core.errors import Reason, Refused, Unavailable
from core.identity import Caller, key_tenant

if TYPE_CHECKING:
    from core.call import Inbound
    from core.snapshot import KeyEntry
    from data_plane.snapshots import TenantSnapshot
    from data_plane.tenants import Tenants

_PUBLIC = "The credential is missing or not valid."


async def claimed(inbound: Inbound, tenants: Tenants) -> TenantSnapshot:
    """The snapshot of the tenant the credential says it is of; nothing is proven yet.

    Raises Refused(UNAUTHENTICATED), also where the tenant is served here and cannot be loaded: until a key was looked
    up nobody is told that a tenant exists. The record and the log say what is the matter.
    """
    if not inbound.credential:
        raise Refused(Reason.UNAUTHENTICATED, _PUBLIC, detail="no credential")
    tenant = key_tenant(inbound.credential)
    if tenant is None:
        raise Refused(Reason.UNAUTHENTICATED, _PUBLIC, detail="the credential does not read as a key")
    try:
        snapshot = tenants.at_hand(tenant) or await tenants.current(tenant)
    except Unavailable as away:
        raise Refused(Reason.UNAUTHENTICATED, _PUBLIC, detail=f"{away.reason}: {away.detail}") from away
    if snapshot is None:
        raise Refused(Reason.UNAUTHENTICATED, _PUBLIC, detail="the tenant it names is not served here")
    return snapshot


def identify(inbound: Inbound, snapshot: TenantSnapshot, now_unix: float) -> Caller:
    """The only maker of Caller. Raises Refused(UNAUTHENTICATED); why exactly is for the record alone."""
    entry = snapshot.key(inbound.credential)
    if entry is None:
        raise Refused(Reason.UNAUTHENTICATED, _PUBLIC, detail="unknown or revoked key")
    if entry.expires_unix is not None and entry.expires_unix <= now_unix:
        raise Refused(Reason.UNAUTHENTICATED, _PUBLIC, detail=f"key {entry.name} expired")
    known = snapshot.callers.get(entry.name)
    if known is None:
        known = snapshot.callers[entry.name] = _caller(snapshot, entry)
    return known


def _caller(snapshot: TenantSnapshot, entry: KeyEntry) -> Caller:
    return Caller(
        tenant=snapshot.tenant,
        user=entry.user,
        agent=entry.agent,
        credential=f"key:{entry.name}",
        endpoints=frozenset(entry.endpoints),
        expires_unix=inf if entry.expires_unix is None else entry.expires_unix,
        policy_class=snapshot.authorizer.policy_class(entry.user, entry.agent),
    )
