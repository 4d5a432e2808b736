"""What does not check: an endpoint or a server alone, or the tenant, which then only loses."""

import msgspec
import pytest

from control_plane.compiler.compile import compile_tenant
from control_plane.compiler.policy import policy_data
from control_plane.compiler.restrict import restrict
from control_plane.compiler.source import Compiled, Faulty, Found, Previous, Source, TenantPolicy
from core.endpoint import Endpoint, Member
from core.guard import Guard
from core.identity import Agent, ApiKey, Permission, Role, RoleBinding, Subject, User
from core.limits import RateLimit
from core.resource import Ref, Resource
from core.server import HttpTransport, Server
from core.snapshot import Backends, Catalogue, Identity, KeyEntry, KeyShard, PolicyData
from core.tenant import Tenant
from tests.control_plane.compiler.sources import CLOCK, GIT, LOG, PUSH, a, known, seal, source

NEVER = Endpoint(members=[Member(server="clock"), Member(server="git")], prefix="never")
BOTH_LOG = {"clock": known(LOG), "git": known(LOG, PUSH)}
BAD_GUARD = a(Guard(detectors=[]), "pii")


def compiled(given: Source) -> Compiled:
    result = compile_tenant(given, seal)
    assert isinstance(result, Compiled), result
    return result


def part(result: Compiled, kind: str, type_: type, name: str = "") -> object:
    ref = next(ref for ref in result.manifest.parts if (ref.kind, ref.name) == (kind, name))
    return msgspec.msgpack.decode(result.parts[ref.digest], type=type_)


def catalogue(result: Compiled, endpoint: str = "default") -> Catalogue:
    found = part(result, "catalogue", Catalogue, endpoint)
    assert isinstance(found, Catalogue)
    return found


def after(before: Compiled, given: Source) -> Compiled:
    """What `given` compiles to where `before` is in force."""
    names = [ref.name for ref in before.manifest.parts if ref.kind == "catalogue"]
    backends = part(before, "backends", Backends)
    assert isinstance(backends, Backends)
    previous = Previous({name: catalogue(before, name) for name in names}, backends.servers)
    object.__setattr__(given, "previous", previous)
    return compiled(given)


def endpoints(result: Compiled) -> list[str]:
    return [ref.name for ref in result.manifest.parts if ref.kind == "catalogue"]


def test_names_that_collide_hold_back_only_that_endpoint() -> None:
    other = a(Endpoint(members=[Member(server="git")]), "other")
    result = compiled(source(a(NEVER, "default"), other, known_servers=BOTH_LOG))
    assert [(str(f.ref), f.path) for f in result.found] == [("Endpoint/default", "spec.members[1]")]
    assert endpoints(result) == ["other"]


def test_an_endpoint_held_back_goes_on_with_the_names_it_had() -> None:
    before = compiled(source())
    result = after(before, source(a(NEVER, "default"), known_servers={"clock": known(LOG), **_git()}))
    assert [tool.name for tool in catalogue(result).tools] == ["history", "push"]
    again = after(result, source(a(NEVER, "default"), known_servers={"clock": known(LOG), **_git()}))
    assert again.content == result.content


def _git() -> dict[str, object]:
    return {"git": known(LOG, PUSH)}


def test_an_endpoint_held_back_shows_nothing_that_was_taken_away_since() -> None:
    before = compiled(source())
    less = msgspec.structs.replace(
        NEVER, members=[Member(server="clock"), Member(server="git", exclude=["push"])], allowed_origins=["https://b"]
    )
    result = after(before, source(a(less, "default"), known_servers=BOTH_LOG))
    assert [tool.name for tool in catalogue(result).tools] == ["history"]
    gone = after(before, source(a(NEVER, "default"), known_servers={"clock": known(LOG), "git": known(LOG)}))
    assert [tool.name for tool in catalogue(gone).tools] == ["history"]
    assert catalogue(result).allowed_origins == ()


def test_an_endpoint_held_back_tells_the_policy_what_is_said_of_its_tools_now() -> None:
    before = compiled(source())
    risky = a(msgspec.structs.replace(GIT, risk="critical"), "git", labels={"team": "vcs"})
    result = after(before, source(a(NEVER, "default"), risky, known_servers=BOTH_LOG))
    history = catalogue(result).tools[0]
    assert (history.name, history.risk, history.labels) == ("history", "critical", {"team": "vcs"})


def test_an_endpoint_that_is_disabled_or_gone_is_not_held_on_to() -> None:
    before = compiled(source())
    off = a(msgspec.structs.replace(NEVER, disabled=True), "default")
    assert endpoints(after(before, source(off, known_servers=BOTH_LOG))) == []
    lone = a(ApiKey(user="ada"), "laptop")
    assert endpoints(after(before, source(lone, without=("Endpoint/default",), known_servers=BOTH_LOG))) == []


def test_a_server_that_does_not_check_goes_on_as_it_was_or_is_left_out_with_its_tools() -> None:
    bad = a(Server(transport=HttpTransport(url="ftp://x"), timeout_s=7.0), "clock")
    alone = compiled(source(bad))
    assert [(str(f.ref), f.path) for f in alone.found] == [("Server/clock", "spec.transport.url")]
    assert list(part(alone, "backends", Backends).servers) == ["git"]
    assert [tool.server for tool in catalogue(alone).tools] == ["git", "git"]
    before = compiled(source())
    result = after(before, source(bad))
    assert part(result, "backends", Backends) == part(before, "backends", Backends)
    assert [(t.name, t.timeout_s) for t in catalogue(result).tools if t.server == "clock"] == [("now", 30.0)]


