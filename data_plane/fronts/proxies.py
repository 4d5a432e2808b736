"""Requests that trusted proxies hand on, as their clients' own: the application behind sees the client's address."""

from core.forwarded import Proxies
from data_plane.fronts.asgi import Receive, Scope, Send
from data_plane.fronts.heads import raw
from data_plane.fronts.server import Served


class BehindProxies:
    """A Served. Stands before the application only where proxies are trusted."""

    def __init__(self, app: Served, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies
        self._header = proxies.header.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if isinstance(client, tuple) and "headers" in scope:
            said = [value.decode("latin-1") for name, value in raw(scope) if name == self._header]
            if said:
                scope["client"] = (self._proxies.client(str(client[0]), said), client[1])
        await self._app(scope, receive, send)

    def abandon(self) -> None:
        self._app.abandon()
