"""Patterns in RE2: linear time whatever the pattern and the text."""

from collections import OrderedDict
from collections.abc import Sequence

import re2

SETS_KEPT = 64
"""Compiled sets are shared by all that use the same patterns, tenants included: most guards name the same detectors."""
_MAX_MEM_BYTES = 16 << 20
"""Most an automaton may grow to; it starts over when full, which costs time and never a match."""

_ANYWHERE = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001
_NOWHERE = (-1, -1)


class Re2Set:
    """Implements `core.guard.PatternSet`."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ValueError naming the pattern RE2 does not take."""
        self._options = re2.Options()
        self._options.log_errors = False
        self._options.max_mem = _MAX_MEM_BYTES
        self._options.never_capture = True
        self._patterns = [_compiled(pattern, self._options) for pattern in patterns]
        self._sources = patterns
        self._together: re2._re2.Set | None = None

    def hits(self, data: bytes) -> list[int]:
        # Compiled when first used: some patterns are only ever asked for their spans, and are too large for a set.
        together = self._together or self._compile()
        found: list[int] = together.Match(data)
        return found

    def _compile(self) -> "re2._re2.Set":
        self._together = _together(self._sources, self._options)
        return self._together

    def spans(self, pattern: int, text: str) -> list[tuple[int, int]]:
        compiled = self._patterns[pattern]
        if not text.isascii():
            return [match.span() for match in compiled.finditer(text)]
        # In ASCII bytes and characters count alike, which saves the walk over the text; and the C++ object is asked
        # itself, as the wrapper makes an object of every match.
        match, subject, end = compiled._regexp.Match, text.encode(), len(text)  # noqa: SLF001
        found: list[tuple[int, int]] = []
        at = 0
        while at <= end:
            span = match(_ANYWHERE, subject, at, end)[0]
            if span == _NOWHERE:
                break
            found.append(span)
            at = span[1] if span[1] > at else at + 1
        return found


class Re2Matcher:
    """Implements `core.guard.Matcher`; keeps the sets it compiled last."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[str, ...], Re2Set] = OrderedDict()

    def compile(self, patterns: Sequence[str]) -> Re2Set:
        """Raises ValueError naming the pattern RE2 does not take."""
        key = tuple(patterns)
        known = self._sets.get(key)
        if known is None:
            known = self._sets[key] = Re2Set(key)
            if len(self._sets) > SETS_KEPT:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)
        return known


def _together(patterns: Sequence[str], options: re2.Options) -> "re2._re2.Set":
    """The C++ object itself: its Python wrapper costs as much again as a short match."""
    together = re2.Set.SearchSet(options)
    try:
        for pattern in patterns:
            together.Add(pattern)
        together.Compile()
    except re2.error as failure:
        raise ValueError(f"{len(patterns)} patterns are too large together: {failure}") from failure
    return together._set  # noqa: SLF001


def _compiled(pattern: str, options: re2.Options) -> "re2._Regexp":
    try:
        return re2.compile(pattern, options)
    except re2.error as failure:
        raise ValueError(f"pattern {pattern!r}: {failure}") from failure
