"""URI templates (RFC 6570) read backwards: is a URI one that the template expands to?

Every position of the template is a bit, and all positions a URI may be at are followed at once: linear in the URI,
whatever the template, where a backtracking expression would not be.

Variables may be empty, as RFC 6570 has it for those without a value, and values are not read out: the server does that.
Prefix lengths (`{var:3}`) and explode (`*`) are accepted and not counted.
"""

import re

_EXPRESSION = re.compile(r"\{([+#./;?&]?)([^{}]*)\}")
_VARIABLES = re.compile(r"[A-Za-z0-9_.%-]+(?::[0-9]{1,4}|\*)?(?:,[A-Za-z0-9_.%-]+(?::[0-9]{1,4}|\*)?)*")
MAX_EXPRESSIONS = 64

_STOPS = {"": "/?#", "+": "", "#": "", ".": "/?#", "/": "?#", ";": "/?#", "?": "#", "&": "#"}
"""By operator: what no value holds unescaped. Wider than the RFC's where servers are known to be."""
_LEADS = "#./;?&"
"""Operators that are written before the first value, where there is one."""


class Template:
    """One template, ready to match."""

    def __init__(self, text: str) -> None:
        """Raises ValueError saying which rule is broken."""
        self.text = text
        self.prefix = ""
        """What every URI of it begins with."""
        self.literals = 0
        """Characters that are no variable's: the more there are, the more the template says."""
        self._chars: dict[str, int] = {}
        self._values: list[tuple[int, str]] = []
        self._leads = 0
        self._length = 0
        self._read()

    def _read(self) -> None:
        at = 0
        for number, found in enumerate(_EXPRESSION.finditer(self.text)):
            if number >= MAX_EXPRESSIONS:
                raise ValueError(f"must have at most {MAX_EXPRESSIONS} expressions")
            operator, variables = found[1], found[2]
            if not _VARIABLES.fullmatch(variables):
                raise ValueError(f"{found[0]!r} is no expression of RFC 6570")
            self._literal(self.text[at : found.start()], first=number == 0)
            if operator and operator in _LEADS:
                self._leads |= 1 << self._length
                self._char(operator)
            self._values.append((1 << self._length, _STOPS[operator]))
            self._length += 1
            at = found.end()
        self._literal(self.text[at:], first=not self._values)
        self._any = sum(bit for bit, _ in self._values)

    def _literal(self, text: str, *, first: bool) -> None:
        if "{" in text or "}" in text:
            raise ValueError("has a brace without its partner")
        for char in text:
            self._char(char)
        self.literals += len(text)
        if first:
            self.prefix = text

    def _char(self, char: str) -> None:
        self._chars[char] = self._chars.get(char, 0) | 1 << self._length
        self._length += 1

    def matches(self, uri: str) -> bool:
        if not uri.startswith(self.prefix):
            return False
        at = self._reached(1 << len(self.prefix))
        for char in uri[len(self.prefix) :]:
            stays = 0
            for bit, stops in self._values:
                if char not in stops:
                    stays |= bit
            at = self._reached(((at & self._chars.get(char, 0)) << 1) | (at & stays))
            if not at:
                return False
        return bool(at >> self._length & 1)

    def _reached(self, at: int) -> int:
        """With every position that is reached by values that are empty or absent, their operator with them."""
        while True:
            further = at | (at & self._any) << 1 | (at & self._leads) << 2
            if further == at:
                return at
            at = further
