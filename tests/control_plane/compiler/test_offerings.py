"""Prompts, resources and templates in a compiled endpoint."""

import msgspec
import pytest

from control_plane.compiler.compile import compile_tenant
from control_plane.compiler.source import Compiled
from core.definition import Known
from core.endpoint import Endpoint, Member
from core.offering import Offering
from core.server import ObservedEntry
from core.snapshot import Backends, Catalogue
from tests.control_plane.compiler.sources import CLOCK, GIT, a, known, seal, source

ASK = b'{"name":"ask",  "arguments":[{"name":"x"}], "icons":[1.50], "x-unknown":{}}'
APP = b'{ "uri":"ui://app","name":"App", "mimeType":"text/html;profile=mcp-app", "_meta":{"ui":{"csp":{}}} }'
TOOL = b'{"name":"show","inputSchema":{},"_meta":{"x":1.0,"ui":{"resourceUri":"ui://app","visibility":["model"]}}}'


def prompt(definition: bytes = ASK) -> ObservedEntry:
    return ObservedEntry(name=msgspec.json.decode(definition)["name"], definition=definition)


def resource(definition: bytes = APP) -> ObservedEntry:
    return ObservedEntry(name=msgspec.json.decode(definition)["uri"], definition=definition)


def template(uri: str) -> ObservedEntry:
    return ObservedEntry(name=uri, definition=msgspec.json.encode({"uriTemplate": uri, "name": "t"}))


EVERYTHING = Offering(
    prompts=(prompt(),),
    resources=(resource(), resource(b'{"uri":"a:1","name":"1"}')),
    templates=(template("a:{id}"),),
    offers=("prompts", "resources", "subscribe"),
)
BOTH = {"clock": known(TOOL, offering=EVERYTHING), "git": known(TOOL, offering=EVERYTHING)}


def compiled(endpoint: Endpoint, servers: dict[str, Known] | None = None) -> tuple[Compiled, Catalogue]:
    result = compile_tenant(source(a(endpoint, "default"), known_servers=BOTH if servers is None else servers), seal)
    assert isinstance(result, Compiled)
    assert result.found == ()
    ref = next(ref for ref in result.manifest.parts if ref.kind == "catalogue")
    return result, msgspec.msgpack.decode(result.parts[ref.digest], type=Catalogue)


def of(*members: Member, **more: object) -> Catalogue:
    return compiled(Endpoint(members=list(members), **more))[1]  # type: ignore[arg-type]


def test_one_members_offering_is_shown_byte_for_byte() -> None:
    catalogue = of(Member(server="git"))
    assert [(p.name, p.upstream_name, p.definition) for p in catalogue.prompts] == [("ask", "ask", ASK)]
    assert [(r.name, r.definition) for r in catalogue.resources][1] == ("ui://app", APP)
    assert [t.name for t in catalogue.templates] == ["a:{id}"]
    assert catalogue.tools[0].definition == TOOL
    entries = (*catalogue.prompts, *catalogue.resources, *catalogue.templates, *catalogue.unlisted)
    assert {(e.server, e.risk, e.timeout_s, e.read_only) for e in entries} == {("git", "medium", 30.0, True)}


def test_prompts_are_named_as_tools_are_and_do_not_meet_them() -> None:
    catalogue = of(Member(server="clock"), Member(server="git", prefix="g"))
    assert [(p.name, p.server, p.upstream_name) for p in catalogue.prompts] == [
        ("ask", "clock", "ask"),
        ("g__ask", "git", "ask"),
    ]
    assert catalogue.prompts[1].definition == msgspec.json.encode(
        {"name": "g__ask", "arguments": [{"name": "x"}], "icons": [msgspec.Raw(b"1.50")], "x-unknown": {}}
    )
    renamed = of(Member(server="clock", rename_prompts={"ask": "show"}), prefix="always")
    assert ([p.name for p in renamed.prompts], [t.name for t in renamed.tools]) == (["show"], ["clock__show"])


def test_prompts_that_would_share_a_name_hold_back_the_endpoint_alone() -> None:
    members = [Member(server="clock"), Member(server="git", rename={"show": "other"})]
    result = compile_tenant(source(a(Endpoint(members=members, prefix="never"), "default"), known_servers=BOTH), seal)
    assert isinstance(result, Compiled)
    assert [(str(f.ref), f.path) for f in result.found] == [("Endpoint/default", "spec.members[1]")]
    assert "prompt 'ask' would be 'ask'" in result.found[0].rule


