"""What a gateway's token, or its certificate, lets it be."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import msgspec

ANY_NODE = "*"
NODES_MAX = 64
TENANTS_MAX = 1000


class NodeToken(msgspec.Struct, frozen=True, kw_only=True):
    """Kept beside the token's hash. One for a certificate is made on the spot, and bound to the name in it."""

    name: str
    """Of the token, for people and the audit log."""
    nodes: tuple[str, ...] = (ANY_NODE,)
    """Globs over the names a node may have."""
    tenants: tuple[str, ...] = ()
    """Those it may serve and report of; none: all."""
    expires_unix: float | None = None
    issued_unix: float = 0.0
    revoked: bool = False

    def problems(self, node: str, tenants: Sequence[str]) -> Iterator[str]:
        """Why a node of that name, that asks for those tenants (none: whatever it may have), is not let in."""
        if not self.admits(node):
            yield f"hello.node is {node}, and this credential is for {', '.join(self.nodes)}"
        beyond = sorted(set(tenants) - set(self.tenants)) if self.tenants else []
        if beyond:
            shown = ", ".join(beyond[:10])
            yield f"hello.tenants names {shown}, and this credential is for {', '.join(self.tenants)} only"

    def admits(self, node: str) -> bool:
        return any(fnmatchcase(node, glob) for glob in self.nodes)

    def covers(self, tenant: str) -> bool:
        return not self.tenants or tenant in self.tenants

    def expired(self, now_unix: float) -> bool:
        return self.expires_unix is not None and self.expires_unix <= now_unix


def exactly(name: str) -> str:
    """The glob that matches this name and no other."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
