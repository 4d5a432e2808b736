"""The life of a call. Read this first.

Each stage returns a stronger value or raises Refused or Unavailable; there is no third way out. The tenant's snapshot
is read once, so a call never sees two versions of the rules. Every MCP method of every transport comes through here.
"""

from core.call import Inbound, Result
from data_plane.gateway import Gateway
from data_plane.stages import answer, authn, conversation, execute, guard, limit, policy, routing, tenancy


async def handle(gateway: Gateway, inbound: Inbound) -> Result:
    """The answer to one MCP request. Cancelling it cancels the call upstream; it is recorded either way."""
    with gateway.meter.record(inbound) as recording:
        tenant = await authn.claimed(inbound, gateway.tenants)
        caller = authn.identify(inbound, tenant, gateway.clock())
        recording.called_by(caller, tenant.manifest)
        endpoint = tenancy.admit(inbound, caller, tenant, gateway.silence_s())
        talk = conversation.open_(inbound, caller, tenant, gateway.sealer)
        tool = endpoint.tools.get(inbound.name)
        await limit.spend(inbound, caller, tenant.limiter, gateway.counters, tool)
        if inbound.method != "tools/call":
            return recording.done(answer.compose(inbound, caller, endpoint, tenant, talk, gateway))
        permit = policy.authorize(inbound, caller, tool, tenant.authorizer, gateway.clock())
        recording.permitted(permit)
        clean = guard.inspect(inbound, permit, tenant.guards)
        recording.cleaned(clean)
        route = routing.choose(inbound, permit, clean, tenant)
        notify = guard.watch(permit, tenant.guards, inbound.notify)
        raw = await execute.run(inbound, route, clean, gateway.backends, notify, recording)
        return recording.done(guard.redact(raw, permit, tenant.guards, notify, talk.revision, route.backend.era))
