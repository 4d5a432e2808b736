"""A worker's last moments towards its clients: every answer says that the connection ends with it.

A connection that is closed between two requests races with the next one, and whoever sent it cannot know whether it
was carried out. So a worker that drains first closes connections by answering on them, for as long as requests come,
and only then those that are silent.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sized

from data_plane.fronts.asgi import Event, Receive, Scope, Send
from data_plane.fronts.server import CONNECTION, Connection, Served

QUIET_S = 0.25
"""No request for so long: who has not sent one by now is idle."""
LINGER_S = 2.0
_CLOSE = (b"connection", b"close")


class Leaving:
    """The application as the server sees it. `Served`."""

    def __init__(self, app: Served, *abandons: Callable[[], None]) -> None:
        """`abandons`: called, besides the application's own, when the time to drain is over."""
        self._app = app
        self._abandons = (app.abandon, *abandons)
        self._leaving = False
        self._asked = 0
        self._connections: Sized | None = None

    @property
    def connections(self) -> int:
        """Open now, as far as any of them has ever asked for something."""
        return len(self._connections) if self._connections is not None else 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[object, object, None]:
        self._asked += 1
        if self._connections is None:
            connection = scope.get(CONNECTION)
            if isinstance(connection, Connection):
                self._connections = connection.connections
        return self._last(scope, receive, send) if self._leaving else self._app(scope, receive, send)

    def abandon(self) -> None:
        for abandon in self._abandons:
            abandon()

    async def linger(self) -> None:
        """From now on every answer is a connection's last; returns once nothing is asked any more, or soon."""
        self._leaving = True
        loop = asyncio.get_running_loop()
        until = loop.time() + LINGER_S
        asked = -1
        while asked != self._asked and loop.time() < until:
            asked = self._asked
            await asyncio.sleep(QUIET_S)

    async def _last(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get(CONNECTION)
        if isinstance(connection, Connection):
            # Answers in one write go by this; streams by the header.
            connection.cycle.keep_alive = False

        async def closing(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = event["headers"]
                assert isinstance(headers, (list, tuple))
                event["headers"] = [*headers, _CLOSE]
            await send(event)

        await self._app(scope, receive, closing)
