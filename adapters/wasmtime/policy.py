"""The PolicyEngine: prepares compiled Rego and keeps what it prepared within bounds of time and memory."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType

import msgspec
from wasmtime import Engine, Module

from adapters.wasmtime.guest import Guest, GuestFailed
from adapters.wasmtime.modules import Modules, new_engine
from adapters.wasmtime.ticker import Ticker
from core.bound import Bound
from core.policy import ERROR, HOST_BUILTINS, Canary, Decision, normalise

DEADLINE_TICKS = 5
"""Of a decision: it is cut off after 40-50 ms, a thousand times what one takes."""
PREPARE_TICKS = 100
"""Of a canary: the first evaluations touch memory for the first time, and nobody waits for them."""
MEMORY_BYTES = 32 * 1024 * 1024
"""A guest's memory beyond what its data needs."""
BYTES_PER_DATA_BYTE = 24
"""Parsed data takes about 13 bytes of guest memory for each of its JSON."""
LIVE_CAP = 512
"""Guests in memory at once; one that is evicted is made again when it is next asked."""
FAILURES_TOLERATED = 3
"""In a row, before a policy rests: each may have cost the event loop its whole deadline."""
REST_S = 1.0

_DECISION = "toolgate/authz/decision"
_EXPLAIN = "toolgate/authz/explain"
_VISIBLE = "toolgate/authz/visible"

_results = msgspec.json.Decoder(list[dict[str, object]])


