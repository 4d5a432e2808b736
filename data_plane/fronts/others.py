"""All transports towards agents but Streamable HTTP and gRPC: on the same port, with one set of conversations."""

from collections.abc import Mapping

from core.bound import Bound
from core.bus import Bus
from data_plane.fronts.bodies import Bodies
from data_plane.fronts.http_sse import HttpSse, Knock
from data_plane.fronts.refusing import Prove
from data_plane.fronts.reply import Handle
from data_plane.fronts.rpc import PAGES, Rpc
from data_plane.fronts.streamable_http import Elsewhere
from data_plane.fronts.talks import Talks
from data_plane.fronts.websocket import WebSockets
from data_plane.streams import Streams


class Others:
    """One per worker. `listen` before use, `close` at the end."""

    def __init__(
        self,
        handle: Handle,
        knock: Knock,
        streams: Streams,
        bus: Bus,
        bodies: Bodies,
        *,
        prove: Prove,
        version: str,
        quiet_s: float = 15.0,
    ) -> None:
        self._talks = Talks(handle, streams, version=version, max_bytes=bodies.most_bytes, quiet_s=quiet_s)
        self._rpc = Rpc(self._talks, bodies, prove)
        self._http_sse = HttpSse(self._talks, knock, bodies, bus)
        self.served: Mapping[str, Elsewhere] = {
            "sse": self._http_sse.stream,
            "messages": self._http_sse.message,
            "ws": WebSockets(self._talks, bodies),
            "rpc": self._rpc.one,
            "rpc/batch": self._rpc.batch,
            **dict.fromkeys(PAGES, self._rpc.look),
        }
        """By the last part of the path."""

    def bounds(self) -> dict[str, Bound]:
        return {**self._talks.bounds(), **self._http_sse.bounds()}

    @property
    def in_flight(self) -> int:
        """Requests in the pipeline now."""
        return self._talks.in_flight + self._rpc.in_flight

    async def listen(self) -> None:
        """Hear of other workers. Raises BusAway."""
        await self._http_sse.listen()

    def depart(self) -> None:
        """The worker is leaving: all finish what is under way, and go."""
        self._talks.depart()

    def abandon(self) -> None:
        """The time to finish is over."""
        self._talks.abandon()
        self._rpc.abandon()

    async def close(self) -> None:
        await self._http_sse.close()
