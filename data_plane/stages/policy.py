"""May this caller use this tool: the only maker of Permit.

The policy is asked about a *policy class* (all that a decision may depend on besides tool, endpoint and context), so
callers alike share decisions. A cached one costs 2 us where the engine costs 25 and more.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

import msgspec

from core.bound import Hits
from core.call import Inbound, Permit
from core.errors import Reason, Refused
from core.identity import Caller
from core.policy import ERROR, UNDEFINED, Decision, PreparedPolicy
from core.resource import digest as blake2b_256
from core.resource import encode
from core.snapshot import CompiledTool, Identity, PolicyData, Principal

TTL_S = 60.0
"""A decision depends on nothing that changes within its key; the bound is there so that nothing is trusted for ever."""
DECISIONS_CAP = 20_000
LISTS_CAP = 500
INPUT_CAP_BYTES = 256 * 1024
TOOLS_AT_ONCE = 64
"""Per evaluation of a list, so that each stays far below the engine's deadline whatever the roles."""

_HOUR_S, _DAY_S = 3600, 86400
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NUL = b"\\u0000"
_NOBODY = Principal()

_encode = msgspec.json.Encoder().encode

Tools = tuple[CompiledTool, ...]

K = TypeVar("K")
V = TypeVar("V")

Context = tuple[str | int | None, ...]
"""Values of `PolicyData.context`, in its order; None where there is none. Part of every cache key."""


class Authorizer:
    """A tenant's policy with the people it knows. Lives as long as the snapshot, and so do its caches."""

    def __init__(
        self,
        prepared: PreparedPolicy,
        data: PolicyData,
        identity: Identity,
        digest: bytes,
        epoch: int,
        *,
        decisions_full: Hits | None = None,
        lists_full: Hits | None = None,
    ) -> None:
        """`digest` and `epoch` of the manifest become part of every policy class: a new snapshot shares no decision.

        `decisions_full`, `lists_full`: count what is forgotten to make room.
        """
        self._prepared = prepared
        self._names = data.names
        self._context = tuple(_CONTEXT[member] for member in data.context)
        self._members = data.context
        self._identity = identity
        self._salt = encode((digest, epoch))
        self._decisions = _Kept[tuple[bytes, str, str, Context], Decision](DECISIONS_CAP, decisions_full or Hits())
        self._lists = _Kept[tuple[bytes, str, Context], tuple[Tools, Tools]](LISTS_CAP, lists_full or Hits())
        self._alike: dict[tuple[str, frozenset[str]], tuple[Tools, Tools]] = {}

    @property
    def held(self) -> tuple[int, int]:
        """Decisions and lists remembered."""
        return len(self._decisions), len(self._lists)

    def policy_class(self, user: str, agent: str) -> bytes:
        """The class of whoever acts as `user` through `agent` (names, empty where there is none)."""
        return blake2b_256(self._salt + encode(self._caller(user, agent)))

    def context(self, inbound: Inbound, now_unix: float) -> Context:
        """What of the request's circumstances any rule reads; lists that depend on it are for this context only."""
        return tuple([read(inbound, now_unix) for read in self._context]) if self._context else ()

    def decide(self, inbound: Inbound, caller: Caller, tool: CompiledTool, now_unix: float) -> tuple[Decision, bool]:
        """The decision, and whether it was made before. Failures of the policy are not remembered."""
        context = self.context(inbound, now_unix)
        key = (caller.policy_class, inbound.endpoint, tool.name, context)
        decision = self._decisions.get(key, now_unix)
        if decision is not None:
            return decision, True
        asked = self._input(inbound.endpoint, caller, context, {"tool": _shown(tool)})
        decision = self._prepared.decide(asked) if _is_sane(asked) else ERROR
        if decision not in (ERROR, UNDEFINED):
            self._decisions.put(key, decision, _until(caller, now_unix))
        return decision, False

    def visible(self, inbound: Inbound, caller: Caller, tools: Tools, now_unix: float) -> Tools:
        """Those of `tools` (all of the endpoint's) the caller may use; equal answers are one object."""
        context = self.context(inbound, now_unix)
        key = (caller.policy_class, inbound.endpoint, context)
        held = self._lists.get(key, now_unix)
        if held is not None and held[0] is tools:
            return held[1]
        names = self._visible_names(inbound.endpoint, caller, tools, context)
        if names is None:
            return ()
        held = self._alike.get((inbound.endpoint, names))
        if held is None or held[0] is not tools:
            if len(self._alike) >= LISTS_CAP:
                self._alike.clear()
            held = self._alike[inbound.endpoint, names] = (tools, tuple(tool for tool in tools if tool.name in names))
        self._lists.put(key, held, _until(caller, now_unix))
        return held[1]

    def _visible_names(self, endpoint: str, caller: Caller, tools: Tools, context: Context) -> frozenset[str] | None:
        """None where the policy fails."""
        names: set[str] = set()
        for start in range(0, len(tools), TOOLS_AT_ONCE):
            shown = [_shown(tool) for tool in tools[start : start + TOOLS_AT_ONCE]]
            asked = self._input(endpoint, caller, context, {"tools": shown})
            some = self._prepared.visible(asked) if _is_sane(asked) else None
            if some is None:
                return None
            names |= some
        return frozenset(names)

    def _input(self, endpoint: str, caller: Caller, context: Context, about: dict[str, object]) -> bytes:
        circumstances = {m: value for m, value in zip(self._members, context, strict=True) if value is not None}
        who = self._caller(caller.user, caller.agent)
        return _encode({**who, "endpoint": endpoint, "action": "tools/call", "ctx": circumstances, **about})

    def _caller(self, user: str, agent: str) -> dict[str, object]:
        """`user`, `agent` and `roles` of the input. Somebody named and not known here takes every role with them."""
        person = self._identity.users.get(user) if user else _NOBODY
        program = self._identity.agents.get(agent) if agent else _NOBODY
        roles: Iterable[str] = {*person.roles, *program.roles} if person is not None and program is not None else ()
        return {
            "user": self._principal(user, person),
            "agent": self._principal(agent, program),
            "roles": sorted(roles),
        }

    def _principal(self, name: str, principal: Principal | None) -> dict[str, object] | None:
        if not name or principal is None:
            return None
        known: dict[str, object] = {"groups": principal.groups, "attributes": principal.attributes}
        return {"name": name, **known} if self._names else known


