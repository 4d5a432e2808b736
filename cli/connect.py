"""`toolgate connect --client ...`: the configuration block an MCP client wants, ready to paste.

Formats as the clients document them; each names its own member for the URL: `serverUrl` (Antigravity), `httpUrl`
(Gemini CLI, where `url` would mean SSE), `url` with `type: http` (Claude Code, VS Code), `url` (Cursor).
"""

import argparse
import json
import shlex
from dataclasses import dataclass

from cli.connection import McpConnection, mcp_connection
from cli.failure import OK
from cli.output import progress

Json = dict[str, object]


@dataclass(frozen=True)
class Client:
    """`root`: the member servers are listed in; `place`: where the block goes."""

    root: str
    place: str


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
    print(json.dumps({client.root: {args.name: block(args.client, connection)}}, indent=2))
    progress(f"# put it into {client.place}")
    if args.client == "claude":
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
        case "claude-desktop":
            return _bridged(connection)
        case _:
            return {"url": connection.url, "headers": headers}


def _bridged(connection: McpConnection) -> Json:
    """Claude Desktop's file takes programs only: a bridge speaks stdio to it and HTTP to the gateway.

    The header has no space after its colon: on some systems the application splits arguments at spaces.
    """
    arguments = ["-y", "mcp-remote", connection.url, "--header", "Authorization:${TOOLGATE_AUTHORIZATION}"]
    return {"command": "npx", "args": arguments, "env": {"TOOLGATE_AUTHORIZATION": f"Bearer {connection.key}"}}
