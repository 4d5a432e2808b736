"""Where a server on the network is, worked out once: its address, its own headers, what it must prove."""

import asyncio
import ssl

from core.server import Remote
from data_plane.upstreams.target import target_of, tls_context


class Place:
    """Of one transport. Raises Unavailable for a URL that cannot be used."""

    def __init__(self, transport: Remote) -> None:
        self.transport = transport
        self.target = target_of(transport.url)
        self.plain = tuple(
            (k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in transport.headers.items()
        )
        self._tls: ssl.SSLContext | None = None

    async def tls(self) -> ssl.SSLContext | None:
        """None: not secure. Raises Unavailable."""
        if self.target.secure and self._tls is None:
            # Reading the system's certificates takes tens of milliseconds: not on the loop.
            loop = asyncio.get_running_loop()
            self._tls = await loop.run_in_executor(None, tls_context, self.transport)
        return self._tls
