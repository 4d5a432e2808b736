"""`core.deep`'s ports over HTTP: a classifier with one route, and Presidio's analyzer."""

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from core.deep import Asked, Classifier, Entity, Headers, Presidio, Unexamined
from core.web import Request, Unreachable, Web

ANSWER_BYTES: Final = 1024 * 1024
_JSON: Final = ("Content-Type", "application/json")

Told = TypeVar("Told")


class _Score(msgspec.Struct):
    score: float


class _Found(msgspec.Struct):
    start: int
    end: int
    entity_type: str
    score: float


class _Question(msgspec.Struct, omit_defaults=True):
    text: str
    language: str = ""
    entities: list[str] = msgspec.field(default_factory=list)
    score_threshold: float = 0


class HttpClassifier:
    """Implements `core.deep.InjectionClassifier`."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def score(self, asked: Classifier, headers: Headers, text: str) -> int:
        told = await _ask(self._web, asked, asked.url, headers, _Question(text), _Score)
        if not 0 <= told.score <= 1:
            raise Unexamined(f"{asked.url}: a score of {told.score}, which is not 0-1")
        return round(100 * told.score)


class HttpPresidio:
    """Implements `core.deep.Analyzer`."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def entities(self, asked: Presidio, headers: Headers, text: str) -> list[Entity]:
        question = _Question(text, asked.language, sorted(asked.entities), min(asked.entities.values()))
        url = f"{asked.url.rstrip('/')}/analyze"
        told: Sequence[_Found] = await _ask(self._web, asked, url, headers, question, list[_Found])
        found = []
        for one in told:
            if not 0 <= one.start < one.end <= len(text):
                raise Unexamined(f"{url}: a finding that lies outside the text")
            # What was not asked for is no finding: recognisers may answer more.
            if one.score >= asked.entities.get(one.entity_type, 2.0):
                found.append(Entity(one.start, one.end, one.entity_type, one.score))
        return found


async def _ask(  # noqa: PLR0917 - all that a question has.
    web: Web, asked: Asked, url: str, headers: Headers, question: _Question, kind: type[Told]
) -> Told:
    """Raises Unexamined."""
    request = Request(
        url=url,
        method="POST",
        headers=(*headers, _JSON),
        body=msgspec.json.encode(question),
        allow_private=asked.allow_private,
        timeout_s=asked.timeout_ms / 1000,
        most_bytes=ANSWER_BYTES,
    )
    try:
        answer = await web.fetch(request)
        if answer.status != 200:
            raise Unexamined(f"{url}: answered {answer.status}")
        return msgspec.json.decode(answer.body, type=kind)
    except Unreachable as away:
        raise Unexamined(str(away)) from away
    except msgspec.DecodeError as failure:
        raise Unexamined(f"{url}: its answer is not what was asked for: {failure}") from failure
