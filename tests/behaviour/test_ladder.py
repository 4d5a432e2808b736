"""The validation ladder on raw sockets, through a gateway as it is run: each rung's status, code, id, and their order.

A request is broken in one way, and then in that way and all that come later in the ladder at once: the answer must be
the same, since a client may rely on the order. Both eras are spoken at one URL.

Who calls is asked before all of it but the place: a stranger is told how to be known, whatever else is wrong.
The one rung that is not where the official SDK has it is the Origin's: which pages may use an endpoint is the tenant's
to say, so it is asked once the caller is known; strangers learn nothing of which endpoints there are.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.mcp.revisions import SUPPORTED
from core.resource import digest, encode
from core.snapshot import Catalogue, CompiledPrompt, CompiledTool
from tests.data_plane.node.gateway import key, node, served, upstream
from tests.harness.raw_http import Reply, Wire

META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
NEVER = "2099-01-01"
PATH = "/acme/default/mcp"
MAX_BODY = 4 * 1024 * 1024


class Draft:
    """A request to be broken. `form` makes its bytes of the body once that is complete."""

    def __init__(self, headers: dict[str, list[str]], body: dict[str, object]) -> None:
        self.method, self.path = "POST", PATH
        self.headers, self.body = headers, body
        self.form: Callable[[dict[str, object]], bytes] = lambda body: json.dumps(body).encode()

    @property
    def params(self) -> dict:
        return self.body["params"]  # type: ignore[return-value]

    @property
    def meta(self) -> dict:
        return self.params["_meta"]  # type: ignore[no-any-return]

    def set(self, name: str, *values: str) -> None:
        self.headers[name] = list(values)

    def raw(self) -> bytes:
        body = self.form(self.body)
        fields = {"Content-Length": [str(len(body))]} | self.headers
        lines = [f"{name}: {value}\r\n" for name, values in fields.items() for value in values]
        return f"{self.method} {self.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


def modern() -> Draft:
    meta = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}}
    params = {"name": "tool-0", "arguments": {"region": "eu", "size": 42}, "_meta": meta}
    draft = legacy("")
    draft.body = {"jsonrpc": "2.0", "id": "m-1", "method": "tools/call", "params": params}
    del draft.headers["Mcp-Session-Id"]
    draft.set("MCP-Protocol-Version", MODERN)
    draft.set("Mcp-Method", "tools/call")
    draft.set("Mcp-Name", "tool-0")
    draft.set("Mcp-Param-Region", "eu")
    draft.set("Mcp-Param-Size", "42.0")
    return draft


def legacy(session: str) -> Draft:
    headers = {
        "Host": ["localhost"],
        "Authorization": [f"Bearer {key('acme').decode()}"],
        "Content-Type": ["application/json"],
        "Accept": ["application/json, text/event-stream"],
        "MCP-Protocol-Version": [LEGACY],
        "Mcp-Session-Id": [session],
    }
    params = {"name": "tool-0", "arguments": {"region": "eu", "size": 42}}
    return Draft(headers, {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})


Break = Callable[[Draft], object]
Rung = tuple[str, Break, int, int, bool]
"""What is wrong, how to make it so, HTTP status, JSON-RPC code, and whether the answer has the request's id."""


def _becomes(form: Callable[[dict[str, object]], bytes]) -> Break:
    return lambda draft: setattr(draft, "form", form)


