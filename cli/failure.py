"""How a command fails: a text for people and an exit code for programs."""

from collections.abc import Sequence

OK = 0
NEGATIVE = 1
"""A difference was found, or the answer is no."""
USAGE = 2
"""Wrong usage or invalid input: nothing was sent, or it was refused as invalid."""
REFUSED = 3
"""Refused, not found, or in conflict with what is there."""
AWAY = 4
"""A server cannot be reached or cannot answer now."""

BUG = 5
"""A fault of the command itself."""
INTERRUPTED = 130
"""By Ctrl-C, before it was done."""


class Failure(Exception):
    """Ends the command with `code`; `lines` are the details, one each."""

    def __init__(self, code: int, text: str, lines: Sequence[str] = ()) -> None:
        super().__init__("\n".join((text, *lines)))
        self.code = code
        self.text = text
        self.lines = tuple(lines)
