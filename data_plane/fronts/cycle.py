"""A request and its answer, as uvicorn tells an application of them: at half of the price."""

import asyncio
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent


class _Unheard(asyncio.Event):
    """Of a request whose body is had at once, as most are: nobody waits for more of it."""

    def set(self) -> None:
        """Nobody waits."""


UNHEARD: Final = _Unheard()


def _nothing() -> None:
    """For an answer that is over."""


class Cycle(RequestResponseCycle):
    """The base's, for half of its price: no event unless somebody waits, no callback when its task is done."""

    task: asyncio.Task[None]
    tasks: set[asyncio.Task[None]]

    async def run_asgi(self, app: "ASGI3Application") -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException:
            self.logger.exception("the application failed")
            await self._make_up()
        else:
            if not (self.response_complete or self.disconnected):
                self.logger.error("the application ended without a whole answer")
                await self._make_up()
        finally:
            self.on_response = _nothing
            self.tasks.discard(self.task)

    async def _make_up(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    async def receive(self) -> "ASGIReceiveEvent":
        if self.message_event is UNHEARD:
            self.message_event = asyncio.Event()
            if self.body or not self.more_body:
                self.message_event.set()
        return await super().receive()
