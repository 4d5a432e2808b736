"""Clients that people use, as programs the tests run: started without a network, each with a home of its own.

`tests/setup.sh node` installs them, and the Node 22 that the Inspector needs.
"""

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from mcp.client.stdio import StdioServerParameters

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
NODE = MODULES / "node/bin/node"
INSPECTOR = MODULES / "@modelcontextprotocol/inspector/clients"
REMOTE = MODULES / "mcp-remote/dist/proxy.js"
WAIT_S = 60.0

Json = dict[str, Any]
Era = Literal["legacy", "auto", "modern"]
ERAS: list[Era] = ["legacy", "auto", "modern"]


class ClientFailed(Exception):
    """A client that did not exit 0, with what it said last."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"exit {code}: {said[-2000:]}")
        self.code = code
        self.said = said


async def node(script: Path, *words: str, environment: Mapping[str, str] | None = None) -> str:
    """What the script prints. Raises ClientFailed."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(script),
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "NO_COLOR": "1", **(environment or {})},
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise ClientFailed(-1, f"{script.name} took more than {WAIT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ClientFailed(process.returncode or 0, (out + err).decode())
    return out.decode()


async def typescript(version: Literal[1, 2], url: str, key: str, tool: str, answer: Json | None = None) -> Json:
    """The SDK's client, in the handshake era (1) or pinned to the other (2): `tools`, `progress`, `result`."""
    script = HERE / ("legacy.mjs" if version == 1 else "modern.mjs")
    words = [url, key, tool, "{}"] + ([json.dumps(answer)] if answer is not None else [])
    return dict(json.loads(await node(script, *words)))


async def inspect(url: str, key: str, era: Era, method: str, *words: str) -> Json:
    """One request by the Inspector's CLI, such as "tools/call", "--tool-name", "echo". It cannot be asked anything."""
    flags = ["--cli", url, "--transport", "http", "--protocol-era", era, "--header", f"Authorization: Bearer {key}"]
    with tempfile.TemporaryDirectory(prefix="inspector-") as home:
        out = await node(
            INSPECTOR / "launcher/build/index.js",
            *[*flags, "--stored-auth-only", "--method", method, "--format", "json", "-q", *words],
            environment={"HOME": home, "MCP_INSPECTOR_SECRET_STORE": "memory"},
        )
    answered = dict(json.loads(out))
    return dict(answered.get("result", answered))


class Connection:
    """The Inspector's `mcpdo` with a server: calls that wait for an answer are answered by a second command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def run(self, *words: str) -> Json:
        """Output of one command, such as "tools/call", "echo", '{"text": "hi"}'."""
        script = INSPECTOR / "mcpdo/build/mcp-bin.js"
        out = await node(script, "--format", "json", "--connection", "tests", *words, environment=self._environment)
        return dict(json.loads(out)) if out.lstrip().startswith("{") else {"said": out}

    async def call(self, tool: str, answer: Json | None = None) -> Json:
        """The tool's result; forms on the way are given what they have fields for of `answer`, pages are visited."""
        said = await self.run("tools/call", tool, "{}")
        while pending := said.get("elicitationPending"):
            said = await self.run("elicitation/respond", pending["elicitationId"], *_filled(pending, answer or {}))
        return said


def _filled(pending: Json, answer: Json) -> list[str]:
    if pending.get("mode") == "url":
        return ["--done"]
    fields = pending["requestedSchema"]["properties"]
    return [json.dumps({name: value for name, value in answer.items() if name in fields})]


@asynccontextmanager
async def connected(url: str, key: str, era: Era) -> AsyncIterator[Connection]:
    """A connection with a daemon of its own, gone at the end."""
    # Not pytest's folder: a socket is made here, whose path may have a hundred characters.
    with tempfile.TemporaryDirectory(prefix="mcpdo-") as home:
        environment = {
            "HOME": home,
            "MCP_INSPECTOR_SECRET_STORE": "memory",
            "MCP_INSPECTOR_DAEMON_DIR": f"{home}/daemon",
            "MCP_INSPECTOR_DAEMON_TOKEN": secrets.token_urlsafe(32),
        }
        connection = Connection(environment)
        flags = ["--transport", "http", "--era", era, "--header", f"Authorization: Bearer {key}"]
        try:
            await connection.run("connect", url, *flags)
            yield connection
        finally:
            await connection.run("daemon", "stop")


@asynccontextmanager
async def remote(url: str, key: str, transport: str = "http-only") -> AsyncIterator[StdioServerParameters]:
    """`mcp-remote` before a server: a program on stdio, for desktop clients."""
    with tempfile.TemporaryDirectory(prefix="mcp-remote-") as home:
        flags = [url, "--allow-http", "--transport", transport, "--header", "Authorization:${AUTHORIZATION}"]
        environment = {"MCP_REMOTE_CONFIG_DIR": home, "HOME": home, "AUTHORIZATION": f"Bearer {key}"}
        yield StdioServerParameters(command=str(NODE), args=[str(REMOTE), *flags], env=environment)