def _response(body: dict[str, object]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": {}}).encode()


def _version(draft: Draft) -> None:
    draft.set("MCP-Protocol-Version", NEVER)
    draft.meta[META + "protocolVersion"] = NEVER


PLACES: list[Rung] = [
    ("another host", lambda d: d.set("Host", "evil.example"), 421, -32600, False),
    ("another path", lambda d: setattr(d, "path", "/acme/default/nothing"), 404, 404, False),
]
"""Of which nobody has to be known: no tenant is there."""

HEAD: list[Rung] = [
    *PLACES,
    ("another HTTP method", lambda d: setattr(d, "method", "PUT"), 405, -32600, False),
    ("another content type", lambda d: d.set("Content-Type", "text/plain"), 400, -32600, False),
    ("nothing that can be answered with", lambda d: d.set("Accept", "text/html"), 406, -32600, False),
]

BODY: list[Rung] = [
    ("a body beyond any cap", lambda d: d.set("Content-Length", str(MAX_BODY + 1)), 413, 413, False),
    ("no JSON", _becomes(lambda body: json.dumps(body).encode()[:-1]), 400, -32700, False),
    ("an array", _becomes(lambda body: json.dumps([body]).encode()), 400, -32600, False),
]

MODERN_LADDER: list[Rung] = [
    *HEAD,
    ("no stream accepted", lambda d: d.set("Accept", "application/json"), 406, -32600, False),
    *BODY,
    ("a posted response", _becomes(_response), 400, -32600, False),
    ("another JSON-RPC", lambda d: d.body.update(jsonrpc="1.0"), 400, -32600, False),
    ("no id to answer to", lambda d: d.body.update(id=None), 400, -32600, False),
    ("a routing header twice", lambda d: d.set("Mcp-Method", "tools/call", "tools/call"), 400, -32020, True),
    ("no capabilities in _meta", lambda d: d.meta.pop(META + "clientCapabilities"), 400, -32602, True),
    ("another version header", lambda d: d.set("MCP-Protocol-Version", "2098-01-01"), 400, -32020, True),
    ("another method header", lambda d: d.set("Mcp-Method", "tools/list"), 400, -32020, True),
    ("another name header", lambda d: d.set("Mcp-Name", "tool-1"), 400, -32020, True),
    ("a version not served", _version, 400, -32022, True),
    ("capabilities that are no object", lambda d: d.meta.update({META + "clientCapabilities": 1}), 400, -32602, True),
    ("a log level that is none", lambda d: d.meta.update({META + "logLevel": "loud"}), 400, -32602, True),
    ("a parameter header in bad base64", lambda d: d.set("Mcp-Param-Size", "=?base64?!?="), 400, -32020, True),
    ("arguments that are no object", lambda d: d.params.update(arguments=[]), 400, -32602, True),
    ("a progress token that is none", lambda d: d.meta.update(progressToken={}), 400, -32602, True),
    ("a page of another origin", lambda d: d.set("Origin", "https://evil.example"), 403, 403, True),
    ("a parameter header unlike its argument", lambda d: d.set("Mcp-Param-Region", "us"), 400, -32020, True),
]

LEGACY_LADDER: list[Rung] = [
    *HEAD,
    *BODY,
    ("another JSON-RPC", lambda d: d.body.update(jsonrpc="1.0"), 400, -32600, False),
    ("no id to answer to", lambda d: d.body.update(id=None), 400, -32600, False),
    ("the version header twice", lambda d: d.set("MCP-Protocol-Version", LEGACY, LEGACY), 400, -32600, True),
    ("no session", lambda d: d.set("Mcp-Session-Id"), 400, -32600, True),
    ("arguments that are no object", lambda d: d.params.update(arguments=[]), 200, -32602, True),
    ("a progress token that is none", lambda d: d.params.update(_meta={"progressToken": {}}), 200, -32602, True),
    ("a page of another origin", lambda d: d.set("Origin", "https://evil.example"), 403, 403, True),
    ("another's session", lambda d: d.set("Mcp-Session-Id", "made-up"), 404, 404, True),
    ("a tool that is not there", lambda d: d.params.update(name="nope"), 200, -32602, True),
]


class Gateway:
    def __init__(self, port: int) -> None:
        self._port = port

    def exchange(self, raw: bytes) -> Reply:
        """One request on a connection of its own, and its whole answer."""
        with Wire(self._port) as wire:
            return wire.exchange(raw)

    def post(self, draft: Draft) -> Reply:
        return self.exchange(draft.raw())

    def session(self, revision: str = LEGACY) -> str:
        draft = legacy("")
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        draft.body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        draft.headers = {k: v for k, v in draft.headers.items() if not k.lower().startswith("mcp-")}
        reply = self.post(draft)
        assert reply.message["result"]["protocolVersion"] == revision
        return reply.headers["mcp-session-id"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    definition = {
        "name": "tool-0",
        "inputSchema": {
            "type": "object",
            "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "size": {"type": "integer", "x-mcp-header": "Size"},
            },
        },
    }
    tool = CompiledTool(
        name="tool-0",
        server="srv",
        upstream_name="tool-0",
        definition=json.dumps(definition).encode(),
        digest=digest(b"tool-0"),
        header_params={"region": "Region", "size": "Size"},
    )
    prompt = CompiledPrompt(name="greet", server="srv", upstream_name="greet", definition=b'{"name":"greet"}')
    catalogue = encode(Catalogue(endpoint="default", tools=(tool,), prompts=(prompt,), max_body_bytes=MAX_BODY))
    home: Path = tmp_path_factory.mktemp("ladder")
    with upstream() as server, node(home, 1, "--bad-credentials-per-minute", "0") as running:
        running.publish(served("acme", upstream=server.url, catalogue=catalogue))
        running.start()
        running.until(running.ready, "the node is ready")
        yield Gateway(running.mcp_port)


def broken(draft: Draft, ladder: list[Rung], at: int, *, and_later: bool) -> Draft:
    """Later rungs first, so that what is broken earlier is broken on top of them."""
    for _, break_, *_ in reversed(ladder[at:] if and_later else ladder[at : at + 1]):
        break_(draft)
    return draft


@pytest.mark.parametrize("and_later", [False, True], ids=["alone", "and all later"])
@pytest.mark.parametrize("at", range(len(MODERN_LADDER)), ids=[rung[0] for rung in MODERN_LADDER])
def test_a_modern_request_fails_at_the_first_rung_it_breaks(gateway: Gateway, at: int, and_later: bool) -> None:
    _, _, status, code, tells_id = MODERN_LADDER[at]
    reply = gateway.post(broken(modern(), MODERN_LADDER, at, and_later=and_later))
    assert reply.error == (status, code, "m-1" if tells_id else None), reply.body
    assert "mcp-session-id" not in reply.headers
    assert (status != 405) or "POST" in reply.headers["allow"]


@pytest.mark.parametrize("and_later", [False, True], ids=["alone", "and all later"])
@pytest.mark.parametrize("at", range(len(LEGACY_LADDER)), ids=[rung[0] for rung in LEGACY_LADDER])
def test_a_request_of_the_handshake_era_fails_at_the_first_rung_it_breaks(
    gateway: Gateway, at: int, and_later: bool
) -> None:
    _, _, status, code, tells_id = LEGACY_LADDER[at]
    reply = gateway.post(broken(legacy(gateway.session()), LEGACY_LADDER, at, and_later=and_later))
    assert reply.error == (status, code, 7 if tells_id else None), reply.body


@pytest.mark.parametrize("and_later", [False, True], ids=["alone", "and all later"])
@pytest.mark.parametrize("credential", ["", "Bearer tgk_acme_made_up", "Bearer eyJ.e30.AA", "Basic YTpi"])
def test_whoever_is_not_known_is_told_so_on_every_rung(gateway: Gateway, credential: str, and_later: bool) -> None:
    session = gateway.session()
    for ladder, of_era in ((MODERN_LADDER, modern), (LEGACY_LADDER, lambda: legacy(session))):
        for at, (name, _, status, *_) in enumerate(ladder):
            draft = broken(of_era(), ladder, at, and_later=and_later)
            draft.set("Authorization", *([credential] if credential else []))
            reply = gateway.post(draft)
            if at < len(PLACES):
                assert (reply.status, "www-authenticate" in reply.headers) == (status, False), name
                continue
            assert reply.error[:2] == (401, 401), (name, reply.body)
            assert reply.headers["www-authenticate"] == 'Bearer realm="toolgate"'


DOORS = ["mcp", "sse", "messages", "ws", "rpc", "rpc/batch", "rpc/introspection", "status", "capabilities"]


@pytest.mark.parametrize("prefix", ["", "/acme/default", "/acme/default/servers/srv", "/nobody/default", "/acme/no"])
def test_every_door_asks_who_calls_before_anything_else(gateway: Gateway, prefix: str) -> None:
    """A client that looks for the challenge does so with what it has at hand, and a stranger learns of no door."""
    asked = [
        (method, more, body)
        for method in ("GET", "POST", "PUT", "DELETE")
        for more in ("", "Accept: */*\r\n", "Content-Type: text/plain\r\n", "Content-Type: application/json\r\n")
        for body in ("", "{}", "[]", "[{}]", "no")
    ]
    for leaf in DOORS:
        for method, more, body in asked:
            head = f"{method} {prefix}/{leaf} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {len(body)}\r\n\r\n"
            reply = gateway.exchange(head.encode() + body.encode())
            assert (reply.status, reply.headers.get("www-authenticate")) == (401, 'Bearer realm="toolgate"'), head


def test_a_body_that_is_coded_is_a_strangers_first(gateway: Gateway) -> None:
    draft = modern()
    draft.set("Content-Encoding", "gzip")
    assert gateway.post(draft).status == 415
    draft.set("Authorization")
    assert gateway.post(draft).status == 401


def test_what_leaves_open_who_calls_is_not_guessed_at(gateway: Gateway) -> None:
    draft = modern()
    draft.set("Authorization", "Bearer a", "Bearer b")
    assert gateway.post(draft).status == 400
    draft = modern()
    draft.path += "?access_token=a"
    assert gateway.post(draft).status == 400


def test_what_breaks_no_rung_is_answered_in_both_eras(gateway: Gateway) -> None:
    for draft, id_ in ((modern(), "m-1"), (legacy(gateway.session()), 7)):
        reply = gateway.post(draft)
        assert (reply.status, reply.message["id"]) == (200, id_)
        assert reply.message["result"]["content"] == [{"type": "text", "text": "done"}]


def test_each_rung_names_the_header_that_does_not_match(gateway: Gateway) -> None:
    for name in ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"):
        for values in (["x"], []):
            draft = modern()
            draft.set(name, *values)
            reply = gateway.post(draft)
            assert reply.error == (400, -32020, "m-1")
            assert name in reply.message["error"]["message"]


Refusal = tuple[str, dict[str, object], str | None, int, int]
"""Method, params, `Mcp-Name`, status and code."""

METHODS: list[Refusal] = [
    ("tools/call", {"name": "nope"}, "nope", 400, -32602),
    ("prompts/get", {"name": "nope"}, "nope", 400, -32602),
    ("resources/read", {"uri": "file:///nope"}, "file:///nope", 400, -32602),
    ("completion/complete", {"ref": {"type": "ref/other"}, "argument": {}}, None, 400, -32602),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}}, None, 400, -32602),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": "a"}, None, 400, -32602),
    ("tools/list", {"cursor": "made-up"}, None, 400, -32602),
    ("prompts/list", {"cursor": ""}, None, 400, -32602),
    ("tasks/get", {"taskId": "t"}, "t", 400, -32021),
    ("unknown/method", {}, None, 404, -32601),
    ("ping", {}, None, 404, -32601),
    ("logging/setLevel", {"level": "info"}, None, 404, -32601),
    ("resources/subscribe", {"uri": "file:///a"}, None, 404, -32601),
    ("initialize", {}, None, 404, -32601),
    ("notifications/cancelled", {"requestId": 1}, None, 404, -32601),
    ("GET", {}, None, 404, -32601),
]


