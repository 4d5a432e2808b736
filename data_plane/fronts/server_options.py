"""What the HTTP server allows its clients."""

import msgspec


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how much a client may take."""

    max_connections: int = 10_000
    keep_alive_s: float = 75.0
    """How long a connection may sit between requests; longer than most load balancers hold theirs."""
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    write_timeout_s: float = 30.0
    """How long a client may refuse to read what was written for it."""
    max_head_bytes: int = 32 * 1024
    max_headers: int = 100
    max_discarded_bytes: int = 64 * 1024 * 1024
    """Of a body that was refused: read and thrown away, so that the client sees the answer and may go on."""
    backlog: int = 2048
    drain_s: float = 20.0