class WasmPolicyEngine:
    """One per process. Its ticker thread runs until `close`."""

    def __init__(
        self,
        *,
        cache_dir: Path | None = None,
        live_cap: int = LIVE_CAP,
        prepare_ticks: int = PREPARE_TICKS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`cache_dir`: a folder of this user's own for machine code, so that a start does not compile again.

        `prepare_ticks`: of 10 ms, for a canary.
        """
        engine = new_engine()
        self._modules = Modules(engine, cache_dir)
        self._shared = _Shared(engine, Ticker(engine), _Live(live_cap), clock, prepare_ticks)

    def prepare(self, module: bytes, data: bytes, canaries: tuple[Canary, ...]) -> "WasmPolicy":
        policy = WasmPolicy(self._shared, self._modules.get(module), data)
        try:
            policy.rehearse(canaries)
        except GuestFailed as failure:
            raise ValueError(f"policy: {failure}") from failure
        return policy

    def bounds(self) -> dict[str, Bound]:
        return {"policy_guests": self._shared.live.bound, "policy_modules": self._modules.bound}

    def close(self) -> None:
        """Stop the clock of all deadlines: what is asked afterwards is denied."""
        self._shared.ticker.stop()

    def __enter__(self) -> "WasmPolicyEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the policies of an engine have in common."""

    engine: Engine
    ticker: Ticker
    live: "_Live"
    clock: Callable[[], float]
    prepare_ticks: int


class WasmPolicy:
    """A module with a tenant's data. The guest is made when it is needed, and anew after any failure."""

    remote: None = None

    def __init__(self, shared: "_Shared", module: Module, data: bytes) -> None:
        self._shared = shared
        self._module = module
        self._data = data
        self._guest: Guest | None = None
        self._decision = self._explain = self._visible = -1
        self._failures = 0
        self._rests_until = 0.0
        self._closed = False
        self.used = False
        """Since the eviction hand last came by."""

    @property
    def memory_bytes(self) -> int:
        """Of the guest, 0 when there is none."""
        guest = self._guest
        return guest.memory_bytes if guest is not None else 0

    def decide(self, input_json: bytes) -> Decision:
        result, failed = self._evaluate(self._decision, input_json)
        return ERROR if failed else normalise(result)

    def visible(self, input_json: bytes) -> frozenset[str] | None:
        result, _ = self._evaluate(self._visible, input_json)
        if not isinstance(result, list) or not all(isinstance(name, str) for name in result):
            return None
        return frozenset(result)

    def explain(self, input_json: bytes) -> dict[str, object] | None:
        result, _ = self._evaluate(self._explain, input_json) if self._explain >= 0 else (None, True)
        return result if isinstance(result, dict) else None

    def close(self) -> None:
        self._closed = True
        self._guest = None

    def rehearse(self, canaries: tuple[Canary, ...]) -> None:
        """Raises GuestFailed, and ValueError where the module is not a policy of ours or a canary comes out wrong."""
        self._shared.ticker.wind()
        guest = self._wake()
        unknown = guest.builtins() - set(HOST_BUILTINS)
        if unknown:
            raise ValueError(f"policy: uses builtins this gateway does not have: {', '.join(sorted(unknown))}")
        try:
            self._decision = guest.entrypoints[_DECISION]
            self._visible = guest.entrypoints[_VISIBLE]
            # Snapshots of before there was one are still good.
            self._explain = guest.entrypoints.get(_EXPLAIN, -1)
        except KeyError as missing:
            raise ValueError(f"policy: has no entry point {missing}") from missing
        for number, canary in enumerate(canaries):
            decision = normalise(_only(guest.evaluate(self._decision, canary.input, self._shared.prepare_ticks)))
            wrong = canary.wrong(number, decision)
            if wrong is not None:
                raise ValueError(f"policy: {wrong}")

    def hibernate(self) -> None:
        """Give the guest's memory back. An evaluation under way keeps it until it is done."""
        self._guest = None

    def _evaluate(self, entrypoint: int, input_json: bytes) -> tuple[object, bool]:
        """(result, whether it failed). Never raises."""
        self.used = True
        self._shared.ticker.wind()
        if self._closed or self._shared.ticker.stopped or self._rests():
            return None, True
        try:
            guest = self._guest or self._wake()
            result = _only(guest.evaluate(entrypoint, input_json, DEADLINE_TICKS))
        except Exception:  # noqa: BLE001 - whatever goes wrong in here, the answer is no
            self._poisoned()
            return None, True
        self._failures = 0
        return result, False

    def _rests(self) -> bool:
        return self._failures >= FAILURES_TOLERATED and self._shared.clock() < self._rests_until

    def _wake(self) -> Guest:
        room = MEMORY_BYTES + BYTES_PER_DATA_BYTE * len(self._data)
        guest = self._guest = Guest(self._shared.engine, self._module, self._data, room)
        self._shared.live.add(self)
        return guest

    def _poisoned(self) -> None:
        """A guest that failed may hold anything: it is not asked again."""
        self._guest = None
        self._failures += 1
        self._rests_until = self._shared.clock() + REST_S


class _Live:
    """The policies that have a guest; one of those not used lately gives it up when there are too many."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._policies: OrderedDict[int, weakref.ref[WasmPolicy]] = OrderedDict()
        self._lock = threading.Lock()
        self._evicted = 0

    @property
    def bound(self) -> Bound:
        with self._lock:
            policies = [policy for reference in self._policies.values() if (policy := reference()) is not None]
        return Bound(sum(1 for policy in policies if policy.memory_bytes), self._cap, self._evicted)

    def add(self, policy: WasmPolicy) -> None:
        with self._lock:
            self._policies[id(policy)] = weakref.ref(policy)
            self._policies.move_to_end(id(policy))
            policy.used = True
            # The clock algorithm: who was used since the hand came by last gets another round. Nothing is counted on
            # the path of a decision but one flag, and after a full round every flag is down.
            while len(self._policies) > self._cap:
                key, reference = self._policies.popitem(last=False)
                oldest = reference()
                if oldest is None:
                    continue
                if oldest.used:
                    oldest.used = False
                    self._policies[key] = reference
                else:
                    oldest.hibernate()
                    self._evicted += 1


def _only(result_set: bytes) -> object:
    """The one result of an evaluation; None where the entry point is undefined."""
    results = _results.decode(result_set)
    return results[0].get("result") if len(results) == 1 else None
