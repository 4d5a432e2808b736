"""The life of a call. Read this first.

Each stage returns a stronger value or raises Refused or Unavailable; there is no third way out. The tenant's snapshot
is read once, so a call never sees two versions of the rules. Every MCP method of every transport comes through here.
"""

from core.call import Inbound, Opening, Result, Subject, SubjectMethod
from core.errors import Refused, Unavailable
from core.identity import Caller
from data_plane.endpoint_view import EndpointView
from data_plane.gateway import Gateway
from data_plane.listeners import Sight
from data_plane.sessions import Notes
from data_plane.snapshots import TenantSnapshot
from data_plane.stages import (
    about,
    answer,
    authn,
    conversation,
    execute,
    expose,
    guard,
    limit,
    listening,
    lists,
    policy,
    rounds,
    routing,
    target,
    tenancy,
)

_SPEAKING = lists.METHODS | {"initialize", "server/discover"}
"""Whose answers name servers: those that could not be looked at, and what servers say of themselves."""


async def handle(gateway: Gateway, inbound: Inbound) -> Result:
    """The answer to one MCP request. Cancelling it cancels the call upstream; it is recorded either way."""
    now = gateway.clock()
    with gateway.meter.record(inbound) as recording:
        tenant = await authn.claimed(inbound, gateway.tenants)
        caller = authn.identify(inbound, tenant, now)
        recording.called_by(caller, tenant.manifest, tenant.secrets.key_pepper)
        endpoint = tenancy.admit(inbound, caller, tenant, gateway.silence_s())
        notes = await conversation.settle(
            inbound, caller, gateway.conversations, gateway.sessions, tenant.secrets, tenant.manifest
        )
        found = target.find(inbound, caller, endpoint, tenant.secrets, gateway.sealer)
        seen = policy.sighted(inbound, caller, found, tenant.authorizer, now) if tenant.limiter.tells_tools else found
        await limit.spend(inbound, caller, tenant.limiter, gateway.counters, seen)
        if inbound.method not in target.ROUTED:
            return recording.done(await _answer(gateway, inbound, caller, endpoint, tenant, notes))
        permit = recording.permitted(policy.authorize(inbound, caller, found, tenant.authorizer, now))
        clean = recording.cleaned(
            await guard.inspect(inbound, permit, tenant.guards, listed=endpoint.lists(permit.tool))
        )
        route = routing.choose(inbound, permit, clean, tenant)
        before = rounds.resume(inbound, permit, tenant.secrets, gateway.sealer, now)
        notify = guard.watch(permit, tenant.guards, inbound.notify)
        ask = guard.questioned(permit, tenant.guards, inbound.ask)
        raw = await execute.run(
            inbound, permit, route, clean, before, gateway.backends, gateway.parked, notify, ask, recording
        )
        guarded = await guard.redact(raw, permit, tenant.guards, notify, inbound.revision, route.backend.era)
        result = expose.uris(guarded, inbound, permit, endpoint)
        return recording.done(rounds.seal(result, raw, inbound, permit, tenant.secrets, gateway.sealer, now))


async def knock(gateway: Gateway, inbound: Inbound) -> None:
    """That whoever sent this may be here, before its message is handed on to where `handle` gets it.

    Raises as `handle` does. Recorded where it is not so; else the message itself will be.
    """
    try:
        tenant = await authn.claimed(inbound, gateway.tenants)
        caller = authn.identify(inbound, tenant, gateway.clock())
        tenancy.admit(inbound, caller, tenant, gateway.silence_s())
    except (Refused, Unavailable):
        with gateway.meter.record(inbound):
            raise


def sight(gateway: Gateway, inbound: Inbound, tenant: TenantSnapshot, subjects: tuple[Subject, ...]) -> Sight | None:
    """What whoever opened a stream with `inbound` sees now, of `subjects` too; None: it may not be there any more."""
    now = gateway.clock()
    try:
        caller = authn.identify(inbound, tenant, now)
        endpoint = tenancy.admit(inbound, caller, tenant, gateway.silence_s())
        conversation.prove(inbound, caller, gateway.conversations, tenant.secrets, tenant.manifest)
    except (Refused, Unavailable):
        return None
    catalogue, authorizer = endpoint.catalogue, tenant.authorizer
    tools, prompts, resources, templates = (
        tenant.lists.digest(policy.visible(inbound, caller, entries, authorizer, now))
        for entries in (catalogue.tools, catalogue.prompts, catalogue.resources, catalogue.templates)
    )
    seen = [_subject(gateway, inbound, caller, endpoint, tenant, s.method, s.exposed) for s in subjects]
    return Sight(tools, prompts, resources + templates, tuple(subject for subject in seen if subject is not None))