def test_a_uri_is_rewritten_only_where_two_members_have_it_and_the_tools_follow() -> None:
    apart = {
        "clock": known(TOOL, offering=EVERYTHING),
        "git": known(TOOL, offering=Offering(resources=(template("b:1"),))),
    }
    assert {
        r.name for r in compiled(Endpoint(members=[Member(server="clock"), Member(server="git")]), apart)[1].resources
    } == {
        "a:1",
        "b:1",
        "ui://app",
    }
    catalogue = of(Member(server="clock"), Member(server="git"))
    assert [(r.name, r.server, r.upstream_name) for r in catalogue.resources] == [
        ("a:1", "clock", "a:1"),
        ("ui://app", "clock", "ui://app"),
        ("git+a:1", "git", "a:1"),
        ("ui://git/app", "git", "ui://app"),
    ]
    assert [t.name for t in catalogue.templates] == ["a:{id}", "git+a:{id}"]
    assert catalogue.resources[3].definition == APP.replace(b"ui://app", b"ui://git/app").replace(b"{ ", b"{").replace(
        b' "name"', b'"name"'
    ).replace(b', "', b',"').replace(b"} }", b"}}")
    tools = {tool.server: tool.definition for tool in catalogue.tools}
    assert tools["clock"] == TOOL
    assert tools["git"] == TOOL.replace(b"ui://app", b"ui://git/app").replace(b'"show"', b'"git__show"')


def test_members_show_what_their_globs_name() -> None:
    catalogue = of(Member(server="clock", prompts=["b*"], resources=["ui:*"]))
    assert (catalogue.prompts, [r.name for r in catalogue.resources], catalogue.templates) == ((), ["ui://app"], ())
    assert catalogue.unlisted == ()


def test_members_are_named_in_their_order_with_those_that_cannot_be_seen() -> None:
    away = {**BOTH, "git": known(TOOL, offering=EVERYTHING, away=True)}
    members = [Member(server="git"), Member(server="clock")]
    result, catalogue = compiled(Endpoint(members=members, page_size=7), away)
    assert (catalogue.servers, catalogue.unavailable, catalogue.page_size) == (("git", "clock"), ("git",), 7)
    assert [entry.server for entry in catalogue.unlisted] == ["git", "clock"]
    assert len(catalogue.tools) == 2
    ref = next(ref for ref in result.manifest.parts if ref.kind == "backends")
    backends = msgspec.msgpack.decode(result.parts[ref.digest], type=Backends).servers
    assert backends["git"].offers == ("prompts", "resources", "subscribe")


@pytest.mark.parametrize(
    ("own", "mode", "instructions"),
    [
        ("", "auto", "## clock\n\nTicks.\n\n## git\n\n" + "x" * 4096),
        ("Be kind.", "auto", "Be kind."),
        ("Be kind.", "always", "Be kind.\n\n## clock\n\nTicks.\n\n## git\n\n" + "x" * 4096),
        ("", "never", ""),
    ],
)
def test_agents_are_told_what_the_endpoint_says_or_else_its_servers(own: str, mode: str, instructions: str) -> None:
    servers = {"clock": known(instructions=" Ticks.\n"), "git": known(instructions="x" * 9000)}
    endpoint = Endpoint(
        members=[Member(server="clock"), Member(server="git")],
        instructions=own,
        server_instructions=mode,  # type: ignore[arg-type]
    )
    assert compiled(endpoint, servers)[1].instructions == instructions


def test_a_single_servers_instructions_stand_alone() -> None:
    servers = {"clock": known(instructions="Ticks.")}
    assert compiled(Endpoint(members=[Member(server="clock")]), servers)[1].instructions == "Ticks."


def test_a_disabled_server_shows_nothing() -> None:
    off = msgspec.structs.replace(GIT, disabled=True)
    endpoint = a(Endpoint(members=[Member(server="git"), Member(server="clock")]), "default")
    result = compile_tenant(source(endpoint, a(off, "git"), known_servers=BOTH), seal)
    assert isinstance(result, Compiled)
    ref = next(ref for ref in result.manifest.parts if ref.kind == "catalogue")
    catalogue = msgspec.msgpack.decode(result.parts[ref.digest], type=Catalogue)
    assert catalogue.servers == ("clock",)
    assert {entry.server for entry in (*catalogue.prompts, *catalogue.resources, *catalogue.templates)} == {"clock"}
    assert CLOCK.risk == "low"


@pytest.mark.parametrize("size", [0, 5001])
def test_a_page_has_at_least_one_entry_and_at_most_5000(size: int) -> None:
    assert [p.rule for p in Endpoint(members=[], page_size=size).problems()] == ["must be 1-5000"]
