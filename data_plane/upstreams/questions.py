"""What a server of the handshake era asks while a call runs: each put to the caller, answered under the server's id."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, cast

from core.call import Ask, Notification, Notify, Question, Reply
from core.errors import Unavailable
from core.mcp.errors import INTERNAL_ERROR
from core.mcp.notifications import ELICITED
from data_plane.upstreams import declared, jsonrpc
from data_plane.upstreams.declared import Declared, Refusal
from data_plane.upstreams.jsonrpc import Message, NotMcpError

_AT_ONCE = 32
"""Questions of one call that are open together."""
_ELICITED = 256
"""Of one session or channel; the oldest are forgotten."""
_IN_ALL = 256
"""Of one call: a server that asks without end is not asking."""
_ANSWER_S = 3600.0
"""The caller's own time limit is far shorter: this bounds an `ask` that has none."""

_WHOSE_IS_IT: Final = Refusal(INTERNAL_ERROR, "it cannot be told which of the calls under way this is about")

Send = Callable[[bytes], None]
"""Writes a message to the server; never blocks, never raises."""
Id = int | str | float | None


class Clock(Protocol):
    """A call's deadline, which does not run while the caller thinks."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Elicited:
    """Whom a server sent to a page: told when it says that they are done there, which may be after their call."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Notify] = OrderedDict()

    def put(self, message: Message, notify: Notify) -> None:
        """A question that is put to a caller. Raises NotMcpError."""
        found = jsonrpc.members(message.params or b"{}").get("elicitationId", b"")
        name = jsonrpc.scalar(found) if found else None
        if isinstance(name, str):
            self._of[name] = notify
            if len(self._of) > _ELICITED:
                self._of.popitem(last=False)

    def complete(self, message: Message) -> None:
        """`notifications/elicitation/complete`. Raises NotMcpError."""
        found = jsonrpc.members(message.params or b"{}").get("elicitationId", b"")
        name = jsonrpc.scalar(found) if found else None
        notify = self._of.pop(name, None) if isinstance(name, str) else None
        if notify is not None:
            notify(Notification(ELICITED, bytes(message.params)))


class Questions:
    """Of one call. `close` it when the call ends: open questions are taken back, and the server told so."""

    def __init__(  # noqa: PLR0917 - what a call has.
        self,
        ask: Ask,
        said: Declared,
        send: Send,
        clock: Clock,
        broken: Callable[[BaseException], None],
        asked: Callable[[Message], None] = lambda _: None,
    ) -> None:
        """`broken` hears of an `ask` that fails as no `ask` may; `asked` of each question that is put."""
        self._ask = ask
        self._said = said
        self._send = send
        self._clock = clock
        self._broken = broken
        self._open: dict[Id, asyncio.Task[None]] = {}
        self._asked = 0
        self._is_asked = asked

    def __len__(self) -> int:
        return len(self._open)

    def heard(self, message: Message) -> None:
        """A request of the server's."""
        method, asked = message.method or "", bytes(message.params)
        refused = refused_at_once(message, self._said)
        self._asked += 1
        if refused is None and (message.id in self._open or len(self._open) >= _AT_ONCE or self._asked > _IN_ALL):
            refused = Refusal(INTERNAL_ERROR, "too many questions were asked, or one of this id is open")
        if refused is not None:
            self._send(error_to(message.id, refused))
            return
        self._is_asked(message)
        question = Question(cast("Literal['roots/list']", method), asked or b"{}")
        task = asyncio.get_running_loop().create_task(self._put(message.id, question))
        self._open[message.id] = task
        task.add_done_callback(lambda done: self._answered(message.id, done))

    def withdrawn(self, request_id: Id) -> bool:
        """The server does not want to know any more. False: it was not asked here."""
        task = self._open.pop(request_id, None)
        if task is not None:
            task.cancel()
        return task is not None

    async def close(self) -> None:
        """Returns once nobody is being asked."""
        open_, self._open = self._open, {}
        for request_id, task in open_.items():
            if task.cancel():
                self._send(error_to(request_id, Refusal(INTERNAL_ERROR, "the caller went away")))
        await asyncio.gather(*open_.values(), return_exceptions=True)

    async def _put(self, request_id: Id, question: Question) -> None:
        self._clock.pause()
        try:
            async with asyncio.timeout(_ANSWER_S):
                reply = await self._ask(question)
        except (Unavailable, TimeoutError):
            reply = unanswered(question.method)
        finally:
            self._clock.resume()
        self._send(reply_to(request_id, reply))

    def _answered(self, request_id: Id, done: asyncio.Task[None]) -> None:
        if self._open.get(request_id) is done:
            del self._open[request_id]
        failure = None if done.cancelled() else done.exception()
        if failure is not None:
            self._broken(failure)


class Asked(Protocol):
    """A call that a server may have meant, on a channel that does not say."""

    principal: bytes

    @property
    def said(self) -> Declared: ...

    @property
    def asking(self) -> int:
        """Questions of it that are open."""
        ...

    def may_ask(self) -> bool: ...

    def hear(self, message: Message) -> None: ...


def attribute(message: Message, calls: Sequence[Asked]) -> bytes:
    """Hands a question to the call it is about; empty, or else the refusal to send back.

    To one of several only where all that could be meant are of one caller: asking another one leaks. Of those to the
    newest that has nothing open: one that waits for an answer is less likely to ask again.
    """
    if len(calls) > 1 and (not calls[0].principal or len({call.principal for call in calls}) > 1):
        return error_to(message.id, _WHOSE_IS_IT)
    for at in sorted(range(len(calls)), key=lambda at: (calls[at].asking, -at)):
        call = calls[at]
        if call.may_ask() and refused_at_once(message, call.said) is None:
            call.hear(message)
            return b""
    said = next((call.said for call in calls if call.may_ask()), Declared())
    return error_to(message.id, refused_at_once(message, said) or _WHOSE_IS_IT)


def refused_at_once(message: Message, said: Declared) -> Refusal | None:
    """None: the caller may be asked this."""
    try:
        return declared.refusal(said, message.method or "", bytes(message.params))
    except NotMcpError as failure:
        return Refusal(-32602, str(failure)[:200])


def unanswered(method: str) -> Reply:
    """What a server is told when nobody answered in time: for an elicitation there is a word for it."""
    if method == "elicitation/create":
        return Reply(result=b'{"action":"cancel"}')
    return Reply(error=jsonrpc.encode({"code": INTERNAL_ERROR, "message": "nobody answered in time"}))


def reply_to(request_id: Id, reply: Reply) -> bytes:
    kind, value = (b"error", reply.error) if reply.error else (b"result", reply.result or b"{}")
    return b'{"jsonrpc":"2.0","id":%b,"%b":%b}' % (jsonrpc.encode(request_id), kind, value)


def error_to(request_id: Id, refused: Refusal) -> bytes:
    return reply_to(request_id, Reply(error=jsonrpc.encode({"code": refused.code, "message": refused.message})))


def withdrawn_id(message: Message) -> Id:
    """Of `notifications/cancelled`: which request; None where it does not say."""
    try:
        found = jsonrpc.members(message.params).get("requestId")
    except NotMcpError:
        return None
    value = jsonrpc.scalar(found) if found is not None else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


class Unhurried:
    """A clock for calls without a deadline."""

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass
