"""Looking at servers that list much, wrongly, or for ever, and telling the eras apart."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from core.definition import Known, learn
from core.server import Declared, Observation, ObservedEntry, ObservedTool
from data_plane.upstreams import probe
from data_plane.upstreams.mcp_http import HttpBackend
from tests.harness.timing import beside
from tests.harness.upstream_raw import Peer, Request, Script, scripted
from tests.harness.upstream_route import over_http, route_to

DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "resultType": "complete",
    "instructions": "Be kind.",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "raw", "version": "2", "icons": []}},
}
INITIALIZED = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}
Answers = dict[str, object]


def server(answers: Answers, tools: Callable[[Request], bytes] | None = None) -> Script:
    """Answers methods from a table; an unknown one gets 404 and -32601, as the modern era says."""

    async def script(request: Request, peer: Peer) -> None:
        method = str(request.message.get("method"))
        if method.startswith("notifications/"):
            await peer.json(b"", status="202 Accepted")
        elif method == "tools/list" and tools is not None:
            await peer.json(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request.id, tools(request)))
        elif method in answers:
            await peer.json(msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": answers[method]}))
        else:
            error = {"code": -32601, "message": "no such method"}
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "error": error})
            await peer.json(body, status="404 Not Found")

    return script


async def look(backend: HttpBackend, script: Script, declared: Declared = "auto", **changes: object) -> Observation:
    async with scripted(script) as running:
        route = route_to(over_http(running.url), era=None, declared=declared, **changes)  # type: ignore[arg-type]
        return await probe.observe(route, backend)


async def test_definitions_are_kept_byte_for_byte_over_all_pages(backend: HttpBackend) -> None:
    first = b'{ "name":"a", "inputSchema":{"type":"object","$anchor":"x","const":1.50}, "x-vendor":[1,  2] }'
    second = b'{"name":"b","inputSchema":{}}'

    def tools(request: Request) -> bytes:
        if b'"cursor":""' in request.body:
            return b'{"tools":[%b,%b]}' % (second, first.replace(b"1.50", b"2"))
        return b'{"tools":[%b],"nextCursor":""}' % first

    seen = await look(backend, server({"server/discover": DISCOVERED}, tools))
    assert seen == Observation(
        era="modern",
        protocol_version="2026-07-28",
        server_info={"name": "raw", "version": "2"},
        instructions="Be kind.",
        offers=["tools"],
        tools=[ObservedTool(name="a", definition=first), ObservedTool(name="b", definition=second)],
    )


EVERYTHING = {
    "tools": {"listChanged": True},
    "prompts": {},
    "resources": {"subscribe": True, "listChanged": False},
    "completions": {},
    "logging": None,
    "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": []}, "com.example/other": {}},
}


def listing(entries: dict[str, list[bytes]], asked: list[str]) -> Script:
    """Answers each list with one entry a page; notes what was asked for."""

    async def script(request: Request, peer: Peer) -> None:
        method = str(request.message["method"])
        asked.append(method)
        if method == "server/discover":
            result = msgspec.json.encode({**DISCOVERED, "capabilities": EVERYTHING})
        else:
            at = int(request.message["params"].get("cursor", 0))  # type: ignore[union-attr]
            member, following = (
                _MEMBERS[method],
                b"" if at + 1 == len(entries[method]) else b',"nextCursor":"%d"' % (at + 1),
            )
            result = b'{"%b":[%b]%b}' % (member, entries[method][at], following)
        await peer.json(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request.id, result))

    return script


_MEMBERS = {
    "tools/list": b"tools",
    "prompts/list": b"prompts",
    "resources/list": b"resources",
    "resources/templates/list": b"resourceTemplates",
}


async def test_everything_a_server_declares_is_listed_byte_for_byte(backend: HttpBackend) -> None:
    prompts = [b'{"name":"p",  "icons":[{"src":"data:,"}]}', b'{"name":"q","arguments":[]}']
    resources = [b'{"uri":"ui://a/b", "name":"b","_meta":{"x":1.0}}']
    templates = [b'{"name":"t","uriTemplate":"file:///{path}", "annotations":{"priority":0.50}}']
    entries = {
        "tools/list": [b'{"name":"a","inputSchema":{}}'],
        "prompts/list": prompts,
        "resources/list": resources,
        "resources/templates/list": templates,
    }
    seen = await look(backend, listing(entries, []))
    assert seen.prompts == [ObservedEntry(name=n, definition=d) for n, d in zip("pq", prompts, strict=True)]
    assert seen.resources == [ObservedEntry(name="ui://a/b", definition=resources[0])]
    assert seen.templates == [ObservedEntry(name="file:///{path}", definition=templates[0])]
    assert seen.offers == ["completions", "list_changed", "prompts", "resources", "subscribe", "tools", "ui"]
    assert (seen.unlisted, seen.error) == ({}, "")


async def test_what_a_server_does_not_declare_it_is_not_asked_for(backend: HttpBackend) -> None:
    asked: list[str] = []
    plain = server({"server/discover": DISCOVERED, "tools/list": {"tools": []}})

    async def script(request: Request, peer: Peer) -> None:
        asked.append(str(request.message["method"]))
        await plain(request, peer)

    await look(backend, script)
    assert asked == ["server/discover", "tools/list"]


async def test_a_list_that_fails_does_not_fail_the_look(backend: HttpBackend) -> None:
    capabilities: Answers = {"tools": {}, "prompts": {}, "resources": {}}
    answers: Answers = {
        "server/discover": {**DISCOVERED, "capabilities": capabilities},
        "tools/list": {"tools": [{"name": "a", "inputSchema": {}}]},
        "prompts/list": {"prompts": {}},
        "resources/list": {"resources": [{"uri": "a:b", "name": "b"}]},
    }
    seen = await look(backend, server(answers))
    assert ([tool.name for tool in seen.tools], [one.name for one in seen.resources]) == (["a"], ["a:b"])
    assert (list(seen.unlisted), seen.error) == (["prompts"], "")
    assert "cannot be read" in seen.unlisted["prompts"]


async def test_a_list_that_never_comes_costs_only_itself(backend: HttpBackend) -> None:
    quick = server(
        {
            "server/discover": {**DISCOVERED, "capabilities": {"tools": {}, "resources": {}}},
            "tools/list": {"tools": [{"name": "a", "inputSchema": {}}]},
        }
    )

    gone = asyncio.Event()

    async def script(request: Request, peer: Peer) -> None:
        if request.message["method"] == "resources/list":
            await peer.until_gone()
            gone.set()
        else:
            await quick(request, peer)

    async with scripted(script) as running, asyncio.timeout(5):
        seen = await probe.observe(route_to(over_http(running.url), era=None), backend, within_s=0.5)
        await gone.wait()
    assert ([tool.name for tool in seen.tools], seen.error) == (["a"], "")
    assert seen.unlisted["resources"] == "its resource list took too long"


async def test_a_server_without_discover_is_asked_to_initialize(backend: HttpBackend) -> None:
    seen = await look(backend, server({"initialize": INITIALIZED}, lambda _: b'{"tools":[]}'))
    assert (seen.era, seen.protocol_version, seen.server_info["name"], seen.error) == (
        "legacy",
        "2025-06-18",
        "old",
        "",
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("400 Bad Request", b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no session"}}'),
        ("400 Bad Request", b"Missing session"),
        ("405 Method Not Allowed", b""),
        ("406 Not Acceptable", b"<html>"),
    ],
)
async def test_a_server_that_refuses_discover_in_words_of_its_own_is_asked_to_initialize(
    status: str, body: bytes, backend: HttpBackend
) -> None:
    old = server({"initialize": INITIALIZED}, lambda _: b'{"tools":[]}')

    async def script(request: Request, peer: Peer) -> None:
        await (peer.json(body, status=status) if b"server/discover" in request.body else old(request, peer))

    assert (await look(backend, script)).era == "legacy"


@pytest.mark.parametrize("status", ["502 Bad Gateway", "429 Too Many Requests", "401 Unauthorized"])
async def test_trouble_on_the_way_is_no_verdict_on_the_era(status: str, backend: HttpBackend) -> None:
    old = server({"initialize": INITIALIZED}, lambda _: b'{"tools":[]}')

    async def script(request: Request, peer: Peer) -> None:
        await (peer.json(b"oops", status=status) if b"server/discover" in request.body else old(request, peer))

    seen = await look(backend, script)
    assert seen.era is None
    assert seen.error


async def test_a_server_that_serves_both_is_spoken_to_in_the_modern_era(backend: HttpBackend) -> None:
    answers = {"server/discover": DISCOVERED, "initialize": INITIALIZED}
    seen = await look(backend, server(answers, lambda _: b'{"tools":[]}'))
    assert seen.era == "modern"


async def test_a_server_of_prompts_only_has_no_tools_and_that_is_no_error(backend: HttpBackend) -> None:
    seen = await look(backend, server({"server/discover": DISCOVERED}))
    assert (seen.tools, seen.error) == ([], "")


@pytest.mark.parametrize(
    ("answers", "declared", "error"),
    [
        ({"initialize": INITIALIZED}, "modern", "does not serve revision 2026-07-28"),
        ({"server/discover": DISCOVERED}, "legacy", "refuses to initialize: -32601"),
        ({}, "auto", "refuses to initialize"),
        ({"initialize": {**INITIALIZED, "protocolVersion": "1.0"}}, "auto", "insists on protocol version 1.0"),
        ({"initialize": {"hello": 1}}, "auto", "no InitializeResult"),
        ({"server/discover": {"supportedVersions": ["3000-01-01"]}}, "auto", "refuses to initialize"),
    ],
)
async def test_a_server_that_speaks_no_era_asked_for_says_why(
    answers: Answers, declared: Declared, error: str, backend: HttpBackend
) -> None:
    seen = await look(backend, server(answers), declared)
    assert seen.era is None
    assert error in seen.error


async def test_a_server_that_serves_only_newer_revisions_is_not_asked_twice(backend: HttpBackend) -> None:
    async def script(request: Request, peer: Peer) -> None:
        data = {"supported": ["2030-01-01"], "requested": "2026-07-28"}
        error = {"code": -32022, "message": "unsupported", "data": data}
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "error": error})
        await peer.json(body, status="400 Bad Request")

    async with scripted(script) as running:
        seen = await probe.observe(route_to(over_http(running.url), era=None), backend)
        assert seen.error == "speaks only 2030-01-01"
        assert len(running.requests) == 1


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (b'{"tools":[],"nextCursor":"same"}', "comes back to where it was"),
        (b'{"tools":{}}', "cannot be read"),
        (b'{"tools":[%b]}' % (b'{"a":' * 2000 + b"1" + b"}" * 2000), "nested too deep"),
    ],
)
async def test_a_list_that_breaks_a_rule_is_not_shown_in_part(page: bytes, error: str, backend: HttpBackend) -> None:
    seen = await look(backend, server({"server/discover": DISCOVERED}, lambda _: page))
    assert seen.era == "modern"
    assert error in seen.error
    assert seen.tools == []


async def test_one_entry_that_cannot_be_used_hides_no_other(backend: HttpBackend) -> None:
    page = b'{"tools":[7,{"name":""},{"name":5},{"name":"%b"},{"name":"fine","inputSchema":{}}]}' % (b"n" * 300)
    seen = await look(backend, server({"server/discover": DISCOVERED}, lambda _: page))
    learnt = learn(Known(), seen, 0.0, approve_first=True, approve_changes=False)
    assert [tool.name for tool in learnt.known.approved()] == ["fine"]
    assert len(learnt.unusable) == 2
    assert "an entry without a name: the name must be 1-256 characters, none of them U+0000" in learnt.unusable


async def test_pages_without_end_are_given_up(backend: HttpBackend) -> None:
    pages = 0

    def tools(_: Request) -> bytes:
        nonlocal pages
        pages += 1
        return b'{"tools":[],"nextCursor":"%d"}' % pages

    seen = await look(backend, server({"server/discover": DISCOVERED}, tools))
    assert "more than 200 pages" in seen.error
    assert pages == probe.MAX_PAGES


async def test_too_many_tools_are_given_up(backend: HttpBackend) -> None:
    def tools(request: Request) -> bytes:
        page = [{"name": f"tool-{request.id}-{n}"} for n in range(1000)]
        return msgspec.json.encode({"tools": page, "nextCursor": str(request.id)})

    seen = await look(backend, server({"server/discover": DISCOVERED}, tools))
    assert "more than 5000 tools" in seen.error


async def test_a_server_that_cannot_be_reached_or_does_not_answer_is_no_exception(backend: HttpBackend) -> None:
    async with scripted(server({})) as gone:
        pass
    seen = await probe.observe(route_to(over_http(gone.url), era=None), backend)
    assert seen.era is None
    assert "cannot connect" in seen.error

    async def silence(_: Request, peer: Peer) -> None:
        await peer.until_gone()

    async with beside(0.2) as timer:
        seen = await look(backend, silence, deadline_s=0.2)
    assert "no answer within 0.2 s" in seen.error
    assert timer.behind_s < 0.2
