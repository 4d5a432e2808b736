"""What makes deadlines pass: a thread that counts an engine's epochs up while policies are asked."""

import threading
import weakref
from time import sleep

from wasmtime import Engine

TICK_MS = 10
"""Length of an epoch. Each tick wakes the process: shorter ones would cut closer and cost more."""

_IDLE_TICKS = 200
_LOOK_S = 30.0


class Ticker:
    """Runs from construction to `stop`, or until the engine is garbage; sleeps when nothing was asked for 2 s."""

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._asked = False
        self._parked = False
        self.stopped = False
        """Deadlines no longer pass."""
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="toolgate-policy-ticker", daemon=True)
        self._thread.start()

    def wind(self) -> None:
        """Say that a deadline is about to be set. Costs 0.1 us while the thread is awake."""
        # Order matters, here and in `_park`: each side says its word before it looks at the other's, so one of them
        # always sees the other and a deadline never waits for a sleeping thread.
        self._asked = True
        if self._parked:
            self._wake.set()

    def stop(self) -> None:
        """Returns when the thread has ended. May be called twice."""
        self.stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        idle = 0
        while not self.stopped:
            sleep(TICK_MS / 1000)
            engine = self._engine()
            if engine is None:
                return
            engine.increment_epoch()
            del engine
            idle = 0 if self._asked else idle + 1
            self._asked = False
            if idle > _IDLE_TICKS:
                self._park()
                idle = 0

    def _park(self) -> None:
        self._parked = True
        while not (self._asked or self.stopped or self._engine() is None):
            self._wake.wait(_LOOK_S)
            self._wake.clear()
        self._parked = False
