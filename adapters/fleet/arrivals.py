"""Parts as they come down the stream, kept until the snapshots that name them are in force or refused. Pure."""

from collections import Counter
from collections.abc import Iterable

from core.resource import digest as digest_of

PART_BYTES = 64 * 1024 * 1024
ARRIVING_BYTES = 512 * 1024 * 1024


class Overrun(Exception):
    """The control plane sends what does not fit together: the stream cannot be trusted further."""


class Arrivals:
    """Chunks come in order; a part is complete when its size has come. Bytes are checked against their digest here."""

    def __init__(self, limit_bytes: int = ARRIVING_BYTES) -> None:
        self._limit = limit_bytes
        self._building: tuple[bytes, int, bytearray] | None = None
        self._unclaimed: dict[bytes, bytes] = {}
        self._claimed: dict[bytes, bytes] = {}
        self._claims: Counter[bytes] = Counter()
        self.size_bytes = 0

    def chunk(self, digest: bytes, size: int, data: bytes) -> None:
        """Raises Overrun. A part that does not match its digest is dropped: whoever names it will miss it."""
        if self._building is None:
            self._begin(digest, size)
        assert self._building is not None
        wanted, total, buffer = self._building
        if wanted != digest or total != size or len(buffer) + len(data) > total:
            raise Overrun("chunks of a part do not follow each other")
        buffer += data
        if len(buffer) == total:
            self._building = None
            part = bytes(buffer)
            if digest_of(part) == digest and digest not in self._unclaimed:
                self._unclaimed[digest] = part
                self.size_bytes += len(part)

    def _begin(self, digest: bytes, size: int) -> None:
        if size > PART_BYTES or self.size_bytes + size > self._limit:
            raise Overrun(f"more parts than {self._limit} bytes are under way, or one above {PART_BYTES}")
        self._building = (digest, size, bytearray())

    def claim(self, named: Iterable[bytes]) -> dict[bytes, bytes]:
        """A push names these: those that came. Kept until `release`; what came and was not named is dropped."""
        taken: dict[bytes, bytes] = {}
        for digest in named:
            part = self._claimed.get(digest, self._unclaimed.get(digest))
            if part is not None and digest not in taken:
                taken[digest] = part
                self._claims[digest] += 1
        self.size_bytes += sum(len(part) for digest, part in taken.items() if digest not in self._claimed)
        self.size_bytes -= sum(map(len, self._unclaimed.values()))
        self._claimed.update(taken)
        self._unclaimed.clear()
        return taken

    def release(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._claims[digest] -= 1
            if not self._claims[digest]:
                del self._claims[digest]
                self.size_bytes -= len(self._claimed.pop(digest))
