"""Arguments and obligations as people write them, decided by the engine."""

import json

import pytest

from adapters.wasmtime.policy import WasmPolicyEngine
from control_plane.compiler.policy import policy_data, role_problems
from control_plane.policies import platform_module
from core.identity import Condition, Obligations, Permission, Role
from core.policy import UNDEFINED, Decision, Duties, normalise, parsed
from tests.contract.test_policy_roles import asked


@pytest.fixture(scope="module")
def engine():
    with WasmPolicyEngine() as made:
        yield made


def policy_of(engine, *permissions: Permission):
    data = policy_data({"r": Role(permissions=list(permissions))})
    return data, engine.prepare(platform_module(), data.data, data.canaries)


def decided(policy, **changes) -> Decision:
    return policy.decide(json.dumps(asked(["r"], **changes)).encode())


def argument(path, op, value) -> list[Condition]:
    return [Condition(attribute=f"arg.{path}", op=op, value=value)]


def test_an_allow_needs_the_argument_to_be_as_it_says(engine):
    data, policy = policy_of(engine, Permission(when=argument("amount", "lte", 100)))
    assert data.arguments == ("amount",)
    assert [decided(policy, args={"amount": n}).allow for n in (1, 100, 101)] == [True, True, False]
    for args in ({}, {"amount": "1"}, {"amount": None}, {"amount": {}}, {"amount": [1]}):
        assert not decided(policy, args=args).allow


@pytest.mark.parametrize(
    ("op", "value", "barred", "free"),
    [
        ("gt", 100, 101, 100),
        ("eq", "prod", "prod", "test"),
        ("ne", "test", "prod", "test"),
        ("in", ["a", "b"], "a", "c"),
        ("not_in", ["a", "b"], "c", "a"),
        ("contains", "rm ", "rm -rf", "ls"),
        ("eq", True, True, False),
    ],
)
def test_a_deny_holds_for_what_it_names_and_for_every_other_type(engine, op, value, barred, free):
    _, policy = policy_of(engine, Permission(), Permission(effect="deny", when=argument("x", op, value)))
    assert not decided(policy, args={"x": barred}).allow
    assert decided(policy, args={"x": free}).allow
    assert decided(policy, args={}).allow
    for other in ({}, None, 1.5 if isinstance(value, str | list | bool) else "1"):
        assert not decided(policy, args={"x": other}).allow, other


def test_before_arguments_are_known_a_list_shows_what_some_may_be_used_for(engine):
    _, policy = policy_of(
        engine, Permission(when=argument("x", "eq", 1)), Permission(effect="deny", when=argument("x", "eq", 2))
    )
    listed = asked(["r"])
    tool = {**listed.pop("tool"), "name": "one"}
    assert policy.visible(json.dumps({**listed, "tools": [tool]}).encode()) == {"one"}
    assert decided(policy).allow


def test_obligations_of_all_permissions_that_allow_add_up(engine):
    data, policy = policy_of(
        engine,
        Permission(obligations=Obligations(mask=["pii"], step_up=["mfa"])),
        Permission(tools=["log"], obligations=Obligations(approval=True, rate=["slow"])),
        Permission(tools=["other"], obligations=Obligations(mask=["never"])),
        Permission(servers=["svn"], obligations=Obligations(mask=["never"])),
    )
    assert json.loads(data.data)["obliges"] is True
    said = decided(policy)
    assert said.obligations == ("approval", "mask:pii", "rate:slow", "step_up:mfa")
    assert parsed(said.obligations) == Duties(approval=True, mask=("pii",), rate=("slow",), step_up=("mfa",))


def test_a_decision_with_an_obligation_nobody_knows_is_a_refusal():
    for words in (["dance"], ["mask:"], ["approval:now"], ["mask"]):
        said = normalise({"allow": True, "reasons": ["role:r"], "obligations": words})
        assert said == Decision(allow=False, reasons=("policy_obligation_unknown",))
    for words in ("approval", [1], [f"mask:{n}" for n in range(65)]):
        assert normalise({"allow": True, "reasons": [], "obligations": words}) == UNDEFINED


def test_explain_names_the_permission_by_its_place_and_the_check_that_failed(engine):
    _, policy = policy_of(
        engine,
        Permission(tools=["other"]),
        Permission(effect="deny", when=[Condition(attribute="ctx.hour", op="gte", value=18)]),
        Permission(max_risk="high"),
    )
    explained = policy.explain(json.dumps(asked(["r"], ctx={"hour": 9})).encode())
    assert (
        explained
        == {
            "decision": {"allow": True, "reasons": ["role:r"]},
            "applied": [{"role": "r", "effect": "allow", "permission": 2}],
            "missed": [
                {
                    "role": "r",
                    "effect": "deny",
                    "permission": 1,
                    "failed": [{"path": ["ctx", "hour"], "op": "gte", "value": 18}],
                },
                {
                    "role": "r",
                    "effect": "allow",
                    "permission": 0,
                    "failed": [{"path": ["upstream_name"], "op": "named", "value": {"exact": {"other": True}}}],
                },
            ],
        }
        or explained["missed"][1:] == []
    )  # what names its tools one by one is filed under them


def test_what_could_never_hold_of_a_moment_is_a_problem():
    rules = {
        ("ctx.time", "9:00"): 'must be a time such as "17:30"',
        ("ctx.date", "2027-13-01"): 'must be a date such as "2027-01-31"',
        ("arg.", "x"): "must be user.<attribute>, agent.<attribute>, tool.<property>, arg.<path> or ctx.<property>",
    }
    for (attribute, value), rule in rules.items():
        permission = Permission(when=[Condition(attribute=attribute, op="eq", value=value)])
        assert [p.rule for p in role_problems(Role(permissions=[permission]))] == [rule]
    role = Role(permissions=[Permission(effect="deny", obligations=Obligations(approval=True))])
    assert [p.path for p in role.problems()] == ["spec.permissions[0].obligations"]
