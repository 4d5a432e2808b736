"""Text as a reader would take it: escapes undone at any depth, look-alike characters folded, and the way back.

Detectors search the view; what they find is cut out of the original, so a secret written with escapes, full-width
digits or zero-width characters in between is found like any other, and everything else stays byte for byte.
"""

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache

PASSES = 4
"""An escape may spell another escape (a backslash written as its code); deeper than this nobody reads it back."""

_HIGH = r"\\+u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = r"\\+u[dD][c-fC-F][0-9a-fA-F]{2}"
_SPECIAL = re.compile(rf"{_HIGH}{_LOW}|\\+(?:u[0-9a-fA-F]{{4}}|[nrtbf\"/])|[^\x00-\x7f]")
_SIMPLE = (("\\n", "\n\n"), ("\\r", "\n\n"), ("\\t", "\t\t"), ('\\"', '""'), ("\\b", "  "), ("\\f", "  "))
_CONTROLS = {"n": "\n", "r": "\n", "t": "\t", "b": " ", "f": " ", '"': '"', "/": "/"}
_IGNORED = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]")
_KEPT = "\u2024\u2025\u2026"
"""Dots and the ellipsis would fold to full stops, which no secret is made of; they are common in prose."""

_FOLDS_TO_TEXT = (
    r"[\x{aa}\x{b2}\x{b3}\x{b9}\x{ba}\x{bc}-\x{be}\x{132}\x{133}\x{13f}\x{140}\x{149}\x{17f}\x{1c4}-\x{1f3}\x{2b0}-\x{2b8}\x{2e1}-\x{2e3}"
    r"\x{660}-\x{669}\x{6f0}-\x{6f9}\x{7c0}-\x{7c9}\x{966}-\x{96f}\x{9e6}-\x{9ef}\x{a66}-\x{a6f}\x{ae6}-\x{aef}"
    r"\x{b66}-\x{b6f}\x{be6}-\x{bef}\x{c66}-\x{c6f}\x{ce6}-\x{cef}\x{d66}-\x{d6f}\x{de6}-\x{def}\x{e50}-\x{e59}"
    r"\x{ed0}-\x{ed9}\x{f20}-\x{f29}\x{1040}-\x{1049}\x{1090}-\x{1099}\x{17e0}-\x{17e9}\x{1810}-\x{1819}"
    r"\x{1946}-\x{194f}\x{19d0}-\x{19d9}\x{1a80}-\x{1a99}\x{1b50}-\x{1b59}\x{1bb0}-\x{1bb9}\x{1c40}-\x{1c59}"
    r"\x{1d2c}-\x{1d65}\x{1d9c}-\x{1dbb}\x{1e9a}\x{2070}-\x{209c}\x{20a8}\x{2100}-\x{2189}\x{2460}-\x{24ea}"
    r"\x{2c7c}-\x{2c7d}\x{3250}-\x{325f}\x{32b1}-\x{32cf}\x{3358}-\x{33ff}\x{a620}-\x{a629}\x{a7f1}-\x{a7f4}"
    r"\x{a8d0}-\x{a8d9}\x{a900}-\x{a909}\x{a9d0}-\x{a9d9}\x{a9f0}-\x{a9f9}\x{aa50}-\x{aa59}\x{abf0}-\x{abf9}"
    r"\x{fb00}-\x{fb06}\x{ff10}-\x{ff5a}\x{104a0}-\x{104a9}\x{107a5}\x{10d30}-\x{10d49}\x{11066}-\x{1106f}"
    r"\x{110f0}-\x{110f9}\x{11136}-\x{1113f}\x{111d0}-\x{111d9}\x{112f0}-\x{112f9}\x{11450}-\x{11459}"
    r"\x{114d0}-\x{114d9}\x{11650}-\x{11659}\x{116c0}-\x{116e3}\x{11730}-\x{11739}\x{118e0}-\x{118e9}"
    r"\x{11950}-\x{11959}\x{11bf0}-\x{11bf9}\x{11c50}-\x{11c59}\x{11d50}-\x{11d59}\x{11da0}-\x{11de9}"
    r"\x{11f50}-\x{11f59}\x{16130}-\x{16139}\x{16a60}-\x{16a69}\x{16ac0}-\x{16ac9}\x{16b50}-\x{16b59}"
    r"\x{16d70}-\x{16d79}\x{1ccd6}-\x{1ccf9}\x{1d400}-\x{1d6a3}\x{1d7ce}-\x{1d7ff}\x{1e140}-\x{1e149}"
    r"\x{1e2f0}-\x{1e2f9}\x{1e4f0}-\x{1e4f9}\x{1e5f1}-\x{1e5fa}\x{1e950}-\x{1e959}\x{1f100}-\x{1f190}"
    r"\x{1fbf0}-\x{1fbf9}]"
)
_FOLDS_TO_SEPARATOR = (
    r"[\x{a0}\x{a8}\x{af}\x{b4}\x{b8}\x{2d7}-\x{2dd}\x{37a}-\x{385}\x{58a}\x{5be}\x{1400}\x{1680}\x{1806}"
    r"\x{1fbd}-\x{1fc1}\x{1fcd}-\x{1fcf}\x{1fdd}-\x{1fdf}\x{1fed}-\x{1fef}\x{1ffd}-\x{2017}\x{2028}-\x{202f}"
    r"\x{203c}-\x{2049}\x{205f}\x{207a}-\x{207e}\x{208a}-\x{208e}\x{2212}\x{2a74}-\x{2a76}\x{2e17}-\x{2e1a}"
    r"\x{2e3a}-\x{2e40}\x{2e5d}\x{3000}\x{301c}\x{3030}\x{309b}-\x{30a0}\x{3200}-\x{3243}\x{fb29}\x{fc5e}-\x{fc63}"
    r"\x{fdfa}-\x{fdfb}\x{fe10}-\x{fe19}\x{fe30}-\x{fe38}\x{fe47}-\x{fe7e}\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff20}"
    r"\x{ff3b}-\x{ff40}\x{ff5b}-\x{ff5e}\x{ffe3}\x{10d6e}\x{10ead}]"
)
_IGNORED_CLASS = r"(?:[\p{Cf}\p{Mn}\p{Me}\x{115f}\x{1160}\x{2065}\x{3164}\x{ffa0}\x{fff0}-\x{fff8}\x{e0000}-\x{e0fff}])"
SUSPICIOUS = (
    # Code escapes of the same characters, nested ones too. What is left out can hide nothing: letters of their own,
    # quotation marks, the bullet, emoji. The tests compare this with `fold`, character by character.
    (
        r"\\u(?:00[0-9abAB]|01(?:3[23fF]|4[09]|[c-fC-F]|7[fF])|02[b-fB-F]|03[0-8]|048|05[89a-cA-C]|0[6-9a-fA-F]|1"
        r"|20(?:[03-9a-fA-F]|1[67abABeEfF]|2[0134578-9a-fA-F])|21[0-8]|221|24|2[ac-eAC-E]|30(?:[0-3]|9[9a-cA-C]|[aA]0)"
        r"|3164|3[23]|[aA][6-9a-bA-B]|[dD]8(?:[0-24-9a-fA-F]|3[0-9abfABF])|[dD][9abAB]"
        r"|[dD]83(?:[cC]\\+u[dD][dD][0-9]|[eE]\\+u[dD][fF][fF])|[fF][b-fB-F])"
    ),
    r"[0-9A-Z):=]\\+u201[0-5]",
    r"\\/",
    _FOLDS_TO_TEXT,
    rf"[0-9A-Z):=]{_FOLDS_TO_SEPARATOR}",
    rf"[!-~]{_IGNORED_CLASS}",
)
"""RE2 patterns over raw JSON: where none matches, what is not a simple escape reads as it is written."""


