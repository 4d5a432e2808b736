"""Turns at work that is long: so many at once, and of a tenant one. Who comes when all are taken does not wait."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.admin import Rejected, Why
from core.bound import Bound


class Turns:
    def __init__(self, most: int, what: str) -> None:
        """`what`: in words, as in "audit logs being verified"."""
        self._most = most
        self._what = what
        self._busy: set[str] = set()
        self._refused = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._busy), self._most, self._refused)

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """Raises Rejected(UNAVAILABLE) while the tenant has one, or all are taken."""
        if tenant in self._busy or len(self._busy) >= self._most:
            self._refused += 1
            raise Rejected(
                Why.UNAVAILABLE,
                f"at most {self._most} {self._what} at a time, and one of a tenant; try again when one is done",
            )
        self._busy.add(tenant)
        try:
            yield
        finally:
            self._busy.discard(tenant)
