"""`toolgate connect --client ...`: the configuration block an MCP client wants, ready to paste.

Formats as the clients document them; each names its own member for the URL: `serverUrl` (Antigravity), `httpUrl`
(Gemini CLI, where `url` would mean SSE), `url` with `type: http` (Claude Code, VS Code), `url` (Cursor).
"""

import argparse
import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.connection import McpConnection, mcp_connection
from cli.failure import OK
from cli.output import progress

Json = dict[str, object]


@dataclass(frozen=True)
class Client:
    """`root`: the member servers are listed in; `place`: where the block goes."""

    root: str
    place: str


ONLY_STDIO = ("claude-desktop",)
"""Clients whose file takes programs only."""

CLIENTS = {
    "antigravity": Client(
        "mcpServers", "~/.gemini/antigravity/mcp_config.json (MCP Servers > Manage > View raw config)"
    ),
    "claude": Client("mcpServers", ".mcp.json in the project (Claude Code)"),
    "claude-desktop": Client("mcpServers", "claude_desktop_config.json (Settings > Developer > Edit config)"),
    "cursor": Client("mcpServers", "~/.cursor/mcp.json, or .cursor/mcp.json in the project"),
    "vscode": Client("servers", ".vscode/mcp.json in the workspace, or MCP: Open User Configuration"),
    "gemini": Client("mcpServers", "~/.gemini/settings.json, or .gemini/settings.json in the project"),
}


def connect(args: argparse.Namespace) -> int:
    """The block goes to standard output, where to put it to standard error."""
    connection = mcp_connection(args)
    client = CLIENTS[args.client]
    stdio = args.stdio or args.client in ONLY_STDIO
    made = bridged(args.client, connection) if stdio else block(args.client, connection)
    print(json.dumps({client.root: {args.name: made}}, indent=2))
    progress(f"# put it into {client.place}")
    if args.client == "claude" and not stdio:
        header = shlex.quote(f"Authorization: Bearer {connection.key}")
        progress(
            f"# or run: claude mcp add --transport http {args.name} {shlex.quote(connection.url)} --header {header}"
        )
    return OK


def block(client: str, connection: McpConnection) -> Json:
    """One server as `client` wants it."""
    headers = {"Authorization": f"Bearer {connection.key}"}
    match client:
        case "antigravity":
            return {"serverUrl": connection.url, "headers": headers}
        case "gemini":
            return {"httpUrl": connection.url, "headers": headers}
        case "claude" | "vscode":
            return {"type": "http", "url": connection.url, "headers": headers}
        case _:
            return {"url": connection.url, "headers": headers}


def bridged(client: str, connection: McpConnection) -> Json:
    """The same through `toolgate stdio`: the client starts it, and speaks to it over its pipes.

    The program is named by its whole path, for desktop applications have a PATH of their own.
    """
    arguments = ["stdio", "--endpoint", connection.url]
    if connection.ca_file:
        arguments += ["--ca-file", str(Path(connection.ca_file).absolute())]
    made: Json = {"command": _program(), "args": arguments, "env": {"TOOLGATE_API_KEY": connection.key}}
    return {"type": "stdio", **made} if client in ("claude", "vscode") else made


def _program() -> str:
    beside = Path(sys.executable).with_name("toolgate")
    return str(beside) if beside.is_file() else shutil.which("toolgate") or "toolgate"