def authorize(
    inbound: Inbound, caller: Caller, tool: CompiledTool | None, authorizer: Authorizer, now_unix: float
) -> Permit:
    """The right to call `tool`, which is what the endpoint has under `inbound.name`, if anything.

    Raises Refused: UNKNOWN_TOOL without a tool, FORBIDDEN where the policy says no. The caller cannot tell them apart;
    the record can.
    """
    public = f"Unknown tool: {inbound.name[:128]}"
    if tool is None:
        raise Refused(Reason.UNKNOWN_TOOL, public)
    decision, cached = authorizer.decide(inbound, caller, tool, now_unix)
    if not decision.allow:
        raise Refused(Reason.FORBIDDEN, public, detail=", ".join(decision.reasons))
    return Permit(caller=caller, endpoint=inbound.endpoint, tool=tool, reasons=decision.reasons, cached=cached)


def sighted(
    inbound: Inbound, caller: Caller, tool: CompiledTool | None, authorizer: Authorizer, now_unix: float
) -> CompiledTool | None:
    """`tool` if the caller may use it: to a caller that may not, it is not there."""
    return tool if tool is not None and authorizer.decide(inbound, caller, tool, now_unix)[0].allow else None


def visible(inbound: Inbound, caller: Caller, tools: Tools, authorizer: Authorizer, now_unix: float) -> Tools:
    """The tools of an endpoint that `authorize` would permit, in their order."""
    return authorizer.visible(inbound, caller, tools, now_unix)


class _Kept(Generic[K, V]):
    """The most recently used `cap` values, each until its time."""

    def __init__(self, cap: int, full: Hits) -> None:
        self._cap = cap
        self._full = full
        self._values: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K, now_unix: float) -> V | None:
        held = self._values.get(key)
        if held is None:
            return None
        if held[1] <= now_unix:
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return held[0]

    def put(self, key: K, value: V, until_unix: float) -> None:
        self._values[key] = (value, until_unix)
        if len(self._values) > self._cap:
            self._values.popitem(last=False)
            self._full.count += 1


def _until(caller: Caller, now_unix: float) -> float:
    return min(now_unix + TTL_S, caller.expires_unix)


def _is_sane(asked: bytes) -> bool:
    """Within bounds, and without NUL, which C strings inside an engine end at. Its depth is fixed by its types."""
    return len(asked) <= INPUT_CAP_BYTES and _NUL not in asked


def _shown(tool: CompiledTool) -> dict[str, object]:
    """A tool as policies see it."""
    return {
        "name": tool.name,
        "upstream_name": tool.upstream_name,
        "server": tool.server,
        "risk": tool.risk,
        "labels": tool.labels,
        "read_only": tool.read_only,
    }


def _hour(_inbound: Inbound, now_unix: float) -> int:
    return int(now_unix // _HOUR_S) % 24


def _weekday(_inbound: Inbound, now_unix: float) -> str:
    return _WEEKDAYS[(int(now_unix // _DAY_S) + 3) % 7]  # 1970-01-01 was a Thursday


def _ip(inbound: Inbound, _now_unix: float) -> str | None:
    """The caller's address in its shortest form, an IPv4 one mapped into IPv6 as itself."""
    try:
        address = ip_address(inbound.client_address.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


_CONTEXT: dict[str, Callable[[Inbound, float], str | int | None]] = {"hour": _hour, "ip": _ip, "weekday": _weekday}
