"""`toolgate stdio` as a desktop client starts it, line by line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.client.stdio import StdioServerParameters

TOOLGATE = Path(sys.executable).parent / "toolgate"
ANSWER_S = 10.0
MODERN = "2026-07-28"
Json = dict[str, Any]


def parameters(url: str, key: str = "key", *flags: str) -> StdioServerParameters:
    """For the official SDK's client."""
    return StdioServerParameters(
        command=str(TOOLGATE), args=["stdio", "--endpoint", url, *flags], env={"TOOLGATE_API_KEY": key}
    )


class Bridge:
    """A running one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[Json] = []
        self._ids = 0

    async def send(self, message: Json | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
        await self.process.stdin.drain()

    async def line(self) -> Json:
        """The next that it says."""
        assert self.process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            line = await self.process.stdout.readline()
        assert line, "the bridge closed its output"
        message: Json = json.loads(line)
        self.seen.append(message)
        return message

    async def until(self, wanted: str | int) -> Json:
        """The next message with this method, or the answer to the request of this id."""
        while True:
            message = await self.line()
            if message.get("method") == wanted or ("method" not in message and message.get("id") == wanted):
                return message

    async def begin(self, method: str, params: Json | None = None, *, modern: bool = False, **meta: object) -> int:
        """Sends a request; its id."""
        self._ids += 1
        params = dict(params or {})
        if modern:
            capabilities: Json = {"elicitation": {}}
            envelope = {"protocolVersion": MODERN, "clientCapabilities": capabilities}
            params["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in envelope.items()} | meta
        elif meta:
            params["_meta"] = meta
        await self.send({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params})
        return self._ids

    async def request(self, method: str, params: Json | None = None, *, modern: bool = False, **meta: object) -> Json:
        return await self.until(await self.begin(method, params, modern=modern, **meta))

    async def hello(self, revision: str = "2025-11-25") -> Json:
        client = {"name": "tests", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": {"elicitation": {}}, "clientInfo": client}
        answer = await self.request("initialize", params)
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    async def call(self, tool: str, arguments: Json | None = None, *, modern: bool = False, **meta: object) -> Json:
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}}, modern=modern, **meta)

    async def close(self) -> tuple[int, str]:
        """Ends its input: exit code, and what it said on standard error."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        async with asyncio.timeout(ANSWER_S):
            said = await self.process.stderr.read()
            return await self.process.wait(), said.decode()


@asynccontextmanager
async def bridge(url: str, *flags: str, **environment: str) -> AsyncIterator[Bridge]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("TOOLGATE_")}
    process = await asyncio.create_subprocess_exec(
        TOOLGATE,
        "stdio",
        "--endpoint",
        url,
        *flags,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**known, "TOOLGATE_API_KEY": "key", **environment},
        limit=16 * 1024 * 1024,
    )
    try:
        yield Bridge(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
