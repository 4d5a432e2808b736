"""The policy stage: who gets a Permit, what is remembered, and what a stranger can tell. On the real engine."""

import json
from dataclasses import dataclass, field
from math import inf

import pytest

from adapters.wasmtime.policy import WasmPolicyEngine
from control_plane.compiler.policy import policy_data
from control_plane.policies import platform_module
from core.call import Inbound, Permit
from core.errors import Reason, Refused
from core.identity import Caller, Condition, Permission, Role
from core.policy import ERROR, UNDEFINED, Decision
from core.snapshot import CompiledTool, Identity, PolicyData, Principal
from data_plane.stages import policy

NOW = 1_785_240_000.0  # Tuesday, 2026-07-28, 12:00 UTC
HOUR = 3600.0


@dataclass
class Counted:
    """A prepared policy that notes what it is asked. `answers` stands in for it where a test needs a failing one."""

    real: object = None
    answers: list = field(default_factory=list)
    asked: list[dict] = field(default_factory=list)
    remote = None

    def decide(self, input_json):
        self.asked.append(json.loads(input_json))
        return self.answers.pop(0) if self.answers else self.real.decide(input_json)

    def visible(self, input_json):
        self.asked.append(json.loads(input_json))
        return self.answers.pop(0) if self.answers else self.real.visible(input_json)

    def close(self):
        pass


@pytest.fixture(scope="module")
def engine():
    with WasmPolicyEngine() as made:
        yield made


def identity(**users) -> Identity:
    known = {"ann": Principal(roles=("reader",)), "bob": Principal(roles=("reader",)), "eve": Principal()}
    return Identity(users={**known, **users}, agents={"bot": Principal(roles=("writer",))})


def authorizer_of(engine, *permissions, people=None, writer=(), digest=b"d", epoch=0):
    data = policy_data({"reader": Role(permissions=list(permissions)), "writer": Role(permissions=list(writer))})
    counted = Counted(engine.prepare(platform_module(), data.data, data.canaries))
    return policy.Authorizer(counted, data, people or identity(), digest, epoch), counted


def caller_of(authorizer, user="ann", agent="", expires_unix=inf) -> Caller:
    return Caller(
        tenant="acme",
        user=user,
        agent=agent,
        credential="key:k",
        endpoints=frozenset(),
        expires_unix=expires_unix,
        policy_class=authorizer.policy_class(user, agent),
    )


def inbound(name="log", endpoint="default", address="10.1.2.3") -> Inbound:
    return Inbound(
        id="1",
        tenant=None,
        endpoint=endpoint,
        transport="streamable_http",
        era="modern",
        revision="2026-07-28",
        method="tools/call",
        credential=b"",
        name=name,
        client_address=address,
    )


def tool_of(name="log", **changes) -> CompiledTool:
    return CompiledTool(
        **{"name": name, "server": "git", "upstream_name": name, "definition": b"{}", "digest": b"", **changes}
    )


def refusal(*args) -> Refused:
    with pytest.raises(Refused) as refused:
        policy.authorize(*args)
    return refused.value


def test_a_permit_says_who_may_call_what_and_why(engine):
    authorizer, _ = authorizer_of(engine, Permission(tools=["log"]))
    caller, tool = caller_of(authorizer), tool_of()
    assert policy.authorize(inbound(), caller, tool, authorizer, NOW) == Permit(
        caller=caller, endpoint="default", tool=tool, reasons=("role:reader",), cached=False
    )


def test_a_denied_tool_and_an_unknown_tool_look_the_same_and_are_recorded_apart(engine):
    authorizer, _ = authorizer_of(engine, Permission(tools=["other"]))
    denied = refusal(inbound("log"), caller_of(authorizer), tool_of(), authorizer, NOW)
    unknown = refusal(inbound("log"), caller_of(authorizer), None, authorizer, NOW)
    assert denied.public == unknown.public == "Unknown tool: log"
    assert (denied.data, denied.retry_after_s) == (unknown.data, unknown.retry_after_s)
    assert (denied.reason, denied.detail) == (Reason.FORBIDDEN, "no_permission")
    assert (unknown.reason, unknown.detail) == (Reason.UNKNOWN_TOOL, "")


def test_callers_of_one_class_share_a_decision(engine):
    authorizer, counted = authorizer_of(engine, Permission())
    first = policy.authorize(inbound(), caller_of(authorizer, "ann"), tool_of(), authorizer, NOW)
    second = policy.authorize(inbound(), caller_of(authorizer, "bob"), tool_of(), authorizer, NOW + 1)
    assert (first.cached, second.cached) == (False, True)
    assert second.caller.user == "bob"
    assert len(counted.asked) == 1
    assert "name" not in counted.asked[0]["user"]


def test_where_a_rule_reads_names_callers_share_nothing(engine):
    by_name = Permission(when=[Condition(attribute="user.name", op="eq", value="ann")])
    authorizer, counted = authorizer_of(engine, by_name)
    assert policy.authorize(inbound(), caller_of(authorizer, "ann"), tool_of(), authorizer, NOW).reasons
    assert refusal(inbound(), caller_of(authorizer, "bob"), tool_of(), authorizer, NOW).reason is Reason.FORBIDDEN
    assert [asked["user"]["name"] for asked in counted.asked] == ["ann", "bob"]


