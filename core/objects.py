"""Where bulk is kept: whole objects under names, in a folder or in an S3-compatible store."""

import re
from typing import Final, Protocol

NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
"""Of an object: parts of letters, digits, `.`, `_` and `-`, separated by `/`; none begins with a dot."""


class ObjectsAway(Exception):
    """The store cannot be reached, or refused; the message says which, and holds no credential."""


class Objects(Protocol):
    """Raises ObjectsAway. Names are as `NAME` has them."""

    async def put(self, name: str, data: bytes) -> None:
        """Whole or not at all; one that is there is replaced."""
        ...

    async def get(self, name: str) -> bytes | None:
        """None: there is none of that name."""
        ...

    async def delete(self, name: str) -> None:
        """Nothing happens where there is none."""
        ...