@pytest.mark.parametrize("refusal", METHODS, ids=[str(one[:2]) for one in METHODS])
def test_what_a_method_refuses_comes_after_the_ladder(gateway: Gateway, refusal: Refusal) -> None:
    method, params, name, status, code = refusal
    draft = modern()
    draft.body |= {"method": method, "params": params | {"_meta": draft.meta}}
    draft.set("Mcp-Method", method)
    draft.set("Mcp-Name", *([name] if name else []))
    draft.set("Mcp-Param-Region")
    draft.set("Mcp-Param-Size")
    assert gateway.post(draft).error == (status, code, "m-1")


def test_the_era_is_the_bodys_before_the_headers(gateway: Gateway) -> None:
    """Where the official SDK looks at the version header alone, and answers with a session that nobody asked for."""
    for version in ([], [LEGACY], ["2024-11-05"]):
        draft = modern()
        draft.set("MCP-Protocol-Version", *version)
        reply = gateway.post(draft)
        assert reply.error == (400, -32020, "m-1")
        assert "mcp-session-id" not in reply.headers


def test_a_version_of_no_handshake_makes_a_request_modern(gateway: Gateway) -> None:
    draft = legacy(gateway.session())
    draft.set("MCP-Protocol-Version", "1999-01-01")
    assert gateway.post(draft).error == (400, -32602, 7)