def test_denials_are_remembered_too(engine):
    authorizer, counted = authorizer_of(engine, Permission(tools=["other"]))
    for _ in range(3):
        refusal(inbound(), caller_of(authorizer), tool_of(), authorizer, NOW)
    assert len(counted.asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"inbound": {"endpoint": "second"}},
        {"tool": {"name": "status"}},
        {"caller": {"user": "eve"}},
        {"caller": {"agent": "bot"}},
    ],
)
def test_another_endpoint_tool_or_class_is_another_decision(engine, other):
    authorizer, counted = authorizer_of(engine, Permission(), writer=[Permission()])
    policy.authorize(inbound(), caller_of(authorizer), tool_of(), authorizer, NOW)
    caller = caller_of(authorizer, **other.get("caller", {}))
    tool = tool_of(**other.get("tool", {}))
    authorizer.decide(inbound(**other.get("inbound", {})), caller, tool, NOW)
    assert len(counted.asked) == 2


def test_a_decision_ends_after_a_minute_or_with_the_key_that_asked(engine):
    authorizer, _ = authorizer_of(engine, Permission())

    def ask(caller, at):
        return policy.authorize(inbound(), caller, tool_of(), authorizer, at).cached

    caller = caller_of(authorizer)
    assert [ask(caller, NOW), ask(caller, NOW + 59), ask(caller, NOW + 60)] == [False, True, False]
    short = caller_of(authorizer, expires_unix=NOW + 130)
    assert [ask(short, NOW + 121), ask(caller, NOW + 129), ask(caller, NOW + 130)] == [False, True, False]


def test_a_decision_on_the_hour_does_not_outlive_it(engine):
    office = Permission(when=[Condition(attribute="ctx.hour", op="lt", value=13)])
    authorizer, counted = authorizer_of(engine, office)
    last = NOW + HOUR - 1
    assert policy.authorize(inbound(), caller_of(authorizer), tool_of(), authorizer, last)
    assert refusal(inbound(), caller_of(authorizer), tool_of(), authorizer, last + 1).reason is Reason.FORBIDDEN
    assert [asked["ctx"] for asked in counted.asked] == [{"hour": 12}, {"hour": 13}]


def test_weekdays_are_those_of_the_calendar_in_utc(engine):
    tuesday = Permission(when=[Condition(attribute="ctx.weekday", op="eq", value="Tuesday")])
    authorizer, _ = authorizer_of(engine, tuesday)
    day = 86400.0
    allowed = [authorizer.decide(inbound(), caller_of(authorizer), tool_of(), NOW + n * day)[0].allow for n in range(8)]
    assert allowed == [True, False, False, False, False, False, False, True]


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("10.1.2.3", {"ip": "10.1.2.3"}),
        ("::ffff:10.1.2.3", {"ip": "10.1.2.3"}),
        ("2001:0db8:0000::1", {"ip": "2001:db8::1"}),
        ("fe80::1%eth0", {"ip": "fe80::1"}),
        ("", {}),
        ("not an address", {}),
    ],
)
def test_addresses_are_sent_in_one_form_and_what_is_none_is_left_out(engine, address, sent):
    authorizer, counted = authorizer_of(
        engine, Permission(when=[Condition(attribute="ctx.ip", op="cidr", value="10.0.0.0/8")])
    )
    authorizer.decide(inbound(address=address), caller_of(authorizer), tool_of(), NOW)
    assert counted.asked[0]["ctx"] == sent


def test_what_no_rule_reads_is_neither_sent_nor_part_of_the_key(engine):
    authorizer, counted = authorizer_of(engine, Permission())
    authorizer.decide(inbound(address="10.0.0.1"), caller_of(authorizer), tool_of(), NOW)
    assert authorizer.decide(inbound(address="10.0.0.2"), caller_of(authorizer), tool_of(), NOW + 59)[1] is True
    assert counted.asked[0]["ctx"] == {}


@pytest.mark.parametrize("failure", [ERROR, UNDEFINED])
def test_a_failure_denies_and_is_not_remembered(engine, failure):
    authorizer, counted = authorizer_of(engine, Permission())
    counted.answers.append(failure)
    refused = refusal(inbound(), caller_of(authorizer), tool_of(), authorizer, NOW)
    assert (refused.reason, refused.detail) == (Reason.FORBIDDEN, failure.reasons[0])
    assert policy.authorize(inbound(), caller_of(authorizer), tool_of(), authorizer, NOW).cached is False


def test_somebody_the_snapshot_does_not_know_takes_the_agents_roles_with_them(engine):
    authorizer, counted = authorizer_of(engine, writer=[Permission()])
    assert policy.authorize(inbound(), caller_of(authorizer, "eve", "bot"), tool_of(), authorizer, NOW)
    refused = refusal(inbound(), caller_of(authorizer, "gone", "bot"), tool_of(), authorizer, NOW)
    assert refused.detail == "no_role"
    assert counted.asked[-1]["roles"] == []


