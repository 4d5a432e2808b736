"""Hundreds of malformed messages by every way into a gateway as it is run: none is its undoing, none is a 5xx."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from core.resource import digest, encode
from core.snapshot import Catalogue, CompiledPrompt, CompiledResource, CompiledTool
from tests.data_plane.node.gateway import Node, key, node, served, upstream
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds
from tests.harness.raw_http import Reply, Wire, masked, request

MANY = 500
FEW = 50
PLACE = "/acme/default"
MODERN, LEGACY, BATCHES = "2026-07-28", "2025-11-25", "2025-03-26"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
KEY = {"Authorization": f"Bearer {key('acme').decode()}"}
POSTED = KEY | {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId"}
CALL = {"name": "echo", "arguments": {}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """With what the messages are about: one tool, one prompt, one resource."""
    ours = {"server": "srv"}
    schema = b'{"name":"echo","inputSchema":{"type":"object"}}'
    tool = CompiledTool(name="echo", upstream_name="echo", definition=schema, digest=digest(b"echo"), **ours)
    prompt = CompiledPrompt(name="greet", upstream_name="greet", definition=b'{"name":"greet"}', **ours)
    page = b'{"name":"a","uri":"file:///a"}'
    resource = CompiledResource(name="file:///a", upstream_name="file:///a", definition=page, **ours)
    catalogue = Catalogue(endpoint="default", tools=(tool,), prompts=(prompt,), resources=(resource,), servers=("srv",))
    home: Path = tmp_path_factory.mktemp("malformed")
    with upstream() as server, node(home) as running:
        running.publish(served("acme", upstream=server.url, catalogue=encode(catalogue)))
        running.start()
        running.until(running.ready, "the node is ready")
        workers = running.workers()
        yield running
        assert running.workers() == workers, running.log.read_text()[-4000:]


@pytest.fixture(autouse=True)
def unharmed(gateway: Node) -> Iterator[None]:
    """What came before is not held against those who come after, and nobody has to look into a traceback."""
    yield
    body = {"jsonrpc": "2.0", "id": "after", "method": "tools/call", "params": CALL | {"_meta": META}}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
    with Wire(gateway.mcp_port) as wire:
        reply = wire.exchange(request(f"{PLACE}/mcp", json.dumps(body).encode(), POSTED | headers))
    assert (reply.status, reply.message["id"], "result" in reply.message) == (200, "after", True)
    assert "Traceback" not in gateway.log.read_text()
    assert "internal error" not in gateway.log.read_text()


def bodies(seed: str) -> Iterator[bytes]:
    """Messages of every method, each changed a little; arrays and responses among them."""
    chance, known = Random(seed), seeds("bare")
    for _ in range(MANY):
        yield mutated(chance.choice(known), chance, lambda data: spoilt(data, chance))


def spoilt(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    put = chance.choice(
        (b"", b"\x00", b"\xff", b'"', b"{", b"[" * 200, b"\xed\xa0\x80", bytes([chance.randrange(256)]))
    )
    return data[:at] + put + data[at + chance.choice((0, 1, 9)) :]


def told(body: bytes) -> dict[str, str]:
    """The headers that go with a body, as far as it can be read."""
    try:
        message = json.loads(body)
        method, params = str(message["method"]), message.get("params") or {}
        name = params.get(NAMED[method]) if method in NAMED else None
        headers = {"Mcp-Method": method} | ({"Mcp-Name": str(name)} if name is not None else {})
        stated = params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion", MODERN)
        headers["MCP-Protocol-Version"] = str(stated)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return {"MCP-Protocol-Version": MODERN}
    return {k: v for k, v in headers.items() if v.isascii() and v.isprintable()}


def sound(reply: Reply) -> None:
    """Not the gateway's fault, and said in a way that can be read."""
    assert reply.status < 500, (reply.status, reply.body)
    if reply.headers.get("content-type") != "application/json":
        return
    found = json.loads(reply.body)
    for message in found if isinstance(found, list) else [found]:
        answers_well(message)


def answers_well(message: dict) -> None:
    assert message["jsonrpc"] == "2.0"
    if "method" not in message:
        assert message.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), message
        assert message.get("error", {}).get("code") not in (-32603, 500), message


