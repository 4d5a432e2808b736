"""The protocol revisions served, and how a conversation settles on one."""

import msgspec

MODERN = ("2026-07-28",)
"""Revisions whose requests carry their own context: no handshake, no session. Newest first."""

LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Revisions that begin with `initialize`. Newest first."""

BATCHES = "2025-03-26"
"""The one revision in which several messages may come as one."""

SUPPORTED = MODERN + LEGACY

META_PREFIX = "io.modelcontextprotocol/"
"""Keys of `_meta` that begin with this belong to the protocol."""


def negotiate(requested: str) -> str:
    """The revision an `initialize` is answered with: the requested one if served, else the newest legacy one."""
    return requested if requested in LEGACY else LEGACY[0]


def unsupported(requested: str) -> bytes:
    """`data` of the -32022 error: what is served, and what was asked for."""
    return msgspec.json.encode({"supported": SUPPORTED, "requested": requested})