def test_initialize_under_a_modern_header_is_told_what_is_served(gateway: Gateway) -> None:
    draft = legacy("")
    draft.set("Mcp-Session-Id")
    draft.set("MCP-Protocol-Version", MODERN)
    draft.body |= {"method": "initialize", "params": {"protocolVersion": LEGACY, "capabilities": {}}}
    reply = gateway.post(draft)
    assert reply.error == (400, -32022, 7)
    assert reply.message["error"]["data"] == {"supported": list(SUPPORTED), "requested": MODERN}


def test_an_unknown_version_in_initialize_gets_the_newest_handshake(gateway: Gateway) -> None:
    draft = legacy("")
    draft.headers = {name: values for name, values in draft.headers.items() if not name.lower().startswith("mcp-")}
    draft.body |= {"method": "initialize", "params": {"protocolVersion": "1900-01-01", "capabilities": {}}}
    reply = gateway.post(draft)
    assert (reply.status, reply.message["result"]["protocolVersion"]) == (200, LEGACY)


def test_unknown_names_are_protocol_errors_for_a_session_too(gateway: Gateway) -> None:
    session = gateway.session()
    for method, params, code in (
        ("tools/call", {"name": "nope"}, -32602),
        ("prompts/get", {"name": "nope"}, -32602),
        ("resources/read", {"uri": "file:///nope"}, -32002),
        ("tools/list", {"cursor": "made-up"}, -32602),
        ("unknown/method", {}, -32601),
        ("server/discover", {}, -32601),
        ("tasks/get", {"taskId": "t"}, -32601),
    ):
        draft = legacy(session)
        draft.body |= {"method": method, "params": params}
        assert gateway.post(draft).error == (200, code, 7)


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_the_modern_era_has_neither_get_nor_delete(gateway: Gateway, verb: str) -> None:
    draft = modern()
    draft.method, draft.form = verb, lambda _: b""
    reply = gateway.post(draft)
    assert reply.status == 405
    assert "POST" in reply.headers["allow"]


