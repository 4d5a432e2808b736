"""From documents to resources ready to be applied: checked as the server checks, ordered so that references resolve."""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from cli.documents import Document
from cli.failure import USAGE, Failure
from core import validate
from core.admin import Draft
from core.kinds import KINDS, PLATFORM_SCOPE, kind_named
from core.resource import Ref, Spec

MEMBERS = ("kind", "tenant", "namespace", "name", "labels", "spec", "generation")
READ_ONLY = ("status", "digest", "created_at", "updated_at")
"""What `toolgate get` shows beside them; left unread, so that its output can be applied."""

_TEXTS = ("kind", "tenant", "namespace", "name")

Wherein = tuple[str, int, str]
"""A problem: its file, its line, what it is."""


@dataclass(frozen=True)
class Declared:
    """One resource of a manifest, with where it came from."""

    draft: Draft
    spec: Spec
    document: Document

    @property
    def ref(self) -> Ref:
        return Ref(self.draft.kind, self.draft.tenant, self.draft.name)

    def where(self, path: str) -> str:
        return f"{self.document.source}:{self.document.line(path)}"

    def needs(self) -> set[Ref]:
        """Everything that must be there before it."""
        tenant = self.draft.tenant
        needed = {Ref(ref.kind, tenant, ref.name) for _, ref in self.spec.references()}
        if tenant:
            needed.add(Ref("Tenant", "", tenant))
        if self.draft.namespace:
            needed.add(Ref("Namespace", tenant, self.draft.namespace))
        return needed


class Wrong(Failure):
    """A manifest that is not valid as it stands."""

    def __init__(self, problems: Sequence[Wherein], readable: Sequence[Declared]) -> None:
        """`readable`: what can be read as resources all the same, in part at least."""
        order = list(dict.fromkeys(source for source, _, _ in problems))
        told = sorted(dict.fromkeys(problems), key=lambda one: (order.index(one[0]), one[1]))
        count = f"{len(told)} problem{'s' if len(told) > 1 else ''}"
        lines = [f"{source}:{line}: {text}" for source, line, text in told]
        super().__init__(USAGE, f"{count} in the manifest; nothing was applied", lines)
        self.problems = tuple(problems)
        self.readable = tuple(readable)


def declared(documents: Sequence[Document], tenant: str = "") -> list[Declared]:
    """In an order in which each can be applied. `tenant` is for documents that name none.

    Raises Wrong with every problem of every document, each with file and line.
    """
    found: list[Declared] = []
    problems: list[Wherein] = []
    for document in documents:
        one, wrong = _read(document, tenant)
        problems += [(document.source, line, text) for line, text in sorted(wrong)]
        if one is not None:
            found.append(one)
    problems += _repeated(found)
    if problems:
        raise Wrong(problems, found)
    if not found:
        raise Failure(USAGE, "there are no resources in what -f names: it is empty, or holds comments only")
    return ordered(found)


def ordered(found: Sequence[Declared]) -> list[Declared]:
    """Each after what it needs, otherwise as written."""
    by_ref = {one.ref: one for one in found}
    sorter: TopologicalSorter[Ref] = TopologicalSorter()
    for one in found:
        sorter.add(one.ref, *(ref for ref in one.needs() if ref in by_ref))
    position = {one.ref: i for i, one in enumerate(found)}
    order: list[Declared] = []
    try:
        sorter.prepare()
    except CycleError:  # resources that need each other, which none should: the server says which reference is missing
        return list(found)
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        order += [by_ref[ref] for ref in ready]
        sorter.done(*ready)
    return order


def _read(document: Document, tenant: str) -> tuple[Declared | None, list[tuple[int, str]]]:
    """The resource as far as it can be read, and what is wrong with it."""
    problems = list(document.problems)
    value = document.value
    if not isinstance(value, dict):
        return None, [*problems, (document.line(""), "a resource must be an object with kind, name and spec")]
    problems += [
        (document.line(member), f"{member}: is not a field; there are {', '.join(MEMBERS)}")
        for member in value
        if member not in MEMBERS and member not in READ_ONLY
    ]
    texts, wrong = _texts(document, value)
    problems += wrong
    kind = kind_named(texts["kind"]) or texts["kind"]
    labels, wrong = _labels(document, value.get("labels"))
    problems += wrong
    owner = texts["tenant"] or ("" if kind in PLATFORM_SCOPE else tenant)
    generation = value.get("generation") or 0
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        problems.append((document.line("generation"), "generation: must be a whole number"))
        generation = 0
    rules = list(validate.envelope(kind, owner, texts["name"], texts["namespace"], labels))
    rules = validate.besides(rules, [name for name in _TEXTS if not isinstance(value.get(name, ""), str)])
    raw = value.get("spec", {})
    spec, wrong_in_spec = validate.examine(KINDS[kind], raw) if kind in KINDS else (None, [])
    problems += [(document.line(p.path), f"{p.path}: {p.rule}") for p in (*rules, *wrong_in_spec)]
    if spec is None or not isinstance(raw, dict) or any(p.path in _TEXTS for p in rules):
        return None, problems
    draft = Draft(
        kind=kind,
        tenant=owner,
        name=texts["name"],
        namespace=texts["namespace"],
        labels=labels,
        spec=raw,
        generation=generation,
    )
    return Declared(draft, spec, document), problems


def _texts(document: Document, value: dict[str, object]) -> tuple[dict[str, str], list[tuple[int, str]]]:
    texts: dict[str, str] = {}
    problems = []
    for member in _TEXTS:
        given = value.get(member)
        if given is not None and not isinstance(given, str):
            problems.append((document.line(member), f"{member}: must be text; put it in quotes"))
        texts[member] = given if isinstance(given, str) else ""
    return texts, problems


def _labels(document: Document, given: object) -> tuple[dict[str, str], list[tuple[int, str]]]:
    if given is None:
        return {}, []
    if not isinstance(given, dict):
        return {}, [(document.line("labels"), "labels: must be an object of texts")]
    wrong = [
        (document.line(f"labels.{key}"), f"labels.{key}: must be text; put it in quotes")
        for key, text in given.items()
        if not isinstance(text, str)
    ]
    return {str(k): v for k, v in given.items() if isinstance(v, str)}, wrong


def _repeated(found: Sequence[Declared]) -> list[Wherein]:
    first: dict[Ref, Declared] = {}
    problems: list[Wherein] = []
    for one in found:
        if one.ref in first:
            line, before = one.document.line("name"), first[one.ref].where("name")
            problems.append((one.document.source, line, f"{one.ref} is declared already at {before}"))
        first.setdefault(one.ref, one)
    return problems
