"""A dead server is left alone for a while: after failures in a row, fail at once, then let one attempt through."""


class Breaker:
    """Pure: the caller brings the time. Concerns connections only, so a server that is slow or wrong never trips it."""

    def __init__(self, *, threshold: int = 3, first_s: float = 0.5, longest_s: float = 15.0) -> None:
        self._threshold = threshold
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0
        self._probing = False
        self._closed_until = 0.0

    def wait_s(self, now: float) -> float:
        """0: try. Otherwise how long to leave the server alone.

        Admitting an attempt while open shuts the door behind it, so that one probe is under way and not a herd; a
        probe that never reports (its caller went away) is followed by another after the same pause.
        """
        if self._failures < self._threshold:
            return 0.0
        if now < self._closed_until:
            return self._closed_until - now
        self._probing = True
        self._closed_until = now + self._pause_s()
        return 0.0

    def failed(self, now: float) -> None:
        """Attempts begun before the door was shut fail together: they are one failure, not many."""
        if now < self._closed_until and not self._probing:
            return
        self._probing = False
        self._failures += 1
        if self._failures >= self._threshold:
            self._closed_until = now + self._pause_s()

    def succeeded(self) -> None:
        self._failures = 0
        self._probing = False

    def _pause_s(self) -> float:
        doublings = min(self._failures - self._threshold, 16)
        return min(self._first_s * 2.0**doublings, self._longest_s)
