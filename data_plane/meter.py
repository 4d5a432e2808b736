"""One Record per call, on every way out: what audit, usage, metrics, the log line and spans are made from."""

import logging
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import getrandbits, randbytes
from time import monotonic_ns, time
from types import TracebackType
from typing import Protocol

import msgspec

from core.call import Clean, Inbound, Permit, Record, Result
from core.errors import Reason, Refused, Unavailable
from core.guard import Finding
from core.identity import Caller
from core.snapshot import Manifest

log = logging.getLogger("toolgate.call")
_encode = msgspec.msgpack.Encoder().encode
_SAMPLED = 1
NAME_CHARS = 128
"""Of a method or a tool as asked for: longer ones are nobody's, and a record must stay small whatever is asked."""
STRANGERS_PER_S = 20
"""Records a second, of each worker, for callers that proved nothing: they must not fill the spool or the audit log."""


class Strangers:
    """Which refusals of unknown callers get a record: so many a second; the others are a number on the next one."""

    def __init__(self) -> None:
        self._second = 0
        self._written = 0
        self._others = 0

    def admit(self, now_unix: float) -> int | None:
        """How many went without a record before this one; None where this one does too."""
        if int(now_unix) != self._second:
            self._second, self._written = int(now_unix), 0
        if self._written >= STRANGERS_PER_S:
            self._others += 1
            return None
        self._written += 1
        others, self._others = self._others, 0
        return others


class RecordSink(Protocol):
    """Where this process puts encoded records."""

    def append(self, record: bytes, *, required: bool = False) -> bool:
        """Keep it, surviving this process; False when there is no room and it is dropped (and counted).

        `required`: of a call let in because there was room; what is kept in reserve may be used.
        """
        ...

    def has_room(self) -> bool:
        """Whether a record written now would be kept."""
        ...


@dataclass(frozen=True, slots=True)
class Meter:
    """Starts a Recording per call."""

    sink: RecordSink
    node: str
    sample_ratio: float = 0.0
    """Share of calls traced that arrive without a sampled trace of their own."""
    wall_clock: Callable[[], float] = time
    strangers: Strangers = field(default_factory=Strangers)

    def record(self, inbound: Inbound) -> "Recording":
        """A context manager around the whole call."""
        return Recording(self, inbound)


