"""Servers' questions to the client at the other end of a connection: put as requests, answered by id."""

import asyncio
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from core.call import Inbound, Question, Reply
from core.errors import Reason, Unavailable
from core.mcp import jsonrpc, rounds
from core.mcp.jsonrpc import Answer

MAX_QUESTIONS: Final = 32
"""Waiting for one client at once."""
ANSWER_WITHIN_S: Final = 600.0


class Asking:
    """Of one connection."""

    def __init__(self, say: Callable[[bytes], None]) -> None:
        """`say`: sends a message; neither blocks nor raises."""
        self._say = say
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}
        self._asked = 0

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, inbound: Inbound, question: Question) -> Reply:
        """As `core.call.Ask`, of a legacy request. Raises Unavailable (OVERLOADED, UPSTREAM_TIMEOUT)."""
        if not rounds.carried(inbound.revision, question):
            return rounds.NOT_CARRIED
        if len(self._waiting) >= MAX_QUESTIONS:
            raise Unavailable(Reason.OVERLOADED, "The client has too many questions to answer.", retry_after_s=1)
        question = rounds.for_legacy(question, inbound.revision, token_hex(16))
        self._asked += 1
        name = f"ask-{self._asked}"
        id_ = b'"%b"' % name.encode()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = answer
        self._say(rounds.as_request(name, question))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await answer
        except TimeoutError:
            self._say(rounds.taken_back(name, "nobody answered in time"))
            raise Unavailable(Reason.UPSTREAM_TIMEOUT, "The client did not answer what the server asked.") from None
        except asyncio.CancelledError:
            self._say(rounds.taken_back(name, "no longer needed"))
            raise
        finally:
            del self._waiting[id_]

    def answered(self, answer: Answer) -> None:
        """An answer to nothing that was asked, or was taken back, is nobody's."""
        waiting = self._waiting.get(jsonrpc.canonical_id(answer.id))
        if waiting is not None and not waiting.done():
            waiting.set_result(Reply(answer.result, answer.error))

    def close(self) -> None:
        """Nothing is said any more. It leads back to whose it is, in a ring that only the collector could free."""
        self._say = lambda _: None
