"""Every way to servers on the network, for the composition roots: one thing to close, to retire from, to count."""

from core.bound import Bound
from core.oauth_client import Prover
from core.server import HttpTransport, SseTransport, WebSocketTransport
from data_plane.upstreams import sse_channel, websocket
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.channels import ChannelBackend
from data_plane.upstreams.mcp_http import HttpBackend, Stale


class Network:
    """Belongs to one loop; `close` it there."""

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        stale: Stale = lambda *_: None,
        prover: Prover | None = None,
    ) -> None:
        """`stale`, `prover`: see `HttpBackend`."""
        self._resolver = resolver or Resolver()
        self.http = HttpBackend(resolver=self._resolver, stale=stale, prover=prover)
        self._channels: dict[type, ChannelBackend] = {
            SseTransport: ChannelBackend(SseTransport, sse_channel.connect, modern=False, resolver=self._resolver),
            WebSocketTransport: ChannelBackend(
                WebSocketTransport, websocket.connect, modern=True, resolver=self._resolver
            ),
        }

    def backends(self) -> dict[type, HttpBackend | ChannelBackend]:
        """By the transport's Struct: each a ToolBackend, Watchable and Respondent."""
        return {HttpTransport: self.http, **self._channels}

    def retire(self, tenant: str, server: str) -> None:
        """The server is gone or its settings changed: calls under way finish, nothing else is kept."""
        for backend in self.backends().values():
            backend.retire(tenant, server)

    def bounds(self) -> dict[str, Bound]:
        channels = [backend.bound for backend in self._channels.values()]
        held, cap, hits = (sum(column) for column in zip(*((b.held, b.cap, b.hits) for b in channels), strict=True))
        return {**self.http.bounds(), "upstream_channels": Bound(held, cap, hits)}

    async def close(self) -> None:
        """Calls under way fail."""
        for backend in self.backends().values():
            await backend.close()
