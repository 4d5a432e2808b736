"""Whether tenants' own detectors can be compiled at all, and are each other's: told where they are declared."""

from collections.abc import Iterator, Sequence

from control_plane.compiler.source import Found
from core.guard import Guard, Matcher
from core.own_detector import pattern_of
from core.resource import Ref, Resource


def unusable(resources: Sequence[Resource], matcher: Matcher) -> list[Found]:
    """Everything wrong with the own detectors of a tenant's guards."""
    guards = [(r.ref, r.spec) for r in resources if isinstance(r.spec, Guard) and not r.spec.disabled]
    return [*_each(guards, matcher), *_named_twice(guards)]


def _each(guards: Sequence[tuple[Ref, Guard]], matcher: Matcher) -> Iterator[Found]:
    for ref, guard in guards:
        patterns = []
        for name, own in guard.own.items():
            path = f"spec.own.{name}.{'pattern' if own.pattern else 'terms'}"
            try:
                if matcher.compile([pattern_of(own)]).hits(b""):
                    yield Found(ref, path, "must not match where there is nothing")
                patterns.append(pattern_of(own))
            except ValueError as failure:
                yield Found(ref, path, f"is no RE2: {failure}")
        try:
            if patterns:
                matcher.compile(patterns).hits(b"")
        except ValueError as failure:
            yield Found(ref, "spec.own", str(failure))


def _named_twice(guards: Sequence[tuple[Ref, Guard]]) -> Iterator[Found]:
    first: dict[str, Ref] = {}
    for ref, guard in guards:
        for name in guard.own:
            if name in first:
                yield Found(ref, f"spec.own.{name}", f"{first[name]} has a detector of this name")
            first.setdefault(name, ref)
