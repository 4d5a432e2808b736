"""Servers' questions to callers of the handshake era: requests on the call's stream, answered by POSTs of their own.

Such an answer arrives at any worker of any gateway; a question's id says which one waits for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from secrets import token_hex
from typing import Final

import msgspec

from core.bound import Bound, Shares
from core.bus import BusAway
from core.call import Inbound, Notification, Question, Reply
from core.errors import Reason, Unavailable
from core.mcp import rounds
from core.mcp.jsonrpc import Answer
from data_plane.fronts.mail import Answered, Ended, Mail, Told, mark

TTL_S: Final = 600.0
"""How long a question may stay open."""
CAP: Final = 5000
"""Open questions of one worker."""
SESSION_CAP: Final = 32
_SESSION_ENDED: Final = Reply(error=b'{"code":-1,"message":"the client ended its session"}')
_PARTS: Final = 2
_ID_CHARS: Final = 64
Say = Callable[[bytes], bool]
"""Sends a message to the client; False where there is no way to it any more. Never blocks, never raises."""


class BackChannel:
    """The open questions of one worker."""

    def __init__(self, mail: Mail, *, ttl_s: float = TTL_S, cap: int = CAP) -> None:
        self._mail = mail
        self._ttl_s = ttl_s
        self._cap = cap
        self._open: dict[str, tuple[bytes, asyncio.Future[Reply]]] = {}
        self._of: dict[bytes, int] = {}
        self._shares = Shares(cap)
        self._refused = 0
        self._elicited: OrderedDict[str, bytes] = OrderedDict()
        """Elicitation to the session that was sent to a page for it."""
        mail.read(Answered, self._delivered)
        mail.read(Ended, self._ended)

    @property
    def bound(self) -> Bound:
        return Bound(len(self._open), self._cap, self._refused)

    async def ask(self, inbound: Inbound, question: Question, say: Say) -> Reply:
        """As `core.call.Ask`, of a legacy request whose answer is a stream."""
        if not rounds.carried(inbound.revision, question):
            return rounds.NOT_CARRIED
        session = mark(inbound.session)
        if len(self._open) >= self._cap or self._of.get(session, 0) >= SESSION_CAP:
            self._refused += 1
            raise Unavailable(Reason.OVERLOADED, "Too many questions wait for answers.", retry_after_s=5)
        principal = inbound.principal
        if self._shares.full(principal):
            self._refused += 1
            raise Unavailable(Reason.OVERLOADED, "Too many questions wait for this caller's answers.", retry_after_s=5)
        question = rounds.for_legacy(question, inbound.revision, token_hex(16))
        elicitation = rounds.elicitation_id(question)
        if elicitation:
            self._elicited[elicitation] = session
            if len(self._elicited) > self._cap:
                self._elicited.popitem(last=False)
        name = f"{self._mail.here}-{token_hex(16)}"
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[name] = session, answer
        self._of[session] = self._of.get(session, 0) + 1
        self._shares.take(principal)
        try:
            if not say(rounds.as_request(name, question)):
                raise Unavailable(Reason.UPSTREAM_TIMEOUT, "The client cannot be reached any more.")
            async with asyncio.timeout(self._ttl_s):
                return await answer
        except TimeoutError:
            say(rounds.taken_back(name, "nobody answered in time"))
            raise Unavailable(Reason.UPSTREAM_TIMEOUT, "Nobody answered the server's question.") from None
        except asyncio.CancelledError:
            say(rounds.taken_back(name, "no longer needed"))
            raise
        finally:
            self._close(name, session)
            self._shares.give(principal)

    async def answered(self, session: bytes, answer: Answer) -> None:
        """A client's answer. `session`: proven. What nobody waits for is nobody's.

        Raises Unavailable where it cannot be handed over now: the client may send it again.
        """
        name = msgspec.json.decode(answer.id)
        if not isinstance(name, str) or len(name) > _ID_CHARS or not name.isascii():
            return
        parts = name.split("-")
        if len(parts) == _PARTS and all(part.isalnum() for part in parts):
            try:
                await self._mail.send(Answered(name, mark(session), answer.result, answer.error), to=parts[0])
            except BusAway as away:
                text = "the answer cannot be handed over now; send it again"
                raise Unavailable(Reason.OVERLOADED, text, detail=str(away), retry_after_s=1) from away

    def elicited(self, notification: Notification) -> None:
        """That an elicitation is complete, after its call: told on the session's own stream, wherever that is."""
        session = self._elicited.pop(rounds.elicitation_id(notification), None)
        if session is not None:
            self._mail.post(Told(session, notification.method, notification.params))

    def end(self, session: bytes) -> None:
        """The client ended its session: what it was asked, wherever that waits, gets no answer any more."""
        self._mail.post(Ended(mark(session)))

    def _ended(self, letter: Ended) -> None:
        if letter.session not in self._of:
            return
        for session, answer in self._open.values():
            if session == letter.session and not answer.done():
                answer.set_result(_SESSION_ENDED)

    def _delivered(self, letter: Answered) -> None:
        session, answer = self._open.get(letter.question, (b"", None))
        if answer is not None and session == letter.session and not answer.done():
            answer.set_result(Reply(result=letter.result, error=letter.error))

    def _close(self, name: str, session: bytes) -> None:
        del self._open[name]
        left = self._of.pop(session) - 1
        if left:
            self._of[session] = left
