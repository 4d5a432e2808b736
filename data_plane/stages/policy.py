"""May this caller use this tool, prompt or resource: the only maker of Permit.

The policy is asked about a *policy class* (all that a decision may depend on besides tool, endpoint and context), so
callers alike share decisions. A cached one costs 2 us where the engine costs 25 and more.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address, ip_address
from typing import Generic, NamedTuple, TypeVar, cast

import msgspec

from core.bound import Hits
from core.call import Inbound, Permit, Target
from core.errors import Reason, Refused
from core.identity import Caller
from core.policy import ERROR, UNDEFINED, Decision, PreparedPolicy
from core.resource import digest as blake2b_256
from core.resource import encode
from core.snapshot import CompiledPrompt, CompiledResource, CompiledTool, Identity, PolicyData, Principal

TTL_S = 60.0
"""A decision depends on nothing that changes within its key; the bound is there so that nothing is trusted for ever."""
DECISIONS_CAP = 20_000
LISTS_CAP = 2000
INPUT_CAP_BYTES = 256 * 1024
TOOLS_AT_ONCE = 64
"""Per evaluation of a list, so that each stays far below the engine's deadline whatever the roles."""
NAMES_AT_ONCE = 16 * 1024
"""Characters of their names in one evaluation: URIs may be long, and no list of them may pass the input's cap."""

_HOUR_S, _DAY_S = 3600, 86400
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NUL = b"\\u0000"
_NOBODY = Principal()

_encode = msgspec.json.Encoder().encode

T = TypeVar("T", bound=Target)
K = TypeVar("K")
V = TypeVar("V")

Targets = tuple[Target, ...]


class _Asked(NamedTuple):
    """How the policy is asked about a kind of target."""

    action: str
    one: str
    many: str


_ASKED: dict[type, _Asked] = {
    CompiledTool: _Asked("tools/call", "tool", "tools"),
    CompiledPrompt: _Asked("prompts/get", "prompt", "prompts"),
    CompiledResource: _Asked("resources/read", "resource", "resources"),
}

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
        self._nameless = frozenset(data.nameless)
        self._identity = identity
        self._salt = encode((digest, epoch))
        self._decisions = _Kept[tuple[bytes, str, type, str, str, Context], Decision](
            DECISIONS_CAP, decisions_full or Hits()
        )
        self._lists = _Kept[tuple[bytes, str, int, Context], tuple[Targets, Targets]](LISTS_CAP, lists_full or Hits())
        self._alike: dict[tuple[str, int, frozenset[str]], tuple[Targets, Targets]] = {}

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

    def decide(self, inbound: Inbound, caller: Caller, target: Target, now_unix: float) -> tuple[Decision, bool]:
        """The decision, and whether it was made before. Failures of the policy are not remembered."""
        context = self.context(inbound, now_unix)
        kind = type(target)
        # With the server: a URI may be of another one where the endpoint is narrowed to it.
        key = (caller.policy_class, inbound.endpoint, kind, target.server, target.name, context)
        decision = self._decisions.get(key, now_unix)
        if decision is not None:
            return decision, True
        about = _ASKED[kind]
        asked = self._input(inbound.endpoint, caller, context, about.action, {about.one: _shown(target)})
        decision = self._prepared.decide(asked) if _is_sane(asked) else ERROR
        if decision not in (ERROR, UNDEFINED):
            self._decisions.put(key, decision, _until(caller, now_unix))
        return decision, False

    def visible(self, inbound: Inbound, caller: Caller, targets: tuple[T, ...], now_unix: float) -> tuple[T, ...]:
        """Those of `targets` (all the endpoint has, of one kind) the caller may use; equal answers are one object."""
        if not targets:
            return targets
        context = self.context(inbound, now_unix)
        key = (caller.policy_class, inbound.endpoint, id(targets), context)
        held = self._lists.get(key, now_unix)
        if held is None or held[0] is not targets:
            names = self._visible_names(inbound.endpoint, caller, targets, context)
            if names is None:
                return ()
            held = self._shared(inbound.endpoint, targets, names)
            self._lists.put(key, held, _until(caller, now_unix))
        return cast(tuple[T, ...], held[1])

    def _shared(self, endpoint: str, targets: Targets, names: frozenset[str]) -> tuple[Targets, Targets]:
        key = (endpoint, id(targets), names)
        held = self._alike.get(key)
        if held is None or held[0] is not targets:
            if len(self._alike) >= LISTS_CAP:
                self._alike.clear()
            held = self._alike[key] = (targets, tuple(one for one in targets if one.name in names))
        return held

    def _visible_names(
        self, endpoint: str, caller: Caller, targets: Targets, context: Context
    ) -> frozenset[str] | None:
        """None where the policy fails."""
        about = _ASKED[type(targets[0])]
        alike = _alike(targets) if about.many in self._nameless else None
        names: set[str] = set()
        for some in _portions(targets if alike is None else tuple(several[0] for several in alike.values())):
            asked = self._input(endpoint, caller, context, about.action, {about.many: [_shown(one) for one in some]})
            seen = self._prepared.visible(asked) if _is_sane(asked) else None
            if seen is None:
                return None
            names |= seen
        if alike is not None:
            names = {one.name for several in alike.values() if several[0].name in names for one in several}
        return frozenset(names)

    def _input(self, endpoint: str, caller: Caller, context: Context, action: str, about: dict[str, object]) -> bytes:
        circumstances = {m: value for m, value in zip(self._members, context, strict=True) if value is not None}
        who = self._caller(caller.user, caller.agent)
        return _encode({**who, "endpoint": endpoint, "action": action, "ctx": circumstances, **about})

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
    inbound: Inbound, caller: Caller, target: Target | None, authorizer: Authorizer, now_unix: float
) -> Permit:
    """The right to use `target`, which is what the endpoint has under `inbound.name`, if anything.

    Raises Refused: UNKNOWN_TOOL without a target, FORBIDDEN where the policy says no. The caller cannot tell them
    apart; the record can.
    """
    public = f"{_UNKNOWN.get(inbound.method, 'Unknown tool')}: {inbound.name[:128]}"
    if target is None:
        raise Refused(Reason.UNKNOWN_TOOL, public)
    decision, cached = authorizer.decide(inbound, caller, target, now_unix)
    if not decision.allow:
        raise Refused(Reason.FORBIDDEN, public, detail=", ".join(decision.reasons))
    return Permit(caller=caller, endpoint=inbound.endpoint, tool=target, reasons=decision.reasons, cached=cached)


