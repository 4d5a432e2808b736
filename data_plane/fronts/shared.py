"""What the Streamable HTTP front of one worker has besides the pipeline: its streams, and its way to other workers."""

from collections.abc import Awaitable, Callable

from core.bound import Bound
from core.bus import Bus, EventLog
from core.call import Inbound, Result
from core.errors import Reason, Unavailable
from data_plane.fronts.back_channel import BackChannel
from data_plane.fronts.event_stream import OpenStreams
from data_plane.fronts.mail import Mail
from data_plane.fronts.standing import LINGER_S, Standing
from data_plane.fronts.trails import Trails
from data_plane.sessions import SessionNotes
from data_plane.streams import Streams


class Shared:
    """`open` before use, `close` at the end."""

    def __init__(
        self,
        handle: Callable[[Inbound], Awaitable[Result]],
        streams: Streams,
        sessions: SessionNotes,
        bus: Bus,
        events: EventLog,
        *,
        quiet_s: float = 15.0,
        linger_s: float = LINGER_S,
    ) -> None:
        """`quiet_s`: how long a stream may be silent; `linger_s`: how long a client may take to come back."""
        self.streams = streams
        self.mail = Mail(bus)
        self.opened = OpenStreams(quiet_s)
        self.trails = Trails(events, self.mail)
        self.back_channel = BackChannel(self.mail)
        self.standing = Standing(handle, streams, self.opened, self.trails, sessions, self.mail, linger_s=linger_s)
        self._leaving = False

    def bounds(self) -> dict[str, Bound]:
        return {
            "questions": self.back_channel.bound,
            "resumable_streams": self.trails.bound,
            "lingering_streams": self.standing.bound,
            "letters": self.mail.bound,
        }

    async def open(self) -> None:
        """Raises BusAway."""
        await self.mail.open()

    async def close(self) -> None:
        self.standing.close()
        await self.mail.close()

    def depart(self) -> None:
        """The worker is leaving: streams end, each in its own way, and there are no new ones."""
        self._leaving = True
        self.opened.end_all()

    def staying(self) -> None:
        """Raises Unavailable where there is no time for a new stream any more."""
        if self._leaving:
            raise Unavailable(Reason.OVERLOADED, "the gateway is shutting down; try again", retry_after_s=1)
