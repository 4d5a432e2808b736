"""What a server of the handshake era says about a call beside the call's own stream: on the GET stream of its session.

Many servers ask there, because that is what their SDK does unless told which call it is about. Where no caller can be
asked, one that asks all the same is told so at once: nobody listening, it would wait until the call's time is over.
"""

import asyncio
from contextlib import suppress

from core.call import Route
from core.errors import Unavailable
from core.mcp.notifications import ELICITED
from data_plane.upstreams import declared, jsonrpc
from data_plane.upstreams.errands import Errands
from data_plane.upstreams.jsonrpc import Message
from data_plane.upstreams.listening import Following
from data_plane.upstreams.questions import attribute, withdrawn_id
from data_plane.upstreams.sessions import Session, tell

_WAIT_S = 1.0
"""A server that has such a stream opens it at once; a call waits for it no longer than this."""
_REFUSING_WAIT_S = 0.25
"""The same where nobody can be asked: only what must not be asked comes there."""
_AGAIN_S, _LONGEST_S = 1.0, 60.0


async def listen(session: Session, route: Route, errands: Errands) -> "Beside | None":
    """None: the server has no such stream. Never raises Unavailable: calls go on without."""
    beside = Beside(session, route, errands)
    try:
        async with asyncio.timeout(_WAIT_S if session.askable else _REFUSING_WAIT_S):
            await beside.settled.wait()
    except TimeoutError:
        return beside  # Some say nothing, not even that they will, until they have something to say.
    except asyncio.CancelledError:
        beside.close()
        raise
    return beside if beside.open else None


class Beside:
    """Of one session. `close` it with the session."""

    def __init__(self, session: Session, route: Route, errands: Errands) -> None:
        self.open = False
        self.settled = asyncio.Event()
        """It is known whether the server has such a stream."""
        self._session = session
        self._errands = errands
        self._following = Following(session, route, self._hear)
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def connected(self) -> bool:
        return self._following.connected

    def close(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        try:
            self.open = await self._reopened()
            self.settled.set()
            if self.open:
                await self._follow()
        finally:
            self._following.close()

    async def _follow(self) -> None:
        """What was said while there was no stream is lost; the session goes on."""
        loop, pause_s = asyncio.get_running_loop(), _AGAIN_S
        while True:
            opened_at = loop.time()
            with suppress(Unavailable, TimeoutError):
                await self._following.lost()
            brief = loop.time() - opened_at < pause_s
            pause_s = min(pause_s * 2, _LONGEST_S) if brief else _AGAIN_S
            await asyncio.sleep(pause_s)
            while not await self._reopened():
                pause_s = min(pause_s * 2, _LONGEST_S)
                await asyncio.sleep(pause_s)

    async def _reopened(self) -> bool:
        try:
            await self._following.open()
        except (Unavailable, TimeoutError):
            return False
        return True

    def _hear(self, message: Message) -> None:
        """Raises NotMcpError."""
        calls = self._session.calls
        if message.method == "notifications/progress":
            token = bytes(jsonrpc.members(message.params).get("progressToken", b""))
            about = calls.get(int(token)) if token.isdigit() and len(token) < 20 else None
            if about is not None:
                about.note(message)
        elif message.method == "notifications/message":
            if len(calls) == 1:
                next(iter(calls.values())).note(message)
        elif message.method == ELICITED:
            self._session.elicited.complete(message)
        elif message.method == "notifications/cancelled":
            if withdrawn_id(message) is not None:
                for call in calls.values():
                    call.hear(message)
        elif message.id is not None:
            self._asked(message)

    def _asked(self, message: Message) -> None:
        if message.method in declared.QUESTIONS:
            refused = attribute(message, list(self._session.calls.values()))
        else:
            refused = jsonrpc.reply_to(message)
        if refused:
            tell(self._session, refused, self._errands)
