"""A Streamable HTTP MCP server that is as fast as Python allows, so that the gateway is what is measured.

`python bench/upstream.py PORT [RESULT_BYTES [TOOLS]]`. It answers modern and legacy requests alike. The first tool is
`echo`; all of them do the same.
"""

import asyncio
import json
import re
import sys

import httptools
import uvloop

_ID = re.compile(rb'"id":\s*("[^"]*"|\d+)')
_METHOD = re.compile(rb'"method":\s*"([^"]+)"')
TOOL = {
    "name": "echo",
    "description": "Returns a text of a fixed size.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}


def _text(size: int) -> str:
    words = "the quick brown fox jumps over the lazy dog while orders ship on time and nobody minds at all "
    return (words * (size // len(words) + 1))[:size]


class Upstream(asyncio.Protocol):
    def __init__(self, results: dict[bytes, bytes]) -> None:
        self._results = results
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        answer = replied(body, self._results)
        if answer is None:
            self._transport.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
        self._transport.write(head + answer)


def replied(message: bytes, answers: dict[bytes, bytes]) -> bytes | None:
    """The JSON-RPC answer; None to what is no request. `answers`: method to the JSON of its result."""
    method = _METHOD.search(message)
    found = _ID.search(message)
    if method is None or found is None:
        return None
    result = answers.get(method[1])
    answer = b'{"jsonrpc":"2.0","id":%s,' % found[1]
    return answer + (b'"result":%s}' % result if result else b'"error":{"code":-32601,"message":"unknown"}}')


def tools(count: int) -> list[dict[str, object]]:
    """`echo`, then tools with a description and five parameters each, about 600 bytes of definition."""
    fields = {f"field_{i}": {"type": "string", "description": "What to look for."} for i in range(5)}
    schema = {"type": "object", "properties": fields, "required": ["field_0"]}
    about = _text(200)
    return [TOOL, *({"name": f"tool_{i}", "description": about, "inputSchema": schema} for i in range(1, count))]


def results(size: int, offered: int = 1) -> dict[bytes, bytes]:
    """Method to the JSON of its result; a call's text has `size` characters."""
    info = {"io.modelcontextprotocol/serverInfo": {"name": "bench", "version": "1"}}
    cache = {"ttlMs": 60000, "cacheScope": "public", "resultType": "complete", "_meta": info}
    answers = {
        "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **cache},
        "tools/list": {"tools": tools(offered), **cache},
        "tools/call": {"content": [{"type": "text", "text": _text(size)}], "resultType": "complete"},
    }
    return {method.encode(): json.dumps(answer).encode() for method, answer in answers.items()}


async def main(port: int, size: int = 1024, offered: int = 1) -> None:
    answers = results(size, offered)
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(answers), "127.0.0.1", port, backlog=1024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:4])))
