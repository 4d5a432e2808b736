"""A listening socket that holds so many connections at once: the HTTP server under the REST port counts none."""

import socket
from collections.abc import Callable

from core.bound import Bound

CONNECTIONS_MAX = 10_000
"""Most of them are idle, or of clients that left without saying so: those are held for the 30 seconds too."""


class Capped(socket.socket):
    """One more than `most` is hung up on at once, before a byte of it is read."""

    def __init__(self, listener: socket.socket, most: int = CONNECTIONS_MAX) -> None:
        """Takes the listener over."""
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self._most = most
        self._open = self._refused = 0

    @property
    def bound(self) -> Bound:
        return Bound(self._open, self._most, self._refused)

    def accept(self) -> "tuple[socket.socket, object]":
        """Raises ConnectionAbortedError for one too many: to whoever accepts, a client that left again."""
        connection, address = super().accept()
        if self._open >= self._most:
            self._refused += 1
            connection.close()
            raise ConnectionAbortedError
        self._open += 1
        return _Counted(connection, self._gone), address

    def _gone(self) -> None:
        self._open -= 1


class _Counted(socket.socket):
    """Says once that it is closed."""

    def __init__(self, accepted: socket.socket, closed: Callable[[], None]) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._said: Callable[[], None] | None = closed

    def close(self) -> None:
        said, self._said = self._said, None
        super().close()
        if said is not None:
            said()
