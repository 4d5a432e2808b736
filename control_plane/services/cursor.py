"""Where the next page starts, as text a client hands back unchanged.

A cursor says nothing its holder may not see: who may see what is decided again for every page.
"""

import base64
import binascii
from typing import TypeVar

import msgspec

from core.admin import Rejected, Why
from core.resource import Problem, digest, encode

Position = TypeVar("Position")


def written(question: object, position: object) -> str:
    """`question` is everything else the page was asked with: the cursor is good for that only."""
    return base64.urlsafe_b64encode(encode((_mark(question), position))).decode().rstrip("=")


def read(cursor: str, question: object, kind: type[Position]) -> Position:
    """The position in it. Raises Rejected naming `cursor`."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        mark, position = msgspec.msgpack.decode(raw, type=tuple[bytes, kind])  # type: ignore[valid-type]
    except (ValueError, binascii.Error, msgspec.DecodeError, UnicodeError):
        mark, position = b"", None
    if position is None or mark != _mark(question):
        rule = "must be the next_cursor of a page asked for with the same parameters"
        raise Rejected(Why.INVALID, "the cursor is not valid", [Problem("cursor", rule)])
    return position


def _mark(question: object) -> bytes:
    return digest(encode(question))[:8]
