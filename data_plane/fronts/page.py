"""What a person sees who opens an endpoint's URL in a browser: what it is, how to connect, nothing of a tenant."""

from html import escape
from typing import Final

from core.mcp.headers import Head
from data_plane.fronts.address import Address
from data_plane.fronts.asgi import NO_STORE, NOSNIFF, Header, Scope, Send, answer

HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    NOSNIFF,
    NO_STORE,
)

STAY_SECURE: Header = (b"strict-transport-security", b"max-age=31536000")
"""Where TLS is spoken here. A proxy that speaks it in front has to say so itself."""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>An MCP endpoint</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}
pre{background:#f4f4f4;padding:1em;overflow:auto}
td{padding:.2em 1em .2em 0;vertical-align:top}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}
pre{background:#222}}</style>
<h1>This is an MCP endpoint</h1>
<p>It speaks the <a href="https://modelcontextprotocol.io">Model Context Protocol</a> to programs rather than to
browsers. Point an MCP client at this URL, with the key you were given:</p>
<pre>{
  "mcpServers": {
    "toolgate": {
      "url": "%s/mcp",
      "headers": { "Authorization": "Bearer YOUR_KEY" }
    }
  }
}</pre>
<p>Some clients write <code>serverUrl</code> for <code>url</code>. On a machine with the command line installed,
<code>toolgate connect --client NAME</code> prints the block for a client.</p>
<h2>Other ways in</h2>
<p>All with the same key, and all revisions of the protocol from 2024-11-05 to 2026-07-28 unless it says otherwise:</p>
<table>
<tr><td>Streamable HTTP<td><code>%s/mcp</code>
<tr><td>HTTP+SSE, of 2024-11-05<td><code>GET %s/sse</code>
<tr><td>WebSocket<td><code>%w/ws</code>
<tr><td>JSON-RPC for scripts<td><code>POST %s/rpc</code>, <code>POST %s/rpc/batch</code>,
<code>GET %s/rpc/introspection</code>
<tr><td>for people and monitors<td><code>GET %s/status</code>, <code>GET %s/capabilities</code>
</table>%o
</html>
"""

_ONE_SERVER = """
<p>One server of this endpoint alone is at <code>%s/servers/NAME/mcp</code>, and so on.</p>"""


BASE: Final = "toolgate.base"
"""In a scope: scheme and authority agents know this gateway by."""


def base_of(scope: Scope, head: Head) -> str:
    return str(scope.get(BASE) or f"{scope['scheme']}://{head.text(b'host')}")


def page(base: str, place: Address) -> bytes:
    """The HTML page of an endpoint, or of a server of it: the same whether there is one or not."""
    base = escape(f"{base}{place.prefix}")
    text = _PAGE.replace("%o", "" if place.server else _ONE_SERVER).replace("%s", base)
    return text.replace("%w", "ws" + base.removeprefix("http")).encode()


def wanted(scope: Scope, head: Head) -> bool:
    """Whether somebody looks at this URL with a browser."""
    return scope["method"] in ("GET", "HEAD") and b"text/html" in head.values.get(b"accept", b"")


async def show(scope: Scope, send: Send, head: Head, place: Address) -> None:
    base = base_of(scope, head)
    more = (STAY_SECURE,) if base.startswith("https:") and scope["scheme"] == "https" else ()
    await answer(send, 200, (*HEADERS, *more), page(base, place))