@pytest.mark.parametrize("way", ["modern", "session", "session with batches", "rpc", "rpc/batch"])
def test_posted_messages(gateway: Node, way: str) -> None:
    with Wire(gateway.mcp_port) as wire:
        headers = POSTED | session(wire, way)
        path = f"{PLACE}/{way}" if way.startswith("rpc") else f"{PLACE}/mcp"
        for body in bodies(way):
            sent = b"[" + body + b"]" if way == "rpc/batch" and body[:1] == b"{" else body
            sound(wire.exchange(request(path, sent, headers | (told(body) if way == "modern" else {}))))


def session(wire: Wire, way: str) -> dict[str, str]:
    if not way.startswith("session"):
        return {}
    revision = BATCHES if way.endswith("batches") else LEGACY
    reply = wire.exchange(request(f"{PLACE}/mcp", hello(revision), POSTED))
    assert reply.message["result"]["protocolVersion"] == revision
    return {"Mcp-Session-Id": reply.headers["mcp-session-id"], "MCP-Protocol-Version": revision}


def hello(revision: str) -> bytes:
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return json.dumps({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params}).encode()


def test_messages_beside_an_event_stream(gateway: Node) -> None:
    with Wire(gateway.mcp_port) as stream, Wire(gateway.mcp_port) as wire:
        stream.send(request(f"{PLACE}/sse", b"", KEY | {"Accept": "text/event-stream"}, "GET"))
        assert stream.head().status == 200
        events = stream.events()
        event, path = next(events)
        assert event == "endpoint"
        for body in (hello("2024-11-05"), *bodies("messages"), hello("2025-11-25"), last()):
            reply = wire.exchange(request(path, body, POSTED))
            assert reply.status in (202, 400), reply.body
        for _, data in events:
            answers_well(json.loads(data))
            if json.loads(data).get("id") == "last":
                break


def last() -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": "last", "method": "tools/call", "params": CALL}).encode()


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-11-25"])
def test_frames_of_a_websocket(gateway: Node, revision: str) -> None:
    with Wire(gateway.mcp_port) as wire:
        assert wire.upgrade(f"{PLACE}/ws", key("acme")).status == 101
        wire.send(masked(hello(revision)))
        until(wire, "hello")
        # Behind an initialize, and some of these are, so many are held and no more.
        for number, body in enumerate(bodies(revision)):
            text = body.decode("utf-8", "replace").encode()
            cut = len(text) // 2 if number % 3 == 0 else 0
            wire.send(masked(text[:cut], 0x01) + masked(text[cut:], 0x80) if cut else masked(text))
            if number % FEW == 0:
                wire.send(masked(ping()))
                until(wire, "ping")
        for body, id_ in ((ping(), "ping"), (hello(revision), "hello"), (last(), "last")):
            wire.send(masked(body))
            until(wire, id_)


def ping() -> bytes:
    return b'{"jsonrpc":"2.0","id":"ping","method":"ping"}'


def until(wire: Wire, id_: str) -> None:
    """Reads on to an answer."""
    while True:
        opcode, payload = wire.frame()
        assert opcode in (1, 9), (opcode, payload)
        found = json.loads(payload or b"{}") if opcode == 1 else []
        for message in found if isinstance(found, list) else [found]:
            answers_well(message)
            if message.get("id") == id_:
                return


BROKEN = {
    "no UTF-8": (masked(b"\xff\xfe"), 1007),
    "binary": (masked(b"x", 0x82), 1003),
    "no mask": (b"\x81\x05hello", 1002),
    "an extension nobody offered": (masked(b"", 0xC1), 1002),
    "an opcode of no meaning": (masked(b"", 0x83), 1002),
    "a continuation of nothing": (masked(b"x", 0x80), 1002),
    "a ping in pieces": (masked(b"x", 0x09), 1002),
    "a message beyond any cap": (b"\x81\xff" + (5 << 20).to_bytes(8, "big") + bytes(4) + b" " * (5 << 20), 1009),
}


@pytest.mark.parametrize(("frame", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_frame_closes_with_its_reason(gateway: Node, frame: bytes, code: int) -> None:
    with Wire(gateway.mcp_port) as wire:
        assert wire.upgrade(f"{PLACE}/ws", key("acme")).status == 101
        wire.send(frame)
        opcode, payload = wire.frame()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)


def test_noise_in_place_of_frames(gateway: Node) -> None:
    chance = Random("frames")
    for _ in range(MANY // 5):
        with Wire(gateway.mcp_port) as wire:
            assert wire.upgrade(f"{PLACE}/ws", key("acme")).status == 101
            wire.send(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 60))))
