"""From declarations to parts."""

from datetime import UTC, datetime

import msgspec
import pytest

from control_plane.compiler.compile import compile_tenant
from control_plane.compiler.source import Compiled, Faulty, Found, Source
from core.concurrency import ConcurrencyLimit, PriorityClass, Rules
from core.endpoint import Endpoint, Member
from core.guard import Guard
from core.identity import ApiKey, RoleBinding, Subject, User
from core.limits import Bucket, RateLimit
from core.resource import digest
from core.server import HttpTransport, Server
from core.snapshot import (
    KEYS_PER_SHARD,
    Backends,
    Catalogue,
    CompiledConcurrency,
    CompiledGuard,
    CompiledLimit,
    CompiledTool,
    Guards,
    Identity,
    KeyEntry,
    KeyShard,
    Limits,
    Principal,
    shard_of,
)
from tests.control_plane.compiler.sources import GIT, LOG, NOW, PUSH, a, known, seal, source


def compiled(given: Source) -> Compiled:
    result = compile_tenant(given, seal)
    assert isinstance(result, Compiled), result
    return result


def faults(given: Source) -> tuple[Found, ...]:
    result = compile_tenant(given, seal)
    assert isinstance(result, Faulty)
    return result.found


def part(result: Compiled, kind: str, type_: type, name: str = "") -> object:
    ref = next(ref for ref in result.manifest.parts if (ref.kind, ref.name) == (kind, name))
    assert digest(result.parts[ref.digest]) == ref.digest
    assert len(result.parts[ref.digest]) == ref.size
    return msgspec.msgpack.decode(result.parts[ref.digest], type=type_)


def tools(result: Compiled, endpoint: str = "default") -> dict[str, CompiledTool]:
    catalogue = part(result, "catalogue", Catalogue, endpoint)
    assert isinstance(catalogue, Catalogue)
    return {tool.name: tool for tool in catalogue.tools}


def test_the_same_input_gives_the_same_bytes() -> None:
    one, other = compiled(source()), compiled(source())
    assert (one.content, one.parts) == (other.content, other.parts)


def test_the_order_of_rows_changes_nothing() -> None:
    given = source()
    turned = source()
    object.__setattr__(turned, "key_hashes", dict(reversed(given.key_hashes.items())))
    assert compiled(given).content == compiled(turned).content


def test_the_manifest_says_what_the_tenant_says() -> None:
    manifest = compiled(source()).manifest
    assert (manifest.tenant, manifest.generation, manifest.revocation_epoch) == ("acme", 0, 2)
    assert (manifest.max_staleness_s, manifest.audit, manifest.key_shards) == (600, "best_effort", 1)
    assert [(ref.kind, ref.name) for ref in manifest.parts] == [
        ("backends", ""),
        ("catalogue", "default"),
        ("guards", ""),
        ("identity", ""),
        ("keys", "000000"),
        ("limits", ""),
        ("policy_data", ""),
        ("policy_module", ""),
        ("secrets", ""),
    ]


def test_a_tool_that_is_not_renamed_keeps_its_definition_byte_for_byte() -> None:
    assert tools(compiled(source()))["now"] == CompiledTool(
        name="now",
        server="clock",
        upstream_name="now",
        definition=NOW,
        digest=known(NOW).definitions[0].approved_digest,
        labels={"team": "time"},
        read_only=True,
        header_params={"zone": "Zone"},
    )


def test_an_overlay_says_more_than_the_definition_claims() -> None:
    push = tools(compiled(source()))["push"]
    assert (push.risk, push.labels, push.read_only, push.timeout_s) == ("high", {"verb": "write"}, False, 5.0)
    history = tools(compiled(source()))["history"]
    assert (history.risk, history.upstream_name, history.read_only) == ("medium", "log", False)


def test_a_description_of_the_tenants_own_leaves_every_other_byte() -> None:
    member = Member(server="clock", descriptions={"now": 'Say "when".'})
    tool = tools(compiled(source(a(Endpoint(members=[member]), "default"))))["now"]
    before, after = msgspec.json.decode(NOW), msgspec.json.decode(tool.definition)
    assert after == {**before, "description": 'Say "when".'}
    assert list(after) == list(before)
    schema = NOW[NOW.index(b'{"$schema"') : NOW.index(b',\n  "annotations"')]
    assert schema in tool.definition


def test_tools_that_are_pending_or_gone_are_not_shown_and_quarantined_ones_as_approved() -> None:
    base = known(LOG, PUSH)
    log, push = base.definitions
    changed = msgspec.structs.replace(log, observed=b"{}", observed_digest=b"other")
    gone = msgspec.structs.replace(push, observed=b"", observed_digest=b"")
    rows = msgspec.structs.replace(base, definitions=(changed, gone))
    shown = tools(compiled(source(known_servers={"git": rows})))
    assert list(shown) == ["history"]
    assert msgspec.json.decode(shown["history"].definition) == {"inputSchema": {"type": "object"}, "name": "history"}