_UNKNOWN = {
    "prompts/get": "Unknown prompt",
    "resources/read": "Resource not found",
    "completion/complete": "Unknown prompt or resource",
}


def sighted(inbound: Inbound, caller: Caller, target: T | None, authorizer: Authorizer, now_unix: float) -> T | None:
    """`target` if the caller may use it: to a caller that may not, it is not there."""
    return target if target is not None and authorizer.decide(inbound, caller, target, now_unix)[0].allow else None


def visible(
    inbound: Inbound, caller: Caller, targets: tuple[T, ...], authorizer: Authorizer, now_unix: float
) -> tuple[T, ...]:
    """Those of one kind an endpoint has that `authorize` would permit, in their order."""
    return authorizer.visible(inbound, caller, targets, now_unix)


def _alike(targets: Targets) -> dict[object, list[Target]]:
    """By all that a policy sees of them but their names."""
    found: dict[object, list[Target]] = {}
    for one in targets:
        key = (one.server, one.risk, one.read_only, tuple(sorted(one.labels.items())) if one.labels else ())
        found.setdefault(key, []).append(one)
    return found


def _portions(targets: Targets) -> Iterator[Targets]:
    """In order, each small enough for one evaluation."""
    start = size = 0
    for at, one in enumerate(targets):
        size += len(one.name) + len(one.upstream_name)
        if at > start and (at - start >= TOOLS_AT_ONCE or size > NAMES_AT_ONCE):
            yield targets[start:at]
            start, size = at, len(one.name) + len(one.upstream_name)
    yield targets[start:]


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


def _shown(target: Target) -> dict[str, object]:
    """A tool, prompt or resource as policies see it."""
    return {
        "name": target.name,
        "upstream_name": target.upstream_name,
        "server": target.server,
        "risk": target.risk,
        "labels": target.labels,
        "read_only": target.read_only,
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