async def _answer(  # noqa: PLR0917 - as above
    gateway: Gateway,
    inbound: Inbound,
    caller: Caller,
    endpoint: EndpointView,
    tenant: TenantSnapshot,
    notes: Notes,
) -> Result:
    """What needs no upstream; for lists, the policy is a filter."""
    now = gateway.clock()
    if inbound.method in _SPEAKING and (endpoint.catalogue.unavailable or endpoint.catalogue.server_instructions):
        endpoint = endpoint.without(about.hidden(endpoint, _seen(inbound, caller, endpoint, tenant, now)))
    if inbound.method in lists.METHODS:
        visible = policy.visible(inbound, caller, lists.source(inbound, endpoint), tenant.authorizer, now)
        return lists.page(
            inbound, endpoint, visible, tenant.lists, tenant.secrets, gateway.sealer, now, gateway.version
        )
    if inbound.method == listening.STREAMS[inbound.era]:
        return _opening(gateway, inbound, caller, endpoint, tenant, notes)
    if inbound.method == about.CONNECT:
        return about.place(inbound, endpoint, tenant.tenant)
    if inbound.method in about.METHODS:
        seen = _seen(inbound, caller, endpoint, tenant, now)
        return about.itself(inbound, endpoint, seen, tenant.backends, tenant.manifest, version=gateway.version)
    if inbound.method == "initialize":
        session = conversation.begin(inbound, caller, gateway.conversations, tenant.secrets, tenant.manifest)
        return answer.hello(inbound, endpoint, session, gateway.version)
    if inbound.era == "legacy" and inbound.method in listening.SETTINGS:
        await _set(gateway, inbound, caller, endpoint, tenant, notes)
        return answer.done(inbound)
    return answer.other(inbound, endpoint, gateway.version)


def _seen(inbound: Inbound, caller: Caller, endpoint: EndpointView, tenant: TenantSnapshot, now: float) -> about.Seen:
    return {
        kind: policy.visible(inbound, caller, entries, tenant.authorizer, now)
        for kind, entries in about.entries(endpoint).items()
    }


def _opening(  # noqa: PLR0917 - as above
    gateway: Gateway,
    inbound: Inbound,
    caller: Caller,
    endpoint: EndpointView,
    tenant: TenantSnapshot,
    notes: Notes,
) -> Result:
    """A stream of what changes: of the lists as this caller sees them, and of resources it may read."""
    wanted = listening.wanted(inbound, notes, endpoint)
    named: list[tuple[SubjectMethod, str]] = [(listening.UPDATED, uri) for uri in wanted.resource_subscriptions]
    named += [(listening.TASK, task) for task in wanted.task_ids]
    found = [_subject(gateway, inbound, caller, endpoint, tenant, *one) for one in named]
    subjects = tuple(subject for subject in found if subject is not None)
    return Result(
        result=listening.acknowledgement(wanted, subjects),
        revision=inbound.revision,
        opening=Opening(
            tenant=tenant.tenant,
            tools=wanted.tools_list_changed,
            prompts=wanted.prompts_list_changed,
            resources=wanted.resources_list_changed,
            subjects=subjects,
        ),
    )


def _subject(  # noqa: PLR0917 - as above
    gateway: Gateway,
    inbound: Inbound,
    caller: Caller,
    endpoint: EndpointView,
    tenant: TenantSnapshot,
    method: SubjectMethod,
    exposed: str,
) -> Subject | None:
    """As `_resource` and `_task`; also None where its server cannot be reached for now."""
    find = _resource if method == listening.UPDATED else _task
    try:
        return find(gateway, inbound, caller, endpoint, tenant, exposed)
    except Unavailable:
        return None


def _resource(  # noqa: PLR0917 - as above
    gateway: Gateway, inbound: Inbound, caller: Caller, endpoint: EndpointView, tenant: TenantSnapshot, uri: str
) -> Subject | None:
    """None: there is no such resource, or not for this caller, or its server does not tell of changes, or it may not
    be told the URI.
    """
    entry = policy.sighted(inbound, caller, endpoint.resource(uri), tenant.authorizer, gateway.clock())
    if entry is None or "subscribe" not in endpoint.offers.get(entry.server, ()):
        return None
    if not endpoint.lists(entry) and not guard.may_leave(uri, inbound.endpoint, tenant.guards):
        return None
    return Subject(
        method=listening.UPDATED,
        exposed=uri,
        route=routing.towards(entry, tenant),
        overhear=guard.overheard(entry, inbound.endpoint, tenant.guards),
    )


def _task(  # noqa: PLR0917 - as above
    gateway: Gateway, inbound: Inbound, caller: Caller, endpoint: EndpointView, tenant: TenantSnapshot, task: str
) -> Subject | None:
    """None: the caller was given no such task here, or may not use its tool any more."""
    found = target.of_task(task, inbound, caller, endpoint, tenant.secrets, gateway.sealer)
    if found is None or policy.sighted(inbound, caller, found[0], tenant.authorizer, gateway.clock()) is None:
        return None
    return Subject(
        method=listening.TASK,
        exposed=task,
        route=routing.towards(found[0], tenant, found[1]),
        overhear=guard.overheard(found[0], inbound.endpoint, tenant.guards),
    )


async def _set(  # noqa: PLR0917 - as above
    gateway: Gateway,
    inbound: Inbound,
    caller: Caller,
    endpoint: EndpointView,
    tenant: TenantSnapshot,
    notes: Notes,
) -> None:
    """What a legacy session says of its later requests and its stream."""
    # Others of its requests may have been quicker.
    notes = gateway.sessions.at_hand(inbound.session) or notes
    if inbound.method == "resources/subscribe":
        inbound.name = uri = listening.uri(inbound)
        if _resource(gateway, inbound, caller, endpoint, tenant, uri) is None:
            raise listening.unknown(uri)
        changed = listening.subscribed(notes, uri)
    else:
        changed = listening.changed(inbound, notes)
    if changed != notes:
        await gateway.sessions.put(inbound.session, notes, changed)