def test_a_secret_without_a_value_holds_back_the_server_it_is_used_by() -> None:
    given = source(a(msgspec.structs.replace(CLOCK, disabled=False), "clock"))
    object.__setattr__(given, "secrets", msgspec.structs.replace(given.secrets, values={}))
    path = "spec.transport.secret_headers.Authorization"
    assert compiled(given).found == (Found(Ref("Server", "acme", "clock"), path, "Secret/token has no value"),)


@pytest.mark.parametrize(
    "bad",
    [
        BAD_GUARD,
        a(RateLimit(calls=0), "fair"),
        a(RoleBinding(role="ghost", subjects=[]), "ada-admin"),
        a(User(email="nothing"), "ada"),
        a(Tenant(retention_days=0), "acme"),
    ],
)
def test_what_decides_who_may_do_what_holds_back_the_tenant(bad: Resource) -> None:
    result = compile_tenant(source(bad, a(NEVER, "default"), known_servers=BOTH_LOG), seal)
    assert isinstance(result, Faulty)
    assert {str(f.ref) for f in result.found} == {str(bad.ref), "Endpoint/default"}


def held(last: Compiled, given: Source) -> Compiled:
    result = compile_tenant(given, seal)
    assert isinstance(result, Faulty)
    less = restrict(last.manifest, last.parts, result.live)
    assert less is not None
    parts = {**last.parts, **less.parts}
    assert restrict(less.manifest, parts, result.live) is None, "restricted once is restricted enough"
    return less


def test_a_held_back_tenant_still_loses_keys_and_callers() -> None:
    last = compiled(source(a(ApiKey(agent="helper"), "cron"), key_hashes={"laptop": b"1" * 32, "cron": b"2" * 32}))
    less = held(
        last,
        source(
            a(ApiKey(user="ada", revoked=True), "laptop"),
            a(Tenant(revocation_epoch=3), "acme"),
            BAD_GUARD,
            a(ApiKey(agent="helper"), "cron"),
            a(ApiKey(agent="helper"), "brand-new"),
            a(User(disabled=True), "ada"),
            key_hashes={"laptop": b"1" * 32, "cron": b"2" * 32, "brand-new": b"3" * 32},
        ),
    )
    assert less.manifest.revocation_epoch == 3
    assert part(less, "keys", KeyShard, "000000") == KeyShard({b"2" * 32: KeyEntry(name="cron", agent="helper")})
    assert part(less, "identity", Identity).users == {}
    changing = ("identity", "keys")
    kept = {(r.kind, r.digest) for r in last.manifest.parts if r.kind not in changing}
    assert kept <= {(r.kind, r.digest) for r in less.manifest.parts}


def test_a_held_back_tenant_that_loses_nobody_is_not_published_again() -> None:
    last = compiled(source())
    result = compile_tenant(source(BAD_GUARD), seal)
    assert isinstance(result, Faulty)
    assert restrict(last.manifest, last.parts, result.live) is None


def test_a_role_bound_no_longer_leaves_what_it_denies() -> None:
    subjects = [Subject(kind="user", name="ada"), Subject(kind="agent", name="helper")]
    mixed = Role(permissions=[Permission(tools=["a"]), Permission(effect="deny", tools=["b"])])
    bound, unbound = (a(RoleBinding(role="mixed", subjects=some), "mix") for some in (subjects, subjects[1:]))
    last = compiled(_with_policy(source(a(mixed, "mixed"), bound)))
    less = held(last, _with_policy(source(a(mixed, "mixed"), unbound, BAD_GUARD)))
    identity = part(less, "identity", Identity)
    assert isinstance(identity, Identity)
    assert identity.users["ada"].roles == ("admin", "mixed:denies")
    assert identity.agents["helper"].roles == ("mixed", "reader")
    roles = msgspec.json.decode(part(less, "policy_data", PolicyData).data)["roles"]
    assert set(roles["mixed:denies"]) == {"deny"}


def test_a_role_that_is_gone_allows_nothing_any_more() -> None:
    last = compiled(_with_policy(source()))
    less = held(last, _with_policy(source(BAD_GUARD, without=("Role/admin", "RoleBinding/ada-admin"))))
    assert part(less, "identity", Identity).users["ada"].roles == ()
    data = part(less, "policy_data", PolicyData)
    assert msgspec.json.decode(data.data)["roles"]["admin"] == {"allow": {}, "deny": {}}
    assert all(not canary.allow for canary in data.canaries)


def test_an_agent_whose_group_leaves_it_loses_the_groups_roles() -> None:
    last = compiled(source())
    less = held(last, source(a(Agent(), "helper"), BAD_GUARD))
    assert part(less, "identity", Identity).agents["helper"].roles == ()


def _with_policy(given: Source) -> Source:
    """With the data its roles make."""

    roles = {r.name: role for r, role in given.of(Role)}
    object.__setattr__(given, "policy", TenantPolicy(module=b"\0asm", data=policy_data(roles)))
    return given