class Recording:
    """What is known of a call so far. The stages' results are noted as they come."""

    __slots__ = (
        "_caller",
        "_clean",
        "_meter",
        "_parent_id",
        "_pepper",
        "_permit",
        "_result",
        "_started",
        "inbound",
        "manifest",
        "span_id",
        "trace_flags",
        "trace_id",
        "upstream_ns",
    )

    def __init__(self, meter: Meter, inbound: Inbound) -> None:
        self._meter = meter
        self.inbound = inbound
        self._started = inbound.received_ns or monotonic_ns()
        self._caller: Caller | None = None
        self._permit: Permit | None = None
        self._clean: Clean | None = None
        self._result: Result | None = None
        self._pepper = b""
        self.manifest: Manifest | None = None
        self.upstream_ns = 0
        made = randbytes(24).hex()  # noqa: S311 - ids, not secrets
        self.span_id = made[:16]
        self.trace_id, self._parent_id, self.trace_flags = _trace(inbound.traceparent, made[16:], meter.sample_ratio)

    @property
    def traceparent(self) -> str:
        """To pass on: this call's span as the parent (W3C Trace Context, section 3.2)."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.trace_flags else '00'}"

    def called_by(self, caller: Caller, manifest: Manifest, pepper: bytes) -> None:
        """`pepper`: the tenant's, without which a digest of arguments cannot be searched for what they are.

        Raises Unavailable(AUDIT_UNAVAILABLE) where the tenant demands a record and there is no room for one.
        """
        self._caller = caller
        self.manifest = manifest
        self._pepper = pepper
        if manifest.audit == "required" and not self._meter.sink.has_room():
            raise Unavailable(Reason.AUDIT_UNAVAILABLE, "Calls cannot be recorded now.", retry_after_s=5)

    def permitted(self, permit: Permit) -> Permit:
        self._permit = permit
        return permit

    def cleaned(self, clean: Clean) -> Clean:
        self._clean = clean
        return clean

    def done(self, result: Result) -> Result:
        self._result = result
        return result

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome, reasons, detail = self._outcome(failure)
        blocked = failure.findings if isinstance(failure, Refused) else ()
        others = 0 if self._caller is not None else self._meter.strangers.admit(self._meter.wall_clock())
        if others is None:
            return
        required = self.manifest is not None and self.manifest.audit == "required"
        self._meter.sink.append(_encode(self._row(outcome, reasons, detail, blocked, others)), required=required)
        if isinstance(failure, Unavailable):
            log.warning("call %s: %s: %s", self.inbound.id, failure.reason, failure.detail or failure.public)

    def _outcome(self, failure: BaseException | None) -> tuple[str, tuple[str, ...], str]:
        """(outcome, reasons, detail) of the record."""
        if failure is None:
            reasons = self._permit.reasons if self._permit is not None else ()
            result = self._result
            if result is None:
                return "ok", reasons, ""
            if result.error:
                return "upstream_error", reasons, ""
            return ("tool_error" if result.is_error else "ok"), reasons, ""
        if isinstance(failure, (Refused, Unavailable)):
            return str(failure.reason), (), (failure.detail or failure.public)[:500]
        if isinstance(failure, CancelledError):
            return str(Reason.CANCELLED), (), ""
        return str(Reason.INTERNAL), (), type(failure).__name__

    def _row(
        self, outcome: str, reasons: tuple[str, ...], detail: str, blocked: tuple[Finding, ...], others: int
    ) -> Record:
        inbound, caller, permit, clean, result = self.inbound, self._caller, self._permit, self._clean, self._result
        findings = (clean.findings if clean is not None else ()) + (result.findings if result is not None else blocked)
        return Record(
            id=inbound.id,
            at_unix=self._meter.wall_clock(),
            tenant=caller.tenant if caller is not None else "",
            endpoint=inbound.endpoint,
            transport=inbound.transport,
            era=inbound.era,
            revision=inbound.revision,
            method=inbound.method[:NAME_CHARS],
            tool=inbound.name[:NAME_CHARS],
            server=permit.tool.server if permit is not None else "",
            user=caller.user if caller is not None else "",
            agent=caller.agent if caller is not None else "",
            credential=caller.credential if caller is not None else "",
            outcome=outcome,
            reasons=reasons,
            detail=detail,
            generation=self.manifest.generation if self.manifest is not None else 0,
            findings=findings,
            bytes_in=inbound.size_bytes,
            bytes_out=len(result.result) + len(result.error) if result is not None else 0,
            duration_us=(monotonic_ns() - self._started) // 1000,
            upstream_us=self.upstream_ns // 1000,
            trace_id=self.trace_id,
            span_id=self.span_id if self.trace_flags & _SAMPLED else "",
            client_address=inbound.client_address,
            node=self._meter.node,
            decision_cached=permit is not None and permit.cached,
            arguments_digest=blake2b(inbound.arguments, key=self._pepper, digest_size=16).digest() if permit else b"",
            parent_id=self._parent_id,
            others=others,
        )


def _trace(traceparent: str, made: str, sample_ratio: float) -> tuple[str, str, int]:
    """(trace id, caller's span id, flags): the caller's own where it sent a `traceparent`, else the one just `made`.

    The front has checked its form (W3C Trace Context, section 3.2).
    """
    if traceparent:
        return traceparent[3:35], traceparent[36:52], int(traceparent[53:55], 16) & _SAMPLED
    sampled = sample_ratio > 0 and getrandbits(32) < sample_ratio * (1 << 32)
    return made, "", _SAMPLED if sampled else 0
