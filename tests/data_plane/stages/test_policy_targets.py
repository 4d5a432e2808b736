"""Prompts and resources before the policy: decided and listed as tools are, and never taken for one another."""

import random

import pytest

from control_plane.compiler.policy import policy_data
from core.errors import Reason, Refused
from core.identity import Condition, Permission, Role
from core.snapshot import CompiledPrompt, CompiledResource, CompiledTool
from data_plane.stages import policy
from tests.data_plane.stages.test_policy import NOW, authorizer_of, caller_of, engine, inbound, tool_of

__all__ = ["engine"]


def prompt(name: str = "log", **changes: object) -> CompiledPrompt:
    values = {"name": name, "server": "git", "upstream_name": name, "definition": b"{}", **changes}
    return CompiledPrompt(**values)  # type: ignore[arg-type]


def resource(uri: str, **changes: object) -> CompiledResource:
    values = {"name": uri, "server": "git", "upstream_name": uri, "definition": b"{}", **changes}
    return CompiledResource(**values)  # type: ignore[arg-type]


TARGETS: list[CompiledTool | CompiledPrompt | CompiledResource] = [tool_of("log"), prompt("log"), resource("log")]


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        (Permission(), [True, False, False]),
        (Permission(tools=[], prompts=["*"]), [False, True, False]),
        (Permission(tools=[], resources=["l*"]), [False, False, True]),
        (Permission(prompts=["log"], resources=["log"]), [True, True, True]),
        (Permission(tools=[], prompts=["*"], resources=["*"], servers=["other"]), [False, False, False]),
        (Permission(tools=[], prompts=["*"], resources=["*"], read_only=True), [False, True, True]),
    ],
)
def test_each_kind_needs_a_permission_of_its_own(engine, permission, allowed) -> None:
    authorizer, _ = authorizer_of(engine, permission)
    caller = caller_of(authorizer)
    decided = [authorizer.decide(inbound(), caller, target, NOW)[0].allow for target in TARGETS]
    assert decided == allowed
    # And so again, remembered: things of one name are no less apart.
    assert [authorizer.decide(inbound(), caller, target, NOW)[:2] for target in TARGETS] == [
        (authorizer.decide(inbound(), caller, target, NOW)[0], True) for target in TARGETS
    ]
    assert [bool(authorizer.visible(inbound(), caller, (target,), NOW)) for target in TARGETS] == allowed


def test_the_policy_is_told_what_it_is_about(engine) -> None:
    authorizer, counted = authorizer_of(engine, Permission())
    caller = caller_of(authorizer)
    for target in TARGETS:
        authorizer.decide(inbound(), caller, target, NOW)
        authorizer.visible(inbound(), caller, (target,), NOW)
    shown = {"upstream_name": "log", "server": "git", "risk": "low", "labels": {}, "name": "log"}
    told = [(one["action"], one.get("prompt") or one.get("prompts")) for one in counted.asked[2:4]]
    assert told == [("prompts/get", {**shown, "read_only": True}), ("prompts/get", [{**shown, "read_only": True}])]
    assert [one["action"] for one in counted.asked[4:]] == ["resources/read"] * 2
    assert [sorted(one.keys() & {"tool", "tools", "resource", "resources"}) for one in counted.asked[4:]] == [
        ["resource"],
        ["resources"],
    ]


def test_a_uri_is_decided_by_the_server_it_is_of(engine) -> None:
    authorizer, _ = authorizer_of(engine, Permission(tools=[], resources=["*"], servers=["git"]))
    caller = caller_of(authorizer)
    assert authorizer.decide(inbound(), caller, resource("x:1"), NOW)[0].allow
    assert not authorizer.decide(inbound(), caller, resource("x:1", server="vault"), NOW)[0].allow


def test_a_denial_by_uri_wins(engine) -> None:
    deny = Permission(effect="deny", tools=[], resources=["file:///secret/*"])
    authorizer, _ = authorizer_of(engine, Permission(resources=["*"]), deny)
    caller = caller_of(authorizer)
    uris = ["file:///public/a", "file:///secret/a"]
    assert [authorizer.decide(inbound(), caller, resource(uri), NOW)[0].allow for uri in uris] == [True, False]
    seen = authorizer.visible(inbound(), caller, tuple(map(resource, uris)), NOW)
    assert [one.name for one in seen] == ["file:///public/a"]


def test_long_uris_hide_nothing(engine) -> None:
    long = tuple(resource(f"x:{i}" + "\u00fc" * 2000) for i in range(130))
    authorizer, counted = authorizer_of(engine, Permission(resources=["x:*"]))
    caller = caller_of(authorizer)
    assert authorizer.visible(inbound(), caller, long, NOW) == long
    assert len(counted.asked) > 10
    assert authorizer.visible(inbound(), caller, long, NOW) is authorizer.visible(inbound(), caller, long, NOW)