def test_a_caller_has_the_roles_of_its_user_and_its_agent(engine):
    authorizer, counted = authorizer_of(engine, Permission(tools=["log"]), writer=[Permission(tools=["push"])])
    caller = caller_of(authorizer, "ann", "bot")
    for name in ("log", "push"):
        assert policy.authorize(inbound(name), caller, tool_of(name), authorizer, NOW)
    assert counted.asked[0]["roles"] == ["reader", "writer"]


@pytest.mark.parametrize(
    "attributes", [{"note": "a\0b"}, {"note": "x" * (policy.INPUT_CAP_BYTES + 1)}], ids=["nul", "oversize"]
)
def test_input_an_engine_could_misread_is_denied_before_it(engine, attributes):
    people = identity(odd=Principal(roles=("reader",), attributes=attributes))
    authorizer, counted = authorizer_of(engine, Permission(), people=people)
    refused = refusal(inbound(), caller_of(authorizer, "odd"), tool_of(), authorizer, NOW)
    assert refused.detail == "policy_error"
    assert policy.visible(inbound(), caller_of(authorizer, "odd"), (tool_of(),), authorizer, NOW) == ()
    assert counted.asked == []


def test_a_class_is_all_a_decision_depends_on(engine):
    people = identity(
        twin=Principal(roles=("reader",)),
        other=Principal(roles=("reader",), attributes={"mfa": True}),
        grouped=Principal(roles=("reader",), groups=("staff",)),
    )
    authorizer, _ = authorizer_of(engine, Permission(), people=people)
    classes = {who: authorizer.policy_class(who, "") for who in ("ann", "twin", "other", "grouped", "eve", "gone", "")}
    assert classes["ann"] == classes["twin"]
    assert classes["gone"] == classes[""], "somebody unknown is nobody"
    assert len(set(classes.values())) == len(classes) - 2
    assert authorizer.policy_class("ann", "bot") not in classes.values()


@pytest.mark.parametrize("changed", [{"digest": b"e"}, {"epoch": 1}])
def test_a_new_snapshot_or_revocation_epoch_shares_no_class_with_the_old(engine, changed):
    before, _ = authorizer_of(engine, Permission())
    after, _ = authorizer_of(engine, Permission(), **changed)
    assert before.policy_class("ann", "") != after.policy_class("ann", "")


def test_visible_are_the_tools_a_call_would_be_permitted_in_their_order(engine):
    authorizer, _ = authorizer_of(engine, Permission(tools=["t*"], max_risk="medium"))
    tools = (*(tool_of(f"t{n}", risk=["low", "medium", "high"][n % 3]) for n in range(200)), tool_of("other"))
    caller = caller_of(authorizer)
    seen = policy.visible(inbound(), caller, tools, authorizer, NOW)
    assert seen == tuple(tool for tool in tools if authorizer.decide(inbound(), caller, tool, NOW)[0].allow)
    assert len(seen) == 134


def test_equal_lists_are_one_object_for_everybody(engine):
    people = identity(other=Principal(roles=("reader",), attributes={"mfa": True}))
    authorizer, counted = authorizer_of(engine, Permission(tools=["a"]), people=people)
    tools = (tool_of("a"), tool_of("b"))
    one = policy.visible(inbound(), caller_of(authorizer, "ann"), tools, authorizer, NOW)
    assert policy.visible(inbound(), caller_of(authorizer, "bob"), tools, authorizer, NOW) is one
    assert len(counted.asked) == 1
    assert policy.visible(inbound(), caller_of(authorizer, "other"), tools, authorizer, NOW) is one
    assert policy.visible(inbound(), caller_of(authorizer, "ann"), tools, authorizer, NOW + 61) is one
    assert len(counted.asked) == 3


def test_a_list_the_policy_fails_at_is_empty_and_not_remembered(engine):
    authorizer, counted = authorizer_of(engine, Permission(tools=["t*"]))
    tools = tuple(tool_of(f"t{n}") for n in range(policy.TOOLS_AT_ONCE + 1))
    counted.answers += [frozenset({"t0"}), None]
    assert policy.visible(inbound(), caller_of(authorizer), tools, authorizer, NOW) == ()
    assert policy.visible(inbound(), caller_of(authorizer), tools, authorizer, NOW) == tools


def test_no_more_decisions_are_kept_than_the_cap():
    allow = Decision(True, ("role:reader",))
    counted = Counted(answers=[allow] * (policy.DECISIONS_CAP + 3))
    authorizer = policy.Authorizer(counted, PolicyData(data=b"{}"), identity(), b"d", 0)
    caller = caller_of(authorizer)
    for n in range(policy.DECISIONS_CAP + 1):
        authorizer.decide(inbound(), caller, tool_of(f"t{n}"), NOW)
    assert authorizer.decide(inbound(), caller, tool_of("t1"), NOW)[1] is True, "kept"
    assert authorizer.decide(inbound(), caller, tool_of("t0"), NOW)[1] is False, "the oldest gave way"
    assert authorizer.decide(inbound(), caller, tool_of("t1"), NOW)[1] is True, "used lately, so it stays"