def test_tools_with_bad_header_annotations_are_dropped_and_told_of() -> None:
    bad = b'{"name":"bad","inputSchema":{"type":"object","x-mcp-header":"A"}}'
    result = compiled(source(known_servers={"git": known(LOG, bad)}))
    assert list(tools(result)) == ["history"]
    assert [(d.server, d.tool) for d in result.dropped] == [("git", "bad")]
    assert "properties" in result.dropped[0].reason


@pytest.mark.parametrize(
    ("declared", "observed", "era", "version"),
    [
        ("auto", known(), "modern", "2026-07-28"),
        ("auto", known(era="legacy", version="2025-06-18"), "legacy", "2025-06-18"),
        ("auto", None, None, ""),
        ("legacy", known(era="legacy", version="2025-06-18"), "legacy", "2025-06-18"),
        ("legacy", known(), "legacy", ""),
        ("modern", None, "modern", ""),
    ],
)
def test_a_backend_is_spoken_to_as_declared_or_else_as_seen(
    declared: str, observed: object, era: str | None, version: str
) -> None:
    server = a(msgspec.structs.replace(GIT, era=declared), "git")
    result = compiled(source(server, known_servers={"git": observed} if observed else {}))
    backends = part(result, "backends", Backends)
    assert isinstance(backends, Backends)
    backend = backends.servers["git"]
    assert (backend.declared, backend.era, backend.protocol_version) == (declared, era, version)


def test_what_is_disabled_is_left_out() -> None:
    result = compiled(
        source(
            a(msgspec.structs.replace(GIT, disabled=True), "git"),
            a(Endpoint(members=[Member(server="git")], disabled=True), "off"),
            a(RateLimit(calls=1, disabled=True), "fair"),
            a(ConcurrencyLimit(calls=1, disabled=True), "few"),
            a(Guard(detectors=["card"], disabled=True), "pii"),
            a(User(disabled=True), "ada"),
        )
    )
    assert list(tools(result)) == ["now"]
    assert [ref.name for ref in result.manifest.parts if ref.kind == "catalogue"] == ["default"]
    assert list(part(result, "backends", Backends).servers) == ["clock"]
    assert part(result, "limits", Limits) == Limits(())
    assert part(result, "guards", Guards) == Guards(())
    assert part(result, "identity", Identity).users == {}
    assert part(result, "keys", KeyShard, "000000") == KeyShard({})


def test_a_limit_of_calls_at_once_keeps_its_life_with_other_numbers_and_not_with_another_limit() -> None:
    def one(spec: ConcurrencyLimit, created_unix: float = 1.5) -> CompiledConcurrency:
        resource = msgspec.structs.replace(a(spec, "few"), created_unix=created_unix)
        limits = part(compiled(source(resource)), "limits", Limits)
        assert isinstance(limits, Limits)
        (found,) = limits.concurrency
        return found

    classes = [PriorityClass(name="rest"), PriorityClass(name="batch", agents=["b-*"], at_most=2)]
    few = one(ConcurrencyLimit(calls=3, per=["server", "server"], classes=classes))
    assert (few.rules, few.per, few.classes) == (Rules(3, 100, 10.0, (0, 2)), ("server",), tuple(classes))
    assert one(ConcurrencyLimit(calls=5)).life == few.life
    assert one(ConcurrencyLimit(calls=3), 2.5).life != few.life


def test_roles_come_from_the_principal_and_from_its_groups() -> None:
    both = RoleBinding(role="reader", subjects=[Subject(kind="group", name="eng"), Subject(kind="user", name="ada")])
    identity = part(compiled(source(a(both, "more"))), "identity", Identity)
    assert identity == Identity(
        users={"ada": Principal(roles=("admin", "reader"), groups=("eng", "staff"), attributes={"level": 3})},
        agents={"helper": Principal(roles=("reader",), groups=("bots",))},
    )


def test_a_user_and_an_agent_of_one_name_do_not_share_roles() -> None:
    identity = part(compiled(source(a(User(), "helper"))), "identity", Identity)
    binding = RoleBinding(role="admin", subjects=[Subject(kind="agent", name="helper")])
    assert part(compiled(source(a(User(), "helper"), a(binding, "x"))), "identity", Identity).users == identity.users


