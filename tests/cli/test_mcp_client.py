"""The command line's own MCP client, against servers of both eras."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.connection import McpConnection
from cli.failure import AWAY, REFUSED, Failure
from cli.main import main
from cli.mcp_client import LEGACY, MODERN, McpClient, RpcError, param_headers
from core.mcp.headers import encode_value

TOOL = {
    "name": "echo",
    "inputSchema": {"type": "object", "properties": {"to": {"type": "string", "x-mcp-header": "To"}}},
}


LISTS = {
    "prompts/list": {"prompts": [{"name": "ask", "description": "Asks.\nAt length."}]},
    "resources/list": {"resources": [{"uri": "a:1", "name": "one", "description": "The first."}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "a:{n}", "name": "some"}]},
}


class Server(ThreadingHTTPServer):
    """Answers as a server of one era does, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, era: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.era = era
        self.text = "done"
        self.asked: list[tuple[str, dict[str, str], dict[str, object]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mcp"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_DELETE(self) -> None:
        self.server.asked.append(("DELETE", dict(self.headers), {}))
        self._send(204, b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((body["method"], headers, body.get("params", {})))
        if headers.get("authorization") != "Bearer right":
            self._json(401, {"jsonrpc": "2.0", "id": body.get("id"), "error": {"code": -32001, "message": "no key"}})
        elif self.server.era == "legacy" and body["method"] == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
            self._json(200, {"jsonrpc": "2.0", "id": body["id"], "result": result}, session="s-1")
        elif self.server.era == "legacy" and headers.get("mcp-session-id") != "s-1":
            self._json(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no session"}})
        elif body["method"] == "notifications/initialized":
            self._send(202, b"")
        elif body["method"] in LISTS:
            result = {**LISTS[body["method"]], "resultType": "complete"}
            self._json(200, {"jsonrpc": "2.0", "id": body["id"], "result": result})
        elif body["method"] == "tools/list":
            result = {"tools": [TOOL], "resultType": "complete"}
            if "cursor" not in body["params"]:
                result["nextCursor"] = "2"
            self._json(200, {"jsonrpc": "2.0", "id": body["id"], "result": result})
        else:
            self._call(body)

    def _call(self, body: dict[str, object]) -> None:
        progress = {"method": "notifications/progress", "params": {"progressToken": 1, "progress": 1, "total": 2}}
        result = {"content": [{"type": "text", "text": self.server.text}], "resultType": "complete"}
        messages = [{"jsonrpc": "2.0", **progress}, {"jsonrpc": "2.0", "id": body["id"], "result": result}]
        frames = "".join(f"event: message\r\ndata: {json.dumps(m)}\r\n\r\n" for m in messages)
        self._send(200, (": ping\r\n\r\n" + frames).encode(), media="text/event-stream")

    def _json(self, status: int, value: object, session: str = "") -> None:
        self._send(status, json.dumps(value).encode(), session=session)

    def _send(self, status: int, body: bytes, *, media: str = "application/json", session: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        if session:
            self.send_header("Mcp-Session-Id", session)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(era: str) -> Iterator[Server]:
    with Server(era) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@pytest.mark.parametrize(("era", "revision"), [("modern", MODERN), ("legacy", "2025-06-18")])
def test_tools_are_listed_to_the_last_page_and_called_with_progress(era: str, revision: str) -> None:
    heard: list[tuple[str, object]] = []
    with serving(era) as server, McpClient(McpConnection(server.url, "right"), 5) as client:
        assert client.tools() == [TOOL, TOOL]
        result = client.call(TOOL, {"to": "you"}, lambda method, params: heard.append((method, params["progress"])))
        assert result["content"] == [{"type": "text", "text": "done"}]
        assert client.era == revision
    assert heard == [("notifications/progress", 1)]
    methods = [method for method, _, _ in server.asked]
    if era == "modern":
        assert methods == ["tools/list", "tools/list", "tools/call"]
        _, headers, params = server.asked[-1]
        assert headers["mcp-protocol-version"] == MODERN
        assert (headers["mcp-method"], headers["mcp-name"], headers["mcp-param-to"]) == ("tools/call", "echo", "you")
        assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == MODERN  # type: ignore[index]
    else:
        handshake = ["tools/list", "initialize", "notifications/initialized"]
        assert methods == [*handshake, "tools/list", "tools/list", "tools/call", "DELETE"]
        assert server.asked[1][2]["protocolVersion"] == LEGACY
        assert all(headers["mcp-session-id"] == "s-1" for _, headers, _ in server.asked[2:-1])


def test_a_wrong_key_is_refused_without_another_try() -> None:
    with serving("legacy") as server, McpClient(McpConnection(server.url, "wrong"), 5) as client:
        with pytest.raises(Failure, match="does not accept the key") as caught:
            client.tools()
        assert caught.value.code == REFUSED
        assert [method for method, _, _ in server.asked] == ["tools/list"]


@pytest.mark.parametrize(
    ("code", "exit_code"), [(502, AWAY), (503, AWAY), (504, AWAY), (-32603, AWAY), (403, REFUSED), (-32602, REFUSED)]
)
def test_what_cannot_answer_now_is_told_apart_from_what_is_refused(code: int, exit_code: int) -> None:
    assert RpcError(code, "no", None).code == exit_code


def test_what_a_tool_says_does_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with serving("modern") as server:
        server.text = "\x1b]0;owned\x07\x1b[2Jone\ttwo\r\nthree\x9b31m \u00e9\x7f"
        words = ["call", "echo", "--url", server.url, "--key", "right"]
        assert main(words) == 0
        assert capsys.readouterr().out == "]0;owned[2Jone\ttwo\nthree31m \u00e9\n"
        assert main([*words, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["content"][0]["text"] == server.text


def test_a_server_that_is_gone_is_said_to_be() -> None:
    with McpClient(McpConnection("http://127.0.0.1:1/mcp", "k"), 5) as client, pytest.raises(Failure) as caught:
        client.tools()
    assert caught.value.code == AWAY


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("plain", "plain"),
        ("two words", "two words"),
        (" edge", "=?base64?IGVkZ2U=?="),
        ("Grüße", "=?base64?R3LDvMOfZQ==?="),
        ("a\nb", "=?base64?YQpi?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
    ],
)
def test_what_a_header_cannot_carry_is_encoded(text: str, header: str) -> None:
    assert encode_value(text) == header


def test_annotated_arguments_travel_in_headers_when_they_are_there() -> None:
    schema = {
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "n": {"type": "integer", "x-mcp-header": "N"},
            "on": {"type": "boolean", "x-mcp-header": "On"},
            "inner": {"properties": {"deep": {"type": "string", "x-mcp-header": "Deep"}}},
            "gone": {"type": "string", "x-mcp-header": "Gone"},
        }
    }
    arguments = {"region": "eu", "n": 3, "on": True, "inner": {"deep": "x"}, "gone": None}
    assert param_headers(schema, arguments) == {
        "Mcp-Param-Region": "eu",
        "Mcp-Param-N": "3",
        "Mcp-Param-On": "true",
        "Mcp-Param-Deep": "x",
    }


def test_prompts_and_resources_are_listed_as_an_agent_sees_them(capsys: pytest.CaptureFixture[str]) -> None:
    with serving("modern") as server:
        flags = ["--url", server.url, "--key", "right"]
        assert main(["prompts", *flags]) == 0
        assert capsys.readouterr().out.split() == ["PROMPT", "DESCRIPTION", "ask", "Asks."]
        assert main(["resources", *flags]) == 0
        assert capsys.readouterr().out.split() == ["URI", "DESCRIPTION", "a:1", "The", "first.", "a:{n}"]
        assert main(["resources", *flags, "-o", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
    assert [one["uri"] for one in told["resources"]] == ["a:1"]
    assert [one["uriTemplate"] for one in told["resourceTemplates"]] == ["a:{n}"]
