"""Roles that only lose, decided by the shipped policy itself: allowed is what both the old and the new roles allow."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.wasmtime.policy import WasmPolicyEngine
from control_plane.compiler.narrow import narrowed
from control_plane.compiler.policy import policy_data
from control_plane.policies import platform_module
from core.identity import Condition, Obligations, Permission, Role
from core.policy import PolicyEngine
from core.snapshot import PolicyData

ACTIONS = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}
TOOLS = ("read", "read-all", "write", "drop")


@pytest.fixture(scope="module")
def engine() -> Iterator[PolicyEngine]:
    with WasmPolicyEngine() as made:
        yield made


def allowed(engine: PolicyEngine, data: PolicyData) -> set[tuple[str, str, str, int]]:
    policy = engine.prepare(platform_module(), data.data, data.canaries)
    try:
        return {
            (action, tool, risk, level)
            for action in ACTIONS
            for tool in TOOLS
            for risk in ("low", "high")
            for level in (1, 3)
            if policy.decide(_asked(action, tool, risk, level)).allow
        }
    finally:
        policy.close()


def _asked(action: str, tool: str, risk: str, level: int) -> bytes:
    shown = {"name": tool, "upstream_name": tool, "server": "s", "risk": risk, "labels": {}, "read_only": False}
    user = {"name": "ada", "groups": [], "attributes": {"level": level}}
    asked = {"user": user, "agent": None, "roles": ["r"], "endpoint": "default", "action": action, "ctx": {}}
    return msgspec.json.encode({**asked, ACTIONS[action]: shown})


permissions = st.builds(
    Permission,
    effect=st.sampled_from(("allow", "allow", "allow", "deny")),
    tools=st.lists(st.sampled_from((*TOOLS, "read*", "*")), min_size=1, max_size=2),
    prompts=st.lists(st.sampled_from(("read", "read*")), max_size=1),
    resources=st.lists(st.sampled_from((*TOOLS, "*")), max_size=2),
    max_risk=st.sampled_from((None, "low")),
    when=st.lists(
        st.builds(
            Condition, attribute=st.just("user.level"), op=st.sampled_from(("gte", "eq")), value=st.sampled_from((1, 3))
        ),
        max_size=1,
    ),
)
roles = st.builds(Role, permissions=st.lists(permissions, max_size=4))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=roles, new=roles)
def test_what_is_left_is_what_the_old_and_the_new_role_both_allow(engine: PolicyEngine, old: Role, new: Role) -> None:
    before, declared = policy_data({"r": old}), policy_data({"r": new})
    left = narrowed(before, {"r": new}, ())
    assert allowed(engine, left) == allowed(engine, before) & allowed(engine, declared)
    assert narrowed(left, {"r": new}, ()) is left


@given(role=roles)
@settings(max_examples=60, deadline=None)
def test_a_role_that_did_not_change_stays_as_it_is(role: Role) -> None:
    before = policy_data({"r": role})
    assert narrowed(before, {"r": role}, ()) is before


def test_true_is_not_one() -> None:
    one, true = (
        Role(permissions=[Permission(when=[Condition(attribute="user.vip", op="eq", value=v)])]) for v in (1, True)
    )
    assert narrowed(policy_data({"r": one}), {"r": true}, ()) != policy_data({"r": one})


def test_a_role_that_does_not_check_itself_stays_as_it_was() -> None:
    good = Role(permissions=[Permission()])
    bad = Role(permissions=[Permission(tools=[])])
    before = policy_data({"r": good})
    assert narrowed(before, {"r": bad}, ()) is before


def test_too_many_changed_permissions_to_compare_allow_nothing() -> None:
    old, new = (Role(permissions=[Permission(tools=[f"{mark}{i}*"]) for i in range(80)]) for mark in "ab")
    left = narrowed(policy_data({"r": old}), {"r": new}, ())
    assert msgspec.json.decode(left.data)["roles"]["r"] == {"allow": {}, "deny": {}}


@pytest.mark.parametrize(
    "data",
    [
        b'{"roles": {"r": {"allow": {"globs": [{"what": [], "who": [], "unless": []}]}}}}',
        b'{"roles": {"r": {"allow": {"patterns": []}}}}',
        b'{"roles": {"r": {"permit": {}}}}',
        b'{"roles": {}, "exceptions": {}}',
    ],
)
def test_what_is_not_understood_is_refused_and_never_left_out(data: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        narrowed(PolicyData(data=data), {}, ())


def test_obligations_and_conditions_on_arguments_only_grow(engine: PolicyEngine) -> None:
    below = Condition(attribute="arg.amount", op="lte", value=100)
    published = policy_data({"r": Role(permissions=[Permission(obligations=Obligations(mask=["pii"]))])})
    declared = {"r": Role(permissions=[Permission(when=[below], obligations=Obligations(approval=True))])}
    left = narrowed(published, declared, ())
    assert left.arguments == ("amount",)
    policy = engine.prepare(platform_module(), left.data, left.canaries)
    try:
        asked = msgspec.json.decode(_asked("tools/call", "read", "low", 1))
        said = policy.decide(msgspec.json.encode({**asked, "args": {"amount": 100}}))
        assert (said.allow, said.obligations) == (True, ("approval", "mask:pii"))
        assert not policy.decide(msgspec.json.encode({**asked, "args": {"amount": 101}})).allow
    finally:
        policy.close()
    without = narrowed(policy_data(declared), {"r": Role(permissions=[Permission()])}, ())
    assert b'"oblige":["approval"]' in without.data