def test_lists_of_two_kinds_are_remembered_apart(engine) -> None:
    authorizer, counted = authorizer_of(engine, Permission(resources=["*"]))
    caller = caller_of(authorizer)
    listed, templates = (resource("x:1"), resource("x:2")), (resource("x:{n}"),)
    for _ in range(3):
        assert authorizer.visible(inbound(), caller, listed, NOW) == listed
        assert authorizer.visible(inbound(), caller, templates, NOW) == templates
        assert authorizer.visible(inbound(), caller, (), NOW) == ()
    assert len(counted.asked) == 2


@pytest.mark.parametrize(
    ("method", "target", "said"),
    [
        ("prompts/get", prompt("p"), "Unknown prompt: asked"),
        ("resources/read", resource("x:1"), "Resource not found: asked"),
        ("completion/complete", prompt("p"), "Unknown prompt or resource: asked"),
        ("tools/call", tool_of("t"), "Unknown tool: asked"),
    ],
)
def test_a_stranger_cannot_tell_forbidden_from_unknown(engine, method, target, said) -> None:
    authorizer, _ = authorizer_of(engine, Permission(tools=["other"]))
    request = inbound("asked")
    request.method = method
    told = []
    for found in (target, None):
        with pytest.raises(Refused) as refused:
            policy.authorize(request, caller_of(authorizer), found, authorizer, NOW)
        told.append((refused.value.reason, refused.value.public))
    assert told == [(Reason.FORBIDDEN, said), (Reason.UNKNOWN_TOOL, said)]


def test_where_no_rule_reads_names_those_alike_are_asked_for_once(engine) -> None:
    many = tuple(resource(f"x:{n}") for n in range(500))
    odd = (resource("y:1", server="vault"), resource("y:2", risk="high"), resource("y:3", labels={"env": "prod"}))
    permission = Permission(resources=["*", "x:*"], max_risk="low", servers=["git"])
    authorizer, counted = authorizer_of(engine, permission)
    seen = authorizer.visible(inbound(), caller_of(authorizer), (*odd, *many), NOW)
    assert seen == (odd[2], *many)
    assert [len(one["resources"]) for one in counted.asked] == [4]


@pytest.mark.parametrize(
    ("permission", "nameless"),
    [
        (Permission(), ("tools", "prompts", "resources")),
        (Permission(tools=["a"]), ("prompts", "resources")),
        (Permission(resources=["a*"], tools=[]), ("tools", "prompts")),
        (Permission(effect="deny", prompts=["**"]), ("tools", "resources")),
        (Permission(when=[Condition(attribute="tool.name", op="ne", value="x")]), ()),
        (Permission(when=[Condition(attribute="tool.server", op="ne", value="x")]), ("tools", "prompts", "resources")),
    ],
)
def test_which_kinds_no_rule_tells_apart_by_name(permission, nameless) -> None:
    roles = {"r": Role(permissions=[permission]), "all": Role(permissions=[Permission(prompts=["*"])])}
    assert policy_data(roles).nameless == nameless
    assert policy_data(roles, ["package toolgate.tenant.x"]).nameless == ()


def test_asking_for_one_of_each_kind_tells_the_same_as_asking_for_all(engine) -> None:
    rng = random.Random(11)
    for _ in range(30):
        permissions = [
            Permission(
                effect=rng.choice(["allow", "allow", "deny"]),
                tools=rng.choice([["*"], []]),
                resources=["*"],
                servers=rng.choice([["*"], ["git"], ["v*"]]),
                max_risk=rng.choice([None, "low", "high"]),
                labels=rng.choice([{}, {"env": "prod"}]),
                read_only=rng.random() < 0.3,
            )
            for _ in range(rng.randint(1, 3))
        ]
        listed = tuple(
            resource(
                f"x:{n}",
                server=rng.choice(["git", "vault"]),
                risk=rng.choice(["low", "medium", "critical"]),
                labels=rng.choice([{}, {"env": "prod"}, {"env": "dev"}]),
                read_only=rng.random() < 0.5,
            )
            for n in range(80)
        )
        authorizer, counted = authorizer_of(engine, *permissions)
        caller = caller_of(authorizer)
        seen = authorizer.visible(inbound(), caller, listed, NOW)
        assert sum(len(one["resources"]) for one in counted.asked) < len(listed)
        assert seen == tuple(one for one in listed if authorizer.decide(inbound(), caller, one, NOW)[0].allow)
