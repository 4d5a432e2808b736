"""Spans made from records, long after the call: the hot path pays for two identifiers and nothing else."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from core.bound import Bound
from core.call import Record

WAITING_MAX = 8192
BATCH = 512
EVERY_S = 2.0
TIMEOUT_S = 10

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_GOOD = frozenset({"ok", "tool_error"})

log = logging.getLogger("toolgate.spans")


class Spans:
    """Gathers, and exports in batches from a thread. What cannot be exported is dropped and counted."""

    def __init__(self, endpoint: str, *, node: str, version: str, exporter: SpanExporter | None = None) -> None:
        """`endpoint`: the whole URL, such as `http://collector:4318/v1/traces`."""
        attributes = {"service.name": "toolgate-gateway", "service.version": version, "service.instance.id": node}
        self._resource = Resource.create(attributes)
        self._scope = InstrumentationScope("toolgate", version)
        self._exporter = exporter or OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._waiting: deque[Record] = deque()
        self.dropped = 0
        """Spans that were not exported, for want of room or of a collector."""
        self._refused = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._waiting), WAITING_MAX, self._refused)

    def add(self, record: Record) -> None:
        """A record with both ids; never blocks."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            self._refused += 1
            return
        self._waiting.append(record)

    async def run(self) -> None:
        """Export for ever; what is left when cancelled is exported once more."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                while self._waiting:
                    await self._export_some()
        finally:
            if self._waiting:
                await asyncio.shield(self._export_some())
            self._exporter.shutdown()

    async def _export_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        spans = [span for record in batch if (span := self._span(record)) is not None]
        if await asyncio.to_thread(self._exporter.export, spans) is not SpanExportResult.SUCCESS:
            self.dropped += len(spans)
            log.warning("%d spans could not be exported", len(spans))

    def _span(self, record: Record) -> ReadableSpan | None:
        try:
            trace, span = int(record.trace_id, 16), int(record.span_id, 16)
        except ValueError:
            return None
        end_ns = int(record.at_unix * 1e9)
        return ReadableSpan(
            name=f"{record.method} {record.tool}" if record.server else record.method,
            context=SpanContext(trace, span, is_remote=False, trace_flags=_SAMPLED),
            parent=SpanContext(trace, int(record.parent_id, 16), is_remote=True, trace_flags=_SAMPLED)
            if record.parent_id
            else None,
            resource=self._resource,
            instrumentation_scope=self._scope,
            attributes=_attributes(record),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.OK if record.outcome in _GOOD else StatusCode.ERROR),
            start_time=end_ns - record.duration_us * 1000,
            end_time=end_ns,
        )


def _attributes(record: Record) -> dict[str, str | int | Sequence[str]]:
    """By the semantic conventions for MCP where they name one, without what says nothing."""
    named: dict[str, str | int | Sequence[str]] = {
        "mcp.method.name": record.method,
        "mcp.protocol.version": record.revision,
        "gen_ai.tool.name": record.tool if record.server else "",
        "network.transport": "tcp",
        "client.address": record.client_address,
        "toolgate.call.id": record.id,
        "toolgate.tenant": record.tenant,
        "toolgate.endpoint": record.endpoint,
        "toolgate.server": record.server,
        "toolgate.user": record.user,
        "toolgate.agent": record.agent,
        "toolgate.outcome": record.outcome,
        "toolgate.generation": record.generation,
        "toolgate.upstream_us": record.upstream_us,
        "toolgate.findings": [f"{f.detector}:{f.action}:{f.direction}" for f in record.findings],
    }
    return {name: value for name, value in named.items() if value}