def blank_escapes(text: str) -> str:
    """The text with simple escapes written as what they stand for, twice: as long as before, so places are the same.

    Enough where nothing is SUSPICIOUS, and much cheaper than a View.
    """
    for escape, meaning in _SIMPLE:
        text = text.replace(escape, meaning)
    return text


class View:
    """What is searched instead of a text, and where each part of it came from."""

    __slots__ = ("_maps", "text")

    def __init__(self, text: str) -> None:
        self._maps: list[_Map] = []
        for _ in range(PASSES):
            if "\\" not in text and text.isascii():
                break
            text, moved = _read(text)
            if not moved.starts:
                break
            self._maps.append(moved)
        self.text = text

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The smallest piece of the original that holds all of `text[start:end]`, not empty; never half an escape."""
        for moved in reversed(self._maps):
            start, end = moved.piece(start)[0], moved.piece(end - 1)[1]
        return start, end


class _Map:
    """Replaced pieces in order: where each starts and ends in the view, and where it was before."""

    __slots__ = ("before", "ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.before: list[tuple[int, int]] = []

    def piece(self, position: int) -> tuple[int, int]:
        """Where one character of the view came from."""
        at = bisect_right(self.starts, position) - 1
        if at < 0:
            return position, position + 1
        if position < self.ends[at]:
            return self.before[at]
        origin = self.before[at][1] + position - self.ends[at]
        return origin, origin + 1


def _read(text: str) -> tuple[str, _Map]:
    moved, done, length = _Map(), 0, 0
    parts: list[str] = []
    for match in _SPECIAL.finditer(text):
        replacement = _replacement(match.group())
        start, end = match.span()
        if end - start == 1 and replacement == text[start]:
            continue
        parts += (text[done:start], replacement)
        length += start - done
        moved.starts.append(length)
        length += len(replacement)
        moved.ends.append(length)
        moved.before.append((start, end))
        done = end
    parts.append(text[done:])
    return "".join(parts), moved


@lru_cache(maxsize=8192)
def _replacement(piece: str) -> str:
    if piece[0] != "\\":
        return fold(piece)
    body = piece.lstrip("\\")
    if body[0] != "u":
        return _CONTROLS[body]
    if len(body) > 5:
        high, low = int(body[1:5], 16), int(body[-4:], 16)
        return fold(chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)))
    code = int(body[1:], 16)
    character = "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
    if character.isascii():
        return character if character.isprintable() else "\n" if character in "\n\r" else " "
    return fold(character)


def fold(character: str) -> str:
    """A character outside ASCII as the ASCII it passes for: a digit, a letter, a space, a dash, nothing; or itself."""
    if character in _KEPT:
        return character
    category = unicodedata.category(character)
    if category in ("Cf", "Mn", "Me") or _IGNORED.match(character):
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in ("Zs", "Zl", "Zp"):
        return " "
    if category == "Pd" or character in "\u2212\u02d7\u2043":
        return "-"
    plain = "".join(c for c in unicodedata.normalize("NFKC", character) if c.isascii())
    return plain or character
