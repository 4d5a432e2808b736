"""Request bodies on their way in: each up to a cap, and large ones together up to another."""

from typing import Final

from core.bound import Bound
from core.mcp.errors import Rejected
from core.mcp.headers import Head
from data_plane.fronts.asgi import Receive, Scope
from data_plane.fronts.server import CONNECTION, Connection

SMALL: Final = 64 * 1024
"""What is up to here comes in one or two reads, and is not counted against the budget."""


class Bodies:
    """Of one worker."""

    def __init__(self, most_bytes: int, most_buffered_bytes: int) -> None:
        """`most_buffered_bytes`: of large bodies being read, all together."""
        self.most_bytes = most_bytes
        self._most_buffered = most_buffered_bytes
        self._buffered = self._too_many = 0

    @property
    def bound(self) -> Bound:
        return Bound(self._buffered, self._most_buffered, self._too_many)

    async def read(self, scope: Scope, receive: Receive, head: Head) -> bytes | None:
        """The whole body; None if the client left before it was complete. Raises Rejected (413, 503)."""
        connection = scope.get(CONNECTION)
        body = connection.whole_body(self.most_bytes) if isinstance(connection, Connection) else None
        return await self._received(receive, head) if body is None else body

    def take(self, size: int) -> bool:
        """Counts that many bytes more as being read; False, and counted as refused, where that is too much."""
        if self._buffered + size > self._most_buffered:
            self._too_many += 1
            return False
        self._buffered += size
        return True

    def give_back(self, size: int) -> None:
        self._buffered -= size

    async def _received(self, receive: Receive, head: Head) -> bytes | None:
        length = head.values.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > self.most_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size = counted = 0
        try:
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    return None
                part = event.get("body", b"")
                assert isinstance(part, bytes)
                size += len(part)
                if size > self.most_bytes:
                    raise self._too_large()
                parts.append(part)
                if not event.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
                if size > SMALL:
                    if not self.take(size - counted):
                        raise Rejected(503, 503, "the gateway is busy with large requests; try again")
                    counted = size
        finally:
            self.give_back(counted)

    def _too_large(self) -> Rejected:
        return Rejected(413, 413, f"the body is larger than {self.most_bytes} bytes")
