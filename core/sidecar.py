"""Where a tenant's OPA listens: on a gateway's own machine, and nowhere else."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

TENANT: Final = "{tenant}"
"""In a socket's path: the tenant's name."""
RULE: Final = "must be unix:///path/{tenant}.sock or http://127.0.0.1:port"

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Place(NamedTuple):
    """A Unix socket's path, or a port of this machine's."""

    path: str = ""
    host: str = ""
    port: int = 0


def place(address: str, tenant: str) -> Place:
    """Raises ValueError."""
    try:
        parts = urlsplit(address.replace(TENANT, tenant))
        port = parts.port
    except ValueError:
        raise ValueError(RULE) from None
    if not parts.query and not parts.fragment:
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            return Place(path=parts.path)
        if parts.scheme == "http" and parts.hostname in _LOOPBACK and port and parts.path in ("", "/"):
            return Place(host=parts.hostname or "", port=port)
    raise ValueError(RULE)
