"""Where a path leads: a tenant's endpoint or one of its servers, and the transport that is spoken there."""

from functools import lru_cache
from typing import Final

import msgspec

from core.resource import NAME

LEAVES: Final = frozenset(
    {"mcp", "sse", "messages", "ws", "rpc", "rpc/batch", "rpc/introspection", "status", "capabilities"}
)
"""What may follow the prefix of an endpoint, or of a server of it."""


class Address(msgspec.Struct, frozen=True):
    """`tenant` None: the credential's own. `server` empty: all of the endpoint's."""

    tenant: str | None
    endpoint: str
    server: str = ""
    leaf: str = "mcp"

    @property
    def prefix(self) -> str:
        """Of all paths beside this one, without a slash at its end."""
        place = f"/{self.tenant}/{self.endpoint}" if self.tenant is not None else ""
        return f"{place}/servers/{self.server}" if self.server else place


@lru_cache(maxsize=8192)
def address(path: str) -> Address | None:
    """`[/{tenant}/{endpoint}][/servers/{server}]/{leaf}`; None for any other path."""
    parts = path.split("/")
    if parts[0] or len(parts) < 2:
        return None
    parts = parts[1:]
    leaf = "/".join(parts[-2:]) if "/".join(parts[-2:]) in LEAVES else parts[-1]
    if leaf not in LEAVES:
        return None
    place = parts[: -1 - leaf.count("/")]
    server = ""
    if len(place) in (2, 4) and place[-2] == "servers":
        server, place = place[-1], place[:-2]
        if not NAME.fullmatch(server):
            return None
    if not place:
        return Address(None, "default", server, leaf)
    if len(place) != 2 or not all(NAME.fullmatch(part) for part in place):
        return None
    return Address(place[0], place[1], server, leaf)
