"""Spends a token of every limit that matches a call, or of none."""

from fnmatch import fnmatchcase

from core.call import Inbound, Target
from core.errors import Reason, Refused, Unavailable
from core.identity import Caller
from core.limits import Bucket, Counters, CountersAway, Dimension, Grant, counter_key
from core.snapshot import CompiledLimit, CompiledTool, Limits

KEYS_REMEMBERED = 8192
"""Plans kept per tenant snapshot, one per (caller, endpoint, tool) seen."""

SPENDING = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Methods that count; others are answered from memory, or come with each key that somebody presses."""

_NO_TOOL = ""
"""All names that are no tool share one bucket: names an agent makes up must not each get a budget of their own."""

_Plan = tuple[tuple[str, Bucket, str], ...]


class Limiter:
    """A tenant's limits, with the keys of each (caller, endpoint, tool) worked out once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits.limits
        self.tells_tools = any(_tells_tools(limit) for limit in limits.limits)
        """Whether a bucket of its own could tell a tool the caller may not use from one that does not exist."""
        self._plans: dict[tuple[str, str, str, str, str], _Plan] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    def plan(self, caller: Caller, endpoint: str, tool: Target | None) -> _Plan:
        """(key, bucket, name of the limit) of every limit that matches.

        What is no tool is limited where every tool is: were it by its name, a limit would tell which names it is for.
        """
        if not isinstance(tool, CompiledTool):
            return self._work_out(caller, endpoint, _NO_TOOL, "" if tool is None else tool.server)
        at = (caller.tenant, caller.user, caller.agent, endpoint, tool.name)
        try:
            return self._plans[at]
        except KeyError:
            pass
        if len(self._plans) >= KEYS_REMEMBERED:
            self._plans.clear()
        plan = self._plans[at] = self._work_out(caller, endpoint, tool.name, tool.server)
        return plan

    def _work_out(self, caller: Caller, endpoint: str, tool: str, server: str) -> _Plan:
        values: dict[Dimension, str] = {
            "tenant": caller.tenant,
            "user": caller.user,
            "agent": caller.agent,
            "caller": caller.subject,
            "endpoint": endpoint,
            "server": server,
            "tool": tool,
        }
        return tuple(
            (_key(limit, caller.tenant, values), limit.bucket, limit.name)
            for limit in self._limits
            if _matches(limit.endpoints, endpoint) and _matches(limit.tools, tool)
        )


def _tells_tools(limit: CompiledLimit) -> bool:
    return "tool" in limit.per or "server" in limit.per or not _matches(limit.tools, _NO_TOOL)


def _key(limit: CompiledLimit, tenant: str, values: dict[Dimension, str]) -> str:
    name = f"{limit.name}@{limit.life}"
    return counter_key(limit.scope, limit.on_error, tenant, name, [values[d] for d in limit.per])


def _matches(globs: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


async def spend(
    inbound: Inbound, caller: Caller, limiter: Limiter, counters: Counters, tool: Target | None = None
) -> None:
    """One token of every limit that matches, for methods that count.

    Raises Refused (RATE_LIMITED) with the longest wait told, having given back what others granted; Unavailable
    (LIMIT_UNAVAILABLE) where the counters are away and the limit says deny.
    """
    if not limiter or inbound.method not in SPENDING:
        return
    plan = limiter.plan(caller, inbound.endpoint, tool)
    for done, (key, bucket, name) in enumerate(plan):
        try:
            grant = await counters.take(key, bucket, 1)
        except CountersAway as failure:
            await _give_back(counters, plan[:done])
            raise Unavailable(
                Reason.LIMIT_UNAVAILABLE,
                "The rate limit cannot be checked now.",
                detail=f"limit {name}",
                retry_after_s=1,
            ) from failure
        if not grant.tokens:
            await _give_back(counters, plan[:done])
            raise _refusal(name, grant)


async def _give_back(counters: Counters, spent: _Plan) -> None:
    for key, bucket, _ in spent:
        await counters.give_back(key, bucket, 1)


def _refusal(name: str, grant: Grant) -> Refused:
    return Refused(
        Reason.RATE_LIMITED,
        f"Too many calls: the limit {name!r} is used up.",
        detail=f"limit {name}",
        retry_after_s=grant.retry_after_s,
    )
