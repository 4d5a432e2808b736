"""Tenants' own detectors: what cannot be compiled is told by field, before any gateway sees it."""

from adapters.re2.matcher import Re2Matcher
from control_plane.compiler.detectors import unusable
from core.guard import Guard
from core.own_detector import OwnDetector
from core.resource import Ref, Resource


def guard(name: str, **own: OwnDetector) -> Resource:
    return Resource(kind="Guard", tenant="acme", name=name, spec=Guard(detectors=list(own), own=own))


def test_what_is_no_re2_matches_nothing_or_is_named_twice() -> None:
    found = unusable(
        [
            guard("a", ok=OwnDetector(pattern="EMP-[0-9]{6}"), ahead=OwnDetector(pattern="(?=x)y")),
            guard("b", ok=OwnDetector(terms=["Falcon"]), empty=OwnDetector(pattern="x*")),
        ],
        Re2Matcher(),
    )
    assert [(one.ref, one.path) for one in found] == [
        (Ref("Guard", "acme", "a"), "spec.own.ahead.pattern"),
        (Ref("Guard", "acme", "b"), "spec.own.empty.pattern"),
        (Ref("Guard", "acme", "b"), "spec.own.ok"),
    ]


def test_a_pattern_that_takes_too_much_memory_is_refused() -> None:
    (found,) = unusable([guard("a", big=OwnDetector(pattern="(?:[a-z0-9]{1000}){900}"))], Re2Matcher())
    assert found.path == "spec.own.big.pattern"


def test_two_thousand_terms_can_be_looked_for() -> None:
    terms = [f"customer number {n:06d} of the northern region" for n in range(2000)]
    assert unusable([guard("a", names=OwnDetector(terms=terms))], Re2Matcher()) == []
