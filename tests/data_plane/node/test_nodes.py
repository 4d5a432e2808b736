"""Two nodes behind one Redis, as agents see them: whatever began at one goes on at the other."""

import concurrent.futures
import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from core.resource import encode
from core.server import StdioTransport, Transport
from core.snapshot import Backend, Backends
from tests.data_plane.node.gateway import Node, Upstream, key, node, served, upstream
from tests.harness.redis import RedisServer

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
}
ASKS = """
import json, sys

def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

call = None
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        about = {"name": "asks", "version": "1"}
        say(id=message["id"], result={"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": about})
    elif method == "server/discover":
        say(id=message["id"], error={"code": -32601, "message": "no"})
    elif method == "tools/call":
        call = message["id"]
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        say(id="q", method="elicitation/create", params={"message": "who?", "requestedSchema": schema})
    elif method is None:
        text = json.dumps(message.get("result"))
        say(id=call, result={"content": [{"type": "text", "text": text}]})
"""


@contextlib.contextmanager
def two(tmp_path: Path, transport: Transport | None = None, upstream: str = "") -> Iterator[list[Node]]:
    """Both serve the same snapshot."""
    snapshot = served("acme", upstream=upstream or "http://127.0.0.1:9/mcp")
    if transport is not None:
        backends = encode(Backends({"srv": Backend(server="srv", transport=transport, era="legacy")}))
        snapshot = served("acme", backends=backends)
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(node(tmp_path / name, 1)) for name in "ab"]
        for one in nodes:
            one.publish(snapshot)
            one.start()
        for one in nodes:
            one.until(one.ready, "the node is ready")
        yield nodes


def post(at: Node, body: Mapping[str, object], **headers: str) -> tuple[int, dict[str, str], dict[str, object]]:
    """One message; of an event stream, the last."""
    own = http.client.HTTPConnection("127.0.0.1", at.mcp_port, timeout=20)
    with contextlib.closing(own):
        own.request(
            "POST",
            "/mcp",
            json.dumps({"jsonrpc": "2.0", **body}),
            {
                "authorization": f"Bearer {key('acme').decode()}",
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )
        response = own.getresponse()
        data = response.read()
        if response.getheader("content-type", "").startswith("text/event-stream"):
            data = [line[6:] for line in data.splitlines() if line.startswith(b"data: ")][-1]
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, json.loads(data) if data.strip() else {}


def called(at: Node, **params: object) -> tuple[int, dict[str, str], dict[str, object]]:
    body = {"id": 1, "method": "tools/call", "params": {"name": "tool-0", "arguments": {}, **params, "_meta": META}}
    return post(at, body, mcp_protocol_version="2026-07-28", mcp_method="tools/call", mcp_name="tool-0")


def modern(at: Node, **params: object) -> dict[str, object]:
    status, _, answer = called(at, **params)
    assert status == 200, answer
    result = answer["result"]
    assert isinstance(result, dict)
    return result


@pytest.fixture
def shared_redis(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    monkeypatch.setenv("TOOLGATE_REDIS_URL", redis_server.url)
    return redis_server


@pytest.fixture
def slow() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def asking(tmp_path: Path) -> StdioTransport:
    script = tmp_path / "asks.py"
    script.write_text(ASKS)
    return StdioTransport(command=[sys.executable, str(script)])


@pytest.mark.usefixtures("shared_redis")
def test_a_call_that_asked_at_one_node_is_answered_at_the_other(tmp_path: Path) -> None:
    with two(tmp_path, asking(tmp_path)) as (here, there):
        asked = modern(here)
        assert asked["resultType"] == "input_required"
        ((name, request),) = asked["inputRequests"].items()  # type: ignore[attr-defined]
        assert (request["method"], request["params"]["message"]) == ("elicitation/create", "who?")
        reply = {"action": "accept", "content": {"name": "Ann"}}
        done = modern(there, inputResponses={name: reply}, requestState=asked["requestState"])
        assert json.loads(done["content"][0]["text"]) == reply  # type: ignore[index]
        assert here.metric("toolgate_bus_delivered_total") > 0


@pytest.mark.usefixtures("shared_redis")
def test_a_call_whose_node_was_killed_after_it_asked_is_begun_again(tmp_path: Path) -> None:
    with two(tmp_path, asking(tmp_path)) as (here, there):
        asked = modern(here)
        assert here.process is not None
        here.process.kill()
        here.process.wait(10)
        answers = {name: {"action": "decline"} for name in asked["inputRequests"]}  # type: ignore[attr-defined]
        retry = {"inputResponses": answers, "requestState": asked["requestState"]}
        began = time.monotonic()
        status, _, answer = called(there, **retry)
        assert (status, answer["error"]["code"]) == (400, -32602)  # type: ignore[index]
        assert time.monotonic() - began < 4
        assert modern(there)["resultType"] == "input_required"


@pytest.mark.usefixtures("shared_redis")
def test_a_call_cancelled_at_the_other_node_ends(tmp_path: Path, slow: Upstream) -> None:
    with two(tmp_path, upstream=slow.url) as (here, there):
        about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        _, headers, _ = post(here, {"id": 1, "method": "initialize", "params": about})
        own = {"mcp_session_id": headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
        post(here, {"method": "notifications/initialized"}, **own)
        held = {"id": "c-7", "method": "tools/call", "params": {"name": "tool-0", "arguments": {"hold": True}}}
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            calling = pool.submit(post, here, held, **own)
            assert slow.held.acquire(timeout=10)
            cancel = {"method": "notifications/cancelled", "params": {"requestId": "c-7", "reason": "enough"}}
            assert post(there, cancel, **own)[0] == 202
            _, _, answer = calling.result(10)
        assert not slow.let_go.is_set()
        assert "result" not in answer
        here.until(lambda: any(row["outcome"] == "cancelled" for row in here.records()), "it is on record")


def test_nodes_whose_redis_is_away_serve_and_their_callers_reach_their_own_workers(
    tmp_path: Path, shared_redis: RedisServer
) -> None:
    shared_redis.kill()
    with two(tmp_path, asking(tmp_path)) as (here, there):
        asked = modern(here)
        ((name, _),) = asked["inputRequests"].items()  # type: ignore[attr-defined]
        retry = {"inputResponses": {name: {"action": "decline"}}, "requestState": asked["requestState"]}
        _, _, answer = called(there, **retry)
        assert answer["error"]["code"] == -32602, "the other node cannot know"  # type: ignore[index]
        done = modern(here, **retry)
        assert json.loads(done["content"][0]["text"]) == {"action": "decline"}  # type: ignore[index]
