"""What counts as a decision, and the rules of a Policy."""

import pytest

from core.policy import ERROR, UNDEFINED, Decision, Policy, RegoRejected, normalise, package_path
from core.resource import Problem


def test_an_object_whose_allow_is_true_allows_with_its_reasons_sorted():
    assert normalise({"allow": True, "reasons": ["role:b", "role:a"]}) == Decision(True, ("role:a", "role:b"))


def test_a_denial_keeps_its_reasons():
    assert normalise({"allow": False, "reasons": ["no_role"]}) == Decision(False, ("no_role",))


def test_reasons_may_be_left_out():
    assert normalise({"allow": True}) == Decision(True, ())


@pytest.mark.parametrize(
    "result",
    [
        None,
        True,
        "true",
        1,
        [],
        [{"allow": True}],
        {},
        {"allow": None},
        {"allow": 1},
        {"allow": "true"},
        {"allow": [True]},
        {"Allow": True},
        {"allow": True, "reasons": "role:a"},
        {"allow": True, "reasons": {"role:a": True}},
        {"allow": True, "reasons": ["role:a", 1]},
        {"allow": True, "reasons": None},
    ],
)
def test_anything_else_is_a_denial_that_says_the_policy_is_undefined(result):
    assert normalise(result) == UNDEFINED
    assert Decision(False, ("policy_undefined",)) == UNDEFINED


def test_a_failed_policy_denies():
    assert Decision(False, ("policy_error",)) == ERROR


def test_a_policy_without_text_and_one_too_long_are_problems():
    assert [p.path for p in Policy(rego=" \n").problems()] == ["spec.rego"]
    assert [p.path for p in Policy(rego="x" * (256 * 1024 + 1)).problems()] == ["spec.rego"]
    assert list(Policy(rego="package toolgate.tenant.a").problems()) == []


def test_a_policys_package_is_its_name_with_underscores():
    assert package_path("office-hours") == ("toolgate", "tenant", "office_hours")


def test_a_rejection_tells_every_problem():
    rejected = RegoRejected([Problem("spec.rego", "one"), Problem("spec.tests", "two")])
    assert str(rejected) == "spec.rego: one; spec.tests: two"
    assert rejected.by_policy == {"": rejected.problems}
