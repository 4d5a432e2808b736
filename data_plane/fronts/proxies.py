"""Requests that trusted proxies hand on, as their clients' own: the application behind sees the client's address, and
the certificate it showed.
"""

from core.forwarded import Proxies
from core.forwarded_certificate import HEADER, certificate
from data_plane.fronts.asgi import SHOWN, Receive, Scope, Send
from data_plane.fronts.heads import raw
from data_plane.fronts.server import Served


class BehindProxies:
    """A Served. Stands before the application only where proxies are trusted."""

    def __init__(self, app: Served, proxies: Proxies, certifying: Proxies | None = None) -> None:
        """`certifying`: those whose word on clients' certificates counts; None: nobody's."""
        self._app = app
        self._proxies = proxies
        self._certifying = certifying
        self._header = proxies.header.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if isinstance(client, tuple) and "headers" in scope:
            if self._certifying is not None and self._certifying.trusts(str(client[0])):
                self._certified(scope)
            elif SHOWN in scope and self._proxies.trusts(str(client[0])):
                del scope[SHOWN]  # The proxy's own, which speaks for none of its clients.
            said = [value.decode("latin-1") for name, value in raw(scope) if name == self._header]
            if said:
                scope["client"] = (self._proxies.client(str(client[0]), said), client[1])
        await self._app(scope, receive, send)

    def _certified(self, scope: Scope) -> None:
        """Of such a proxy the client's certificate counts, and never its own."""
        told = [value.decode("latin-1") for name, value in raw(scope) if name == HEADER]
        found = certificate(told) if told else None
        if found is not None:
            scope[SHOWN] = found
        else:
            scope.pop(SHOWN, None)

    def abandon(self) -> None:
        self._app.abandon()
