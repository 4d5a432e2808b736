"""Asks services about the texts of a message, each text once while its answer is remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from hashlib import blake2b
from os import urandom
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from core.bound import Bound, Shares
from core.deep import (
    PREFIX,
    TEXT_CHARS,
    Analyzer,
    Classifier,
    Entity,
    Headers,
    InjectionClassifier,
    Presidio,
    Unexamined,
)
from core.json_splice import Scalar, is_media, scalars, unquote
from core.masking import Hit
from core.text_view import View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

REMEMBERED: Final = 4096
REMEMBERED_S: Final = 600.0
AT_ONCE: Final = 16
LEAST_CHARS: Final = 3
"""What is shorter says nothing."""


class _Piece(NamedTuple):
    """One string of the message within the text that is asked about."""

    start: int
    end: int
    raw: int
    """Where its first character is in the message."""
    view: View | None
    """How characters lie in the message, where some are written as escapes."""


class DeepLooks:
    """One per worker; belongs to one loop."""

    def __init__(
        self,
        classifier: InjectionClassifier,
        analyzer: Analyzer,
        clock: Callable[[], float],
        *,
        remembered: int = REMEMBERED,
        at_once: int = AT_ONCE,
    ) -> None:
        """`clock`: seconds that only rise."""
        self._classifier = classifier
        self._analyzer = analyzer
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[float, int | tuple[Entity, ...]]] = OrderedDict()
        """By digest of service and text, which is keyed: no text can be told from it."""
        self._key = urandom(32)
        self._remembered = remembered
        self._most = at_once
        self._shares = Shares(at_once)
        self._asking = self._full = self._forgotten = 0

    def bounds(self) -> dict[str, Bound]:
        return {
            "deep_looks": Bound(self._asking, self._most, self._full),
            "deep_answers": Bound(len(self._answers), self._remembered, self._forgotten),
        }

    async def score(
        self, asked: Classifier, secrets: Mapping[str, str], raw: bytes, *, is_result: bool, of: str
    ) -> int:
        """How sure the classifier is that the texts in a JSON give orders. `of`: the tenant. Raises Unexamined."""
        text, _ = _texts(raw, is_result=is_result)
        if len(text) < LEAST_CHARS:
            return 0
        ask = partial(self._classifier.score, asked, _filled(asked, secrets), text)
        answer = await self._answer(asked, text, ask, of)
        return answer if isinstance(answer, int) else 0

    async def hits(
        self, asked: Presidio, secrets: Mapping[str, str], raw: bytes, *, is_result: bool, of: str
    ) -> list[Hit]:
        """What Presidio finds in the texts of a JSON, by its place there. Raises Unexamined."""
        text, pieces = _texts(raw, is_result=is_result)
        if len(text) < LEAST_CHARS:
            return []

        async def ask() -> tuple[Entity, ...]:
            return tuple(await self._analyzer.entities(asked, _filled(asked, secrets), text))

        answer = await self._answer(asked, text, ask, of)
        return [hit for one in answer for hit in _placed(one, pieces)] if isinstance(answer, tuple) else []

    async def _answer(
        self,
        asked: Classifier | Presidio,
        text: str,
        ask: Callable[[], Awaitable[int | tuple[Entity, ...]]],
        tenant: str,
    ) -> int | tuple[Entity, ...]:
        if len(text) > TEXT_CHARS:
            raise Unexamined(f"{asked.url}: more than {TEXT_CHARS} characters")
        key = blake2b(msgspec.msgpack.encode((asked, text)), key=self._key, digest_size=16).digest()
        known = self._answers.get(key)
        if known is not None and self._clock() < known[0]:
            self._answers.move_to_end(key)
            return known[1]
        # A tenant whose service hangs has its own share of them waiting, and no other's guard goes without.
        if self._asking >= self._most or self._shares.full(tenant):
            self._full += 1
            raise Unexamined(f"{asked.url}: too many questions are under way")
        self._asking += 1
        self._shares.take(tenant)
        try:
            async with asyncio.timeout(asked.timeout_ms / 1000):
                answer = await ask()
        except TimeoutError as late:
            raise Unexamined(f"{asked.url}: no answer within {asked.timeout_ms} ms") from late
        finally:
            self._asking -= 1
            self._shares.give(tenant)
        self._answers[key] = (self._clock() + REMEMBERED_S, answer)
        self._answers.move_to_end(key)
        while len(self._answers) > self._remembered:
            self._answers.popitem(last=False)
            self._forgotten += 1
        return answer


def _filled(asked: Classifier | Presidio, secrets: Mapping[str, str]) -> Headers:
    missing = [name for name in asked.secret_headers.values() if name not in secrets]
    if missing:
        raise Unexamined(f"{asked.url}: the secret {missing[0]} is not there")
    return [(header, secrets[name]) for header, name in asked.secret_headers.items()]


def _texts(raw: bytes, *, is_result: bool) -> tuple[str, list[_Piece]]:
    """Every string of a JSON that says something, a line each, and where they are in it. Raises Unexamined."""
    try:
        message = raw.decode()
        found = scalars(message)
    except ValueError as failure:
        raise Unexamined("a message that cannot be read") from failure
    pieces: list[_Piece] = []
    lines: list[str] = []
    at = 0
    for scalar in found:
        if not _says_something(message, scalar, is_result=is_result):
            continue
        said = message[scalar.start + 1 : scalar.end - 1]
        view = View(said) if "\\" in said else None
        line = view.text if view is not None else said
        if unquote(message[scalar.start : scalar.end]) is None:
            raise Unexamined("a message that cannot be read")
        pieces.append(_Piece(at, at + len(line), scalar.start + 1, view))
        lines.append(line)
        at += len(line) + 1
    return "\n".join(lines), pieces


def _says_something(message: str, scalar: Scalar, *, is_result: bool) -> bool:
    if not scalar.is_string or scalar.is_key or scalar.end - scalar.start < LEAST_CHARS + 2:
        return False
    return not (is_result and scalar.is_media and is_media(message, scalar))


def _placed(one: Entity, pieces: list[_Piece]) -> Iterator[Hit]:
    """A finding where it stands in the message; one across several strings is one in each."""
    for piece in pieces:
        start, end = max(one.start, piece.start) - piece.start, min(one.end, piece.end) - piece.start
        if start < end:
            if piece.view is not None:
                start, end = piece.view.origin(start, end)
            yield Hit(piece.raw + start, piece.raw + end, PREFIX + one.kind.lower())