def test_notifications_are_accepted_or_refused_by_their_version_alone(gateway: Gateway) -> None:
    draft = modern()
    del draft.body["id"]
    draft.body |= {"method": "notifications/cancelled", "params": {"requestId": 1}}
    accepted = copy.deepcopy(draft)
    reply = gateway.post(accepted)
    assert (reply.status, reply.body) == (202, b"")
    draft.set("MCP-Protocol-Version", NEVER)
    assert gateway.post(draft).error == (400, -32022, None)


def test_an_id_keeps_its_type_and_spelling_on_every_rung(gateway: Gateway) -> None:
    for raw in (b"1", b'"1"', b"-0", b"90071992547409931234", b'"\\u0061"'):
        draft = modern()
        draft.meta[META + "logLevel"] = "loud"
        draft.form = lambda body, raw=raw: json.dumps(body | {"id": "ID"}).encode().replace(b'"ID"', raw)  # type: ignore[misc]
        assert b'"id":' + raw + b"," in gateway.post(draft).body


def test_hosts_that_begin_well_are_other_hosts(gateway: Gateway) -> None:
    for host in ("localhost.evil.example", "127.0.0.1@evil.example", "", "localhost:80:80", "[::1"):
        draft = modern()
        draft.set("Host", host)
        reply = gateway.post(draft)
        assert reply.status in (400, 421), host
    draft = modern()
    del draft.headers["Host"]
    assert gateway.post(draft).status in (400, 421)


def test_a_session_ends_where_its_client_says_so(gateway: Gateway) -> None:
    session = gateway.session()
    ends = legacy(session)
    ends.method, ends.form = "DELETE", lambda _: b""
    assert gateway.post(ends).status in (200, 204)
    assert gateway.post(legacy(session)).error == (404, 404, 7)
    assert gateway.post(ends).status == 404


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_streams_and_ends_are_a_sessions(gateway: Gateway, verb: str) -> None:
    for values, status in (([], 400), (["made-up"], 404)):
        draft = legacy("")
        draft.method, draft.form = verb, lambda _: b""
        draft.set("Mcp-Session-Id", *values)
        assert gateway.post(draft).status == status


def test_a_version_of_no_revision_is_refused_within_a_session(gateway: Gateway) -> None:
    """MCP 2025-11-25, Transports: 400 for an invalid or unsupported version."""
    for version in ("2025-11-26", "latest"):
        draft = legacy(gateway.session())
        draft.set("MCP-Protocol-Version", version)
        assert gateway.post(draft).status == 400


def test_a_body_that_never_comes_is_not_waited_for_where_its_head_is_refused(gateway: Gateway) -> None:
    """Each rung before the body answers at once: nothing of it was sent."""
    for name, break_, status, *_ in HEAD:
        draft = modern()
        draft.set("Content-Length", "1000")
        draft.form = lambda _: b""
        break_(draft)
        assert gateway.post(draft).status == status, name
