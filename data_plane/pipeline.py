"""The life of a call. Read this first.

Each stage returns a stronger value or raises Refused or Unavailable; there is no third way out. The tenant's snapshot
is read once, so a call never sees two versions of the rules. Every MCP method of every transport comes through here.
"""

from core.call import Inbound, Result
from core.identity import Caller
from data_plane.endpoint_view import EndpointView
from data_plane.gateway import Gateway
from data_plane.snapshots import TenantSnapshot
from data_plane.stages import answer, authn, conversation, execute, guard, limit, policy, routing, tenancy


async def handle(gateway: Gateway, inbound: Inbound) -> Result:
    """The answer to one MCP request. Cancelling it cancels the call upstream; it is recorded either way."""
    now = gateway.clock()
    with gateway.meter.record(inbound) as recording:
        tenant = await authn.claimed(inbound, gateway.tenants)
        caller = authn.identify(inbound, tenant, now)
        recording.called_by(caller, tenant.manifest, tenant.secrets.key_pepper)
        endpoint = tenancy.admit(inbound, caller, tenant, gateway.silence_s())
        conversation.settle(inbound, caller, gateway.conversations, tenant.secrets, tenant.manifest)
        tool = endpoint.tools.get(inbound.name)
        seen = policy.sighted(inbound, caller, tool, tenant.authorizer, now) if tenant.limiter.tells_tools else tool
        await limit.spend(inbound, caller, tenant.limiter, gateway.counters, seen)
        if inbound.method != "tools/call":
            return recording.done(_answer(gateway, inbound, caller, endpoint, tenant))
        permit = recording.permitted(policy.authorize(inbound, caller, tool, tenant.authorizer, now))
        clean = recording.cleaned(await guard.inspect(inbound, permit, tenant.guards))
        route = routing.choose(inbound, permit, clean, tenant)
        notify = guard.watch(permit, tenant.guards, inbound.notify)
        raw = await execute.run(inbound, route, clean, gateway.backends, notify, recording)
        result = await guard.redact(raw, permit, tenant.guards, notify, inbound.revision, route.backend.era)
        return recording.done(result)


def _answer(
    gateway: Gateway, inbound: Inbound, caller: Caller, endpoint: EndpointView, tenant: TenantSnapshot
) -> Result:
    """What needs no upstream; for lists, the policy is a filter."""
    if inbound.method == "tools/list":
        tools = policy.visible(inbound, caller, endpoint.catalogue.tools, tenant.authorizer, gateway.clock())
        return answer.tools(inbound, endpoint, tools, tenant, gateway.version)
    if inbound.method == "initialize":
        session = conversation.begin(inbound, caller, gateway.conversations, tenant.secrets, tenant.manifest)
        return answer.hello(inbound, endpoint, session, gateway.version)
    return answer.other(inbound, endpoint, gateway.version)
