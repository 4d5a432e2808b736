"""Replaces pieces of a JSON text by position; all that is not touched stays byte for byte. Nothing here recurses."""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

MAX_DEPTH = 512
"""Deeper than anything made for a purpose; a text nested deeper is not looked into but refused by who asked."""
SHORT_MEDIA_CHARS = 64
"""No picture or sound fits in so few characters of Base64, but a secret does."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class TooDeep(ValueError):
    """The text is nested deeper than MAX_DEPTH."""


class Scalar(msgspec.Struct, frozen=True):
    """A string, number or literal of the text: where it is, quotes included, and what it is."""

    start: int
    end: int
    is_key: bool
    is_string: bool
    is_media: bool
    """Base64 of a picture, a sound or a file, where MCP puts it: `data` of image and audio parts, `blob`."""
    path: str
    """Keys from the root, joined by dots; elements of arrays share their array's."""


class Cut(msgspec.Struct, frozen=True):
    """A piece of the text to be replaced by `[masked:<label>]`."""

    start: int
    end: int
    label: str
    whole: bool = False
    """It may be replaced by a token instead, as long as it is not taken apart."""
    token: str = ""
    """That token, once it is known."""


class _Frame:
    """An object or array being read."""

    __slots__ = ("is_array", "key", "media", "path", "types")

    def __init__(self, *, is_array: bool, path: str) -> None:
        self.is_array = is_array
        self.path = path
        self.key: str | None = None
        self.types: list[str] = []
        self.media: list[int] = []


def scalars(text: str) -> list[Scalar]:
    """Every scalar in order, duplicate keys' values included. Raises TooDeep."""
    found: list[Scalar] = []
    stack: list[_Frame] = [_Frame(is_array=True, path="")]
    for match in _TOKEN.finditer(text):
        frame, mark = stack[-1], match.group()
        if mark in "{[":
            if len(stack) > MAX_DEPTH:
                raise TooDeep(f"nested deeper than {MAX_DEPTH}")
            stack.append(_Frame(is_array=mark == "[", path=_path(frame)))
            frame.key = None
        elif mark in "}]":
            if len(stack) > 1:
                _settle(stack.pop(), found)
        elif mark == ",":
            frame.key = None
        elif mark != ":":
            _take(frame, match, found)
    return found


def _take(frame: _Frame, match: re.Match[str], found: list[Scalar]) -> None:
    start, end = match.span()
    token = match.group()
    is_string = token[0] == '"'
    is_key = is_string and not frame.is_array and frame.key is None
    if is_key:
        frame.key = _plain(token)
    elif is_string and frame.key == "type":
        frame.types.append(_plain(token))
    elif is_string and frame.key in ("data", "blob") and end - start > SHORT_MEDIA_CHARS:
        frame.media.append(len(found))
    found.append(Scalar(start, end, is_key, is_string, is_media=False, path=_path(frame)))


def _settle(frame: _Frame, found: list[Scalar]) -> None:
    """The object is complete: what it says it is decides what its media are."""
    place = frame.path
    for at in frame.media:
        scalar = found[at]
        in_place = (
            (place == "content" and frame.types in (["image"], ["audio"]) and scalar.path == "content.data")
            or (place == "content.resource" and scalar.path == "content.resource.blob")
            or (place == "contents" and scalar.path == "contents.blob")
        )
        if in_place:
            found[at] = msgspec.structs.replace(scalar, is_media=True)


def _path(frame: _Frame) -> str:
    if frame.is_array or frame.key is None:
        return frame.path
    return f"{frame.path}.{frame.key}" if frame.path else frame.key


def _plain(token: str) -> str:
    if "\\" not in token:
        return token[1:-1]
    decoded = unquote(token)
    return token[1:-1] if decoded is None else decoded


def unquote(token: str) -> str | None:
    """What a JSON string says; None for one that is no valid Unicode or no string."""
    try:
        return msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def is_media(text: str, scalar: Scalar) -> bool:
    """Whether a scalar in a medium's place is Base64 throughout, so that a mask would only break it."""
    return scalar.is_media and _BASE64.fullmatch(text, scalar.start + 1, scalar.end - 1) is not None


def splice(text: str, cuts: Sequence[Cut], within: Sequence[Scalar], whole: Mapping[int, str]) -> str:
    """The text with every cut replaced, JSON as before.

    Cuts are in order and do not overlap. In a string the piece is replaced, a number or literal is replaced whole, by
    a string; keys stay distinct. A cut across several scalars is made in each; raises ValueError for one in none.
    `whole`: a scalar's start to what stands for it instead of its cuts.
    """
    parts: list[str] = []
    done, keys = 0, 0
    for first, last, cut, scalar in pieces(cuts, within):
        start, end, mask = first, last, f"[masked:{cut.label}]"
        if scalar.is_key:
            keys += 1
            mask = mask if keys == 1 else f"[masked:{cut.label}#{keys}]"
        elif cut.token and (first, last) == (cut.start, cut.end) and _is_all(cut, scalar):
            mask = cut.token
        if scalar.start in whole or not scalar.is_string:
            start, end, mask = scalar.start, scalar.end, whole.get(scalar.start, f'"{mask}"')
        if start >= done:
            parts += (text[done:start], mask)
            done = end
    parts.append(text[done:])
    return "".join(parts)


def _is_all(cut: Cut, scalar: Scalar) -> bool:
    """A number is replaced whole: a token for a part of it would lose the rest."""
    return scalar.is_string or (cut.start, cut.end) == (scalar.start, scalar.end)


def pieces(cuts: Sequence[Cut], within: Sequence[Scalar]) -> Iterator[tuple[int, int, Cut, Scalar]]:
    """(start, end, cut, scalar) of every part of a cut inside a scalar, quotes left out."""
    at = 0
    for cut in cuts:
        while at < len(within) and within[at].end <= cut.start:
            at += 1
        reach, hit = at, False
        while reach < len(within) and within[reach].start < cut.end:
            scalar = within[reach]
            edge = 1 if scalar.is_string else 0
            start, end = max(cut.start, scalar.start + edge), min(cut.end, scalar.end - edge)
            if start < end:
                hit = True
                yield start, end, cut, scalar
            reach += 1
        if not hit:
            raise ValueError("a cut lies in no scalar")
