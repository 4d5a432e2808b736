"""argon2id, on threads, a few at a time: each takes 64 MiB and some 50 ms of a core."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.admin import Rejected, Why
from core.bound import Bound

T = TypeVar("T")

AT_ONCE = 2
WAITING_MAX = 64


class Argon2Passwords:
    """Passwords, with RFC 9106's second recommended parameters (64 MiB, 3 passes, 4 lanes)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
        self._threads = ThreadPoolExecutor(AT_ONCE, "toolgate-argon2")
        self._nobody = ""
        self._waiting = self._refused = 0

    @property
    def bound(self) -> Bound:
        return Bound(self._waiting, WAITING_MAX, self._refused)

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def matches(self, hashed: str, password: str) -> bool:
        return await self._run(lambda: self._matches(hashed, password))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, hashed: str, password: str) -> bool:
        if not self._nobody:
            self._nobody = self._hasher.hash("nobody has this one")
        try:
            return self._hasher.verify(hashed or self._nobody, password) and bool(hashed)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            self._refused += 1
            raise Rejected(Why.UNAVAILABLE, "too many people are signing in: try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
