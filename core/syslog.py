"""Audit rows as syslog messages (RFC 5424), and how a stream of them is cut into messages (RFC 5425, section 4.3)."""

from datetime import UTC, datetime

from core.admin import AuditRow

FACILITY: int = 13
"""Log audit (RFC 5424, section 6.2.1)."""
_INFO, _WARNING = 6, 4
_SEQUENCE_MAX = 2**31 - 1
UDP_MAX_BYTES = 32 * 1024
"""Longer ones are cut: a datagram holds no more than 64 KiB, and receivers take less (RFC 5426, section 3.2)."""


def message(tenant: str, row: AuditRow, line: bytes, *, facility: int = FACILITY) -> bytes:
    """`line`: what is said of the row, without a line's end.

    PROCID is the tenant, MSGID the row's type. Without a byte order mark: what parses JSON or CEF behind the header
    seldom expects one, and the specification lets it be left out (section 6.4, MSG-ANY).
    """
    priority = facility * 8 + (_INFO if row.type != "call" or row.outcome == "ok" else _WARNING)
    at = datetime.fromtimestamp(row.at_unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sequence = (row.seq - 1) % _SEQUENCE_MAX + 1
    head = (
        f'<{priority}>1 {at} - toolgate {tenant} {row.type} [meta sequenceId="{sequence}"][origin software="toolgate"]'
    )
    return head.encode() + b" " + line


def framed(messages: list[bytes]) -> bytes:
    """With each one's length before it: octet counting."""
    return b"".join(b"%d %b" % (len(one), one) for one in messages)


def datagram(one: bytes) -> bytes:
    """What fits of a message, cut between characters."""
    if len(one) <= UDP_MAX_BYTES:
        return one
    return one[:UDP_MAX_BYTES].decode("utf-8", "ignore").encode()
