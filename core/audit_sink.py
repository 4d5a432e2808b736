"""Where else a tenant wants its audit rows: webhooks, and collectors of OpenTelemetry logs. In order, at least once."""

import hmac
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Literal, Protocol

import msgspec

from core.admin import AuditRow
from core.audit_events import FORMATS
from core.audit_lines import row_line
from core.resource import Problem, Ref
from core.web import Request, url_problems

TIMEOUT_S = 10.0
SIGNATURE = "Toolgate-Signature"
DELIVERY = "Toolgate-Delivery"
_SEVERITY_INFO, _SEVERITY_WARN = 9, 13
"""Of OTLP logs (OpenTelemetry logs data model, SeverityNumber)."""


class WebhookTo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="webhook"):
    """A POST of some rows, one on a line."""

    url: str
    secret: str
    """Name of the Secret that signs."""
    format: Literal["jsonl", "ocsf", "cef"] = "jsonl"
    allow_private: bool = False
    """Permit loopback, link-local and private addresses, and plain HTTP."""
    ca_pem: str = ""


class OtlpTo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="otlp"):
    """A POST of some rows as OTLP/HTTP logs in JSON."""

    url: str
    """The whole of it, such as `https://collector.example:4318/v1/logs`."""
    secret_headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Header to the name of the Secret that is its value."""
    allow_private: bool = False
    ca_pem: str = ""


Sink = WebhookTo | OtlpTo


class AuditSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows from when it was declared on."""

    to: Sink
    types: list[Literal["call", "change"]] = msgspec.field(default_factory=lambda: ["call", "change"])
    disabled: bool = False
    """What comes meanwhile is sent once it is not."""

    def problems(self) -> Iterator[Problem]:
        yield from url_problems("spec.to.url", self.to.url, allow_private=self.to.allow_private)
        if not self.types:
            yield Problem("spec.types", "must name call, change or both")

    def references(self) -> Iterator[tuple[str, Ref]]:
        if isinstance(self.to, WebhookTo):
            yield "spec.to.secret", Ref("Secret", "", self.to.secret)
        else:
            for header, secret in self.to.secret_headers.items():
                yield f"spec.to.secret_headers.{header}", Ref("Secret", "", secret)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A sink whose turn it is, and how far it has come."""

    tenant: str
    name: str
    spec: AuditSink
    seq: int
    failures: int


def secrets_of(sink: AuditSink) -> list[str]:
    return [ref.name for _, ref in sink.references()]


def signature(secret: str, at_unix: int, body: bytes) -> str:
    """`t=TIME,v1=HEX`: HMAC-SHA256 of the time, a dot and the body. Who receives it refuses what is old."""
    made = hmac.new(secret.encode(), b"%d." % at_unix + body, sha256).hexdigest()
    return f"t={at_unix},v1={made}"


def request_of(place: Place, rows: Sequence[AuditRow], secrets: dict[str, str], now_unix: int) -> Request:
    """What delivers `rows`. The same rows have the same `Toolgate-Delivery`: one that comes twice is known by it."""
    tenant, to = place.tenant, place.spec.to
    headers = {DELIVERY: f"{tenant}/{place.name}/{rows[0].seq}-{rows[-1].seq}"}
    if isinstance(to, WebhookTo):
        shown = FORMATS.get(to.format)
        body = b"".join((row_line(row) if shown is None else shown(tenant, row)) + b"\n" for row in rows)
        headers["Content-Type"] = "text/plain; charset=utf-8" if to.format == "cef" else "application/x-ndjson"
        headers[SIGNATURE] = signature(secrets[to.secret], now_unix, body)
    else:
        body = otlp(tenant, rows)
        headers["Content-Type"] = "application/json"
        headers |= {header: secrets[secret] for header, secret in to.secret_headers.items()}
    return Request(
        url=to.url,
        method="POST",
        headers=tuple(headers.items()),
        body=body,
        allow_private=to.allow_private,
        ca_pem=to.ca_pem,
        timeout_s=TIMEOUT_S,
    )


def otlp(tenant: str, rows: Sequence[AuditRow]) -> bytes:
    """ExportLogsServiceRequest in OTLP's JSON (opentelemetry-proto 1.x, "JSON Protobuf Encoding")."""
    records = [_record(row) for row in rows]
    resource = {"attributes": [_attribute("service.name", "toolgate"), _attribute("toolgate.tenant", tenant)]}
    scoped = {"scope": {"name": "toolgate.audit"}, "logRecords": records}
    return msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [scoped]}]})


def _record(row: AuditRow) -> dict[str, object]:
    fine = row.type != "call" or row.outcome == "ok"
    attributes: dict[str, str | int] = {
        "toolgate.audit.seq": row.seq,
        "toolgate.audit.id": row.id,
        "toolgate.audit.type": row.type,
        "toolgate.audit.outcome": row.outcome,
        "toolgate.audit.caller": row.caller,
        "toolgate.audit.tool": row.tool,
        "toolgate.audit.hash": row.hash.hex(),
    }
    record: dict[str, object] = {
        "timeUnixNano": str(int(row.at_unix * 1_000_000) * 1_000),
        "severityNumber": _SEVERITY_INFO if fine else _SEVERITY_WARN,
        "severityText": "INFO" if fine else "WARN",
        "body": {"stringValue": msgspec.json.encode(row.detail, order="deterministic").decode()},
        "attributes": [_attribute(name, value) for name, value in attributes.items()],
    }
    trace = row.detail.get("trace_id")
    if isinstance(trace, str) and len(trace) == 32:
        record["traceId"] = trace
    return record


def _attribute(name: str, value: str | int) -> dict[str, object]:
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


class Places(Protocol):
    """How far each sink has come: kept with the rows themselves. Raises Rejected(UNAVAILABLE)."""

    async def claim(self, limit: int, lease_s: float) -> list[Place]:
        """Sinks with rows to send that no other replica is sending; they are the caller's for so long."""
        ...

    async def moved(self, place: Place, seq: int, *, next_s: float, failed: bool) -> None:
        """Rows up to `seq` have arrived; the next turn is in so long."""
        ...