def test_keys_say_whom_they_speak_for() -> None:
    expiring = ApiKey(agent="helper", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    given = source(a(expiring, "cron"), key_hashes={"laptop": b"1" * 32, "cron": b"2" * 32})
    assert part(compiled(given), "keys", KeyShard, "000000") == KeyShard(
        {
            b"1" * 32: KeyEntry(name="laptop", user="ada", agent="helper", endpoints=("default",)),
            b"2" * 32: KeyEntry(name="cron", agent="helper", expires_unix=1893456000.0),
        }
    )


@pytest.mark.parametrize(
    "key", [ApiKey(user="ada", revoked=True), ApiKey(admin_role="owner"), ApiKey(user="ada", agent="off")]
)
def test_keys_that_open_nothing_are_not_shipped(key: ApiKey) -> None:
    off = a(msgspec.structs.replace(User(), disabled=True), "ada2")
    given = source(a(key, "laptop"), off, *([a(_disabled_agent(), "off")] if key.agent else []))
    assert part(compiled(given), "keys", KeyShard, "000000") == KeyShard({})


def _disabled_agent() -> object:
    from core.identity import Agent

    return Agent(disabled=True)


def test_many_keys_are_spread_over_shards_that_stay_small() -> None:
    names = [f"k{i}" for i in range(10_000)]
    hashes = {name: digest(name.encode()) for name in names}
    result = compiled(source(*(a(ApiKey(user="ada"), name) for name in names), key_hashes=hashes))
    shards = [part(result, "keys", KeyShard, f"{i:06d}") for i in range(result.manifest.key_shards)]
    assert sum(len(shard.keys) for shard in shards) == 10_000
    assert max(len(shard.keys) for shard in shards) <= KEYS_PER_SHARD
    assert all(shard_of(hashed, len(shards)) == i for i, shard in enumerate(shards) for hashed in shard.keys)


def test_a_limit_made_again_or_given_other_numbers_has_a_life_of_its_own() -> None:
    def life(spec: RateLimit, created_unix: float) -> str:
        (limit,) = part(compiled(source(a(spec, "fair", created_unix=created_unix))), "limits", Limits).limits
        return limit.life

    first = life(RateLimit(calls=10), 1.5)
    assert first == life(RateLimit(calls=10, tools=["echo"], per=["tool"]), 1.5), "the same bucket for other calls"
    others = [
        life(RateLimit(calls=10), 2.5),
        life(RateLimit(calls=3), 1.5),
        life(RateLimit(calls=10, burst=3), 1.5),
        life(RateLimit(calls=10, period_s=1.0), 1.5),
    ]
    assert len({first, *others}) == 5
    assert all(others)


def test_limits_and_guards_have_every_default_settled() -> None:
    result = compiled(source())
    limits = part(result, "limits", Limits).limits
    assert limits == (
        CompiledLimit(
            name="fair",
            life=limits[0].life,
            bucket=Bucket(1.0, 60),
            per=("caller",),
            tools=("*",),
            endpoints=("*",),
            scope="fleet",
            on_error="local",
        ),
    )
    assert part(result, "guards", Guards).guards == (
        CompiledGuard(
            name="pii",
            detectors={"card": "block", "email": "mask"},
            directions=("in", "out"),
            tools=("*",),
            endpoints=("*",),
        ),
    )


def test_everything_wrong_is_told_at_once_and_where() -> None:
    given = source(
        a(Server(transport=HttpTransport(url="ftp://x", secret_headers={"A": "nothing"})), "clock"),
        a(Endpoint(members=[Member(server="absent"), Member(server="git")], max_body_bytes=1), "default"),
        a(RoleBinding(role="ghost", subjects=[]), "ada-admin"),
        without=("Secret/token",),
    )
    assert [(str(f.ref), f.path) for f in faults(given)] == [
        ("Endpoint/default", "spec.max_body_bytes"),
        ("Endpoint/default", "spec.members[0].server"),
        ("RoleBinding/ada-admin", "spec.role"),
        ("Server/clock", "spec.transport.secret_headers.A"),
        ("Server/clock", "spec.transport.url"),
    ]


def test_unused_servers_are_shipped_so_that_they_can_be_looked_at() -> None:
    spare = a(Server(transport=HttpTransport(url="https://spare.example.com/")), "spare")
    backends = part(compiled(source(spare)), "backends", Backends)
    assert sorted(backends.servers) == ["clock", "git", "spare"]
    assert PUSH


def test_an_endpoints_tools_in_the_way_of_each_other_are_told() -> None:
    twin = b'{"name":"now","inputSchema":{"type":"object"}}'
    members = [Member(server="clock", prefix="c_"), Member(server="git", prefix="g_")]
    given = source(a(Endpoint(members=members), "default"), known_servers={"clock": known(NOW), "git": known(twin)})
    (shadow,) = compiled(given).shadows["default"]
    assert (shadow.server, shadow.tool, shadow.other_server, shadow.why) == ("git", "now", "clock", "same name")
