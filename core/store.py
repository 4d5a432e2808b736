"""Where declared things are kept: the port, what is asked of it, and label selectors."""

import re
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from core.audit import Entry
from core.resource import LABEL_KEY, LABEL_VALUE, Ref, Resource
from core.secret import Sealed

Op = Literal["=", "!=", "exists", "absent", "in", "notin"]

_SET = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")
_TERM = re.compile(r"\s*((?:[^,()]|\([^()]*\))+)\s*(?:,|$)")


class Term(msgspec.Struct, frozen=True):
    """One requirement on labels. `!=` and `notin` also hold where the label is absent."""

    key: str
    op: Op
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.op:
            case "=" | "in":
                return value in self.values
            case "!=" | "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None


class BadSelector(ValueError):
    """The text is no selector; the message says which part."""


def parse_selector(text: str) -> tuple[Term, ...]:
    """`team=pay,tier!=test,owner,!legacy,zone in (a,b)`; all must hold. Empty: no requirement. Raises BadSelector."""
    terms = []
    at = 0
    while at < len(text.rstrip()):
        match = _TERM.match(text, at)
        if match is None:
            raise BadSelector(f"unexpected {text[at:].strip()!r}")
        terms.append(_term(match[1].strip()))
        at = match.end()
    if text.rstrip().endswith(","):
        raise BadSelector("ends with a comma")
    return tuple(terms)


def _term(text: str) -> Term:
    in_set = _SET.fullmatch(text)
    if in_set:
        op: Op = "in" if in_set[2] == "in" else "notin"
        return _checked(text, Term(in_set[1], op, tuple(v.strip() for v in in_set[3].split(","))))
    for mark, found in (("!=", "!="), ("==", "="), ("=", "=")):
        key, sign, value = text.partition(mark)
        if sign:
            return _checked(text, Term(key.strip(), "=" if found == "=" else "!=", (value.strip(),)))
    if text.startswith("!"):
        return _checked(text, Term(text[1:].strip(), "absent"))
    return _checked(text, Term(text, "exists"))


def _checked(text: str, term: Term) -> Term:
    if not LABEL_KEY.fullmatch(term.key):
        raise BadSelector(f"{text!r} does not start with a label key")
    for value in term.values:
        if not LABEL_VALUE.fullmatch(value):
            raise BadSelector(f"{value!r} is no label value")
    return term


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of one kind, ordered by tenant and name."""

    kind: str
    tenant: str | None
    """None: all tenants."""
    name: str = ""
    """Empty: all names."""
    namespace: str = ""
    """Empty: all namespaces."""
    selector: tuple[Term, ...] = ()
    after: tuple[str, str] | None = None
    """Tenant and name of the last one already had."""
    limit: int = 100


class Change(msgspec.Struct, frozen=True):
    """That something changed, not what it became: read the resource for that."""

    revision: int
    type: Literal["applied", "deleted"]
    ref: Ref
    last: Resource | None = None
    """What was deleted, as it was."""


class Pruned(Exception):
    """Changes since that revision are not kept any more, or it never was: start from the current state."""


class IssuedKey(msgspec.Struct, frozen=True):
    """What is kept of a key: the part that may be shown, and the keyed hash of the whole."""

    key_id: str
    hash: bytes
    issued_unix: float
    overlap_until_unix: float | None = None
    """How long the key before stays good; None: it ends."""


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """A resource to be created or replaced, with what is kept beside it. None leaves what is there."""

    resource: Resource
    """As it shall read afterwards, its status aside."""
    status: Mapping[str, object] = msgspec.field(default_factory=dict)
    """Members of the status to set, None to take one away; the others stay, as reports come at any time."""
    references: tuple[tuple[str, Ref], ...] = ()
    """(path, Ref) of what it names."""
    sealed: Sealed | None = None
    """A Secret's value, or a Tenant's keys."""
    key: IssuedKey | None = None
    """An ApiKey's hash."""


class Writing(Protocol):
    """A change in the making: nothing else changes in the locked tenants until it is committed."""

    async def get(self, ref: Ref) -> Resource | None: ...

    async def existing(self, refs: Collection[Ref]) -> set[Ref]:
        """Those of `refs` that exist."""
        ...

    async def referrers(self, ref: Ref, limit: int) -> list[tuple[Ref, str]]:
        """Who names `ref`, and at which path, in order. A Tenant is named by everything in it, a Namespace likewise."""
        ...

    async def count(self, tenant: str, kind: str) -> int: ...

    async def sealed(self, ref: Ref) -> Sealed | None: ...

    async def put(self, put: Put, entry: Entry) -> None:
        """`entry` goes to the resource's tenant's audit chain, in the same transaction."""
        ...

    async def unseal(self, ref: Ref, entry: Entry) -> None:
        """Take away what is kept sealed for a resource, which stays."""
        ...

    async def drop(self, ref: Ref, entry: Entry) -> None:
        """Remove a resource and what is kept beside it."""
        ...


class Store(Protocol):
    """Declared things. Every method raises Rejected(UNAVAILABLE) when the store is away."""

    async def get(self, ref: Ref) -> Resource | None: ...

    async def find(self, query: Query) -> list[Resource]: ...

    async def load(self, tenant: str) -> tuple[int, list[Resource]]:
        """The newest revision, and a tenant's everything as of it: the Tenant if it exists, then by kind and name."""
        ...

    async def changes(self, since: int, limit: int) -> list[Change]:
        """Changes after revision `since`, in commit order: none is ever seen later than a higher one. Raises Pruned."""
        ...

    def writing(self, *tenants: str) -> AbstractAsyncContextManager[Writing]:
        """Lock tenants ("" is the platform) against other changes; committed when the block ends, undone if it raises.

        A commit with changes gives each the next revision and tells every listener.
        """
        ...


class Statuses(Protocol):
    """What Toolgate says of resources: changes no generation and tells nobody."""

    async def report(self, patches: Mapping[Ref, Mapping[str, object]]) -> None:
        """Replace the top-level members given, keep the others; None removes one. A missing resource is passed over."""
        ...
