"""Looks at texts that others do: a model that tells injections, and Presidio. Declared with a guard, asked by gateways.

Both are services of the operator's or the tenant's own, asked for each text that a guard looks at and nobody has asked
about lately; what happens while they are away is said with the guard.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from core.resource import Problem, Ref
from core.web import url_problems

PREFIX: Final = "pii_"
"""Begins the names of what Presidio finds, in masks, findings and `actions`: `pii_person` is its PERSON."""
TEXT_CHARS: Final = 32_000
"""Of one message; a longer one counts as one that nobody looked at."""
LONGEST_MS: Final = 10_000
ENTITIES: Final = 50


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A service that looks at texts."""

    url: str
    secret_headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Header to the name of a Secret."""
    timeout_ms: int = 500
    allow_private: bool = False
    """Permit loopback and private addresses, and plain HTTP."""
    on_error: Literal["block", "pass"] = "block"
    """While it is away, late, or given more than it can be asked: `block` refuses, `pass` goes on without it."""

    def problems(self, path: str) -> Iterator[Problem]:
        yield from url_problems(f"{path}.url", self.url, allow_private=self.allow_private)
        if not 10 <= self.timeout_ms <= LONGEST_MS:
            yield Problem(f"{path}.timeout_ms", f"must be 10-{LONGEST_MS}")

    def references(self, path: str) -> Iterator[tuple[str, Ref]]:
        for header, secret in self.secret_headers.items():
            yield f"{path}.secret_headers.{header}", Ref("Secret", "", secret)


class Classifier(Asked, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Is asked with `{"text": ...}` and answers `{"score": 0.0-1.0}`: how sure it is that the text gives orders."""


class Presidio(Asked, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Presidio's analyzer, or what speaks its REST API: `url` is where it is, and `/analyze` is asked."""

    entities: dict[str, float]
    """Entity, such as PERSON, to the least score (0-1) from which on it is one."""
    language: str = "en"

    def problems(self, path: str) -> Iterator[Problem]:
        yield from super().problems(path)
        if not 1 <= len(self.entities) <= ENTITIES:
            yield Problem(f"{path}.entities", f"must be 1-{ENTITIES}")
        for name, least in self.entities.items():
            if not name.isascii() or not name.replace("_", "a").isalnum() or not name.isupper() or len(name) > 40:
                yield Problem(f'{path}.entities["{name}"]', "must be one of Presidio's entities, such as PERSON")
            if not 0 <= least <= 1:
                yield Problem(f'{path}.entities["{name}"]', "must be 0-1")
        if not self.language.isascii() or not self.language.isalpha() or len(self.language) > 8:
            yield Problem(f"{path}.language", "must be a language's code, such as en")

    def names(self) -> tuple[str, ...]:
        """What its findings are called."""
        return tuple(PREFIX + entity.lower() for entity in sorted(self.entities))


class Deep(NamedTuple):
    """Who else is asked about what a scanner looks at."""

    classifiers: tuple[Classifier, ...] = ()
    analyzers: tuple[Presidio, ...] = ()

    @property
    def demanded(self) -> bool:
        """Whether nothing passes that they have not seen."""
        return any(one.on_error == "block" for one in (*self.classifiers, *self.analyzers))


class Entity(NamedTuple):
    """What Presidio found, in characters of the text it was asked about."""

    start: int
    end: int
    kind: str
    score: float


class Unexamined(Exception):
    """No answer that can be used. The message never holds the text."""


Headers = Sequence[tuple[str, str]]


class InjectionClassifier(Protocol):
    """A model that tells texts that give orders."""

    async def score(self, asked: Classifier, headers: Headers, text: str) -> int:
        """0 to 100. Raises Unexamined."""
        ...


class Analyzer(Protocol):
    """What finds people, places and the like in plain text."""

    async def entities(self, asked: Presidio, headers: Headers, text: str) -> list[Entity]:
        """Those at or above their least score. Raises Unexamined."""
        ...


def joined(signals: int, model: int) -> int:
    """One score of two witnesses: either alone is enough, and two that are half sure are surer together."""
    return 100 - round((100 - signals) * (100 - model) / 100)
