"""Log lines of calls, one JSON object each, from their records."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from core.bound import Bound
from core.call import Record
from core.guard import Finding

UNWRITTEN_MAX_BYTES = 8 * 1024 * 1024
"""Lines of calls waiting for a slow reader; beyond it lines are dropped and counted. The records are not."""
_encode = msgspec.json.Encoder().encode


class CallLine(msgspec.Struct, omit_defaults=True):
    """A call as the log shows it: no arguments, no results."""

    time: str
    logger: str
    id: str
    node: str = ""
    tenant: str = ""
    endpoint: str = ""
    transport: str = ""
    era: str = ""
    method: str = ""
    tool: str = ""
    server: str = ""
    user: str = ""
    agent: str = ""
    credential: str = ""
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    detail: str = ""
    generation: int = 0
    findings: list[str] = []
    """`detector:action:direction:count`"""
    bytes_in: int = 0
    bytes_out: int = 0
    duration_ms: float = 0.0
    upstream_ms: float = 0.0
    trace_id: str = ""
    span_id: str = ""
    client_address: str = ""
    chain: tuple[str, ...] = ()


def _findings(found: tuple[Finding, ...]) -> list[str]:
    return [f"{f.detector}:{f.action}:{f.direction}:{f.count}" + (f":{f.note}" if f.note else "") for f in found]


def call_line(record: Record) -> bytes:
    """The line, with its end."""
    # By position, since this is done per call: so many names would make a dict first.
    line = CallLine(
        _time(record.at_unix),
        "toolgate.call",
        record.id,
        record.node,
        record.tenant,
        record.endpoint,
        record.transport,
        record.era,
        record.method,
        record.tool,
        record.server,
        record.user,
        record.agent,
        record.credential,
        record.outcome,
        record.reasons,
        record.detail,
        record.generation,
        _findings(record.findings) if record.findings else [],
        record.bytes_in,
        record.bytes_out,
        record.duration_us / 1000,
        record.upstream_us / 1000,
        record.trace_id,
        record.span_id,
        record.client_address,
        record.chain,
    )
    return _encode(line) + b"\n"


class CallLog:
    """Writes lines to a file descriptor without ever waiting for whoever reads it."""

    def __init__(self, target: str) -> None:
        """`target`: "stdout", "off", or a path to append to. Raises OSError."""
        self._lines: list[bytes] = []
        self._size = 0
        self.dropped = 0
        self._off = target == "off"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = (
            os.dup(sys.stdout.fileno()) if target == "stdout" else -1 if self._off else os.open(target, flags, 0o640)
        )
        self._more = asyncio.Event()

    @property
    def bound(self) -> Bound:
        return Bound(self._size, UNWRITTEN_MAX_BYTES, self.dropped)

    def add(self, record: Record) -> None:
        if self._off:
            return
        if self._size > UNWRITTEN_MAX_BYTES:
            self.dropped += 1
            return
        line = call_line(record)
        self._lines.append(line)
        self._size += len(line)
        self._more.set()

    async def run(self) -> None:
        """Write for ever, in a thread, one write at a time."""
        while True:
            await self._more.wait()
            await self.flush()

    async def flush(self) -> None:
        self._more.clear()
        data, self._lines, self._size = b"".join(self._lines), [], 0
        if data:
            await asyncio.to_thread(_write, self._fd, data)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        # Nobody reads the log any more; the records are kept elsewhere.
        return


def _time(unix: float) -> str:
    """RFC 3339 with milliseconds, UTC."""
    second = int(unix)
    return _second(second) + _MILLISECOND[int((unix - second) * 1000)]


_MILLISECOND = tuple(f".{ms:03d}+00:00" for ms in range(1000))


@lru_cache(maxsize=8)
def _second(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S")
