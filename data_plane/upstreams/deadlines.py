"""Deadlines that are nearly always met: those due in the same moment share one timer."""

import asyncio
from types import TracebackType

TICK_S = 0.02
"""How late a deadline may ring: far below what a caller could notice of one."""
_OVER = -1


class Deadlines:
    """Of one event loop. A timer runs only for moments in which something is due."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, tuple[asyncio.TimerHandle, set[Deadline]]] = {}

    def until(self, when: float) -> "Deadline":
        """A context that is cancelled at `when`, in the loop's time, and then raises TimeoutError."""
        return Deadline(self, when, self._loop)

    def enter(self, deadline: "Deadline", when: float) -> int:
        """The moment it belongs to."""
        tick = int(when / TICK_S) + 1
        moment = self._due.get(tick)
        if moment is None:
            moment = self._due[tick] = (self._loop.call_at(tick * TICK_S, self._ring, tick), set())
        moment[1].add(deadline)
        return tick

    def leave(self, deadline: "Deadline", tick: int) -> None:
        moment = self._due.get(tick)
        if moment is None:
            return
        timer, waiting = moment
        waiting.discard(deadline)
        if not waiting:
            timer.cancel()
            del self._due[tick]

    def _ring(self, tick: int) -> None:
        for deadline in self._due.pop(tick)[1]:
            deadline.ring()


class Deadline:
    """As `asyncio.timeout_at`, without a timer of its own."""

    __slots__ = ("_cancelling", "_deadlines", "_left_s", "_loop", "_paused", "_rung", "_task", "_tick", "_when")

    def __init__(self, deadlines: Deadlines, when: float, loop: asyncio.AbstractEventLoop) -> None:
        self._deadlines = deadlines
        self._when = when
        self._loop = loop
        self._rung = False
        self._paused = 0
        self._tick = _OVER

    def pause(self) -> None:
        """Do not ring until as many times resumed as paused; what was left then is left still."""
        self._paused += 1
        if self._paused == 1 and not self._rung:
            self._deadlines.leave(self, self._tick)
            self._left_s = self._when - self._loop.time()

    def resume(self) -> None:
        self._paused -= 1
        if self._paused == 0 and not self._rung and self._tick != _OVER:
            self._when = self._loop.time() + self._left_s
            self._tick = self._deadlines.enter(self, self._when)

    def ring(self) -> None:
        """The moment has come."""
        self._rung = True
        self._task.cancel()

    @property
    def when(self) -> float:
        """In the loop's time; while paused, a moment that is surely to come."""
        return self._loop.time() + self._left_s if self._paused else self._when

    def __enter__(self) -> "Deadline":
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._tick = self._deadlines.enter(self, self._when)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._rung:
            self._deadlines.leave(self, self._tick)
            self._tick = _OVER
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from failure
