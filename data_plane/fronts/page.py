"""What a person sees who opens an endpoint's URL in a browser: what it is, how to connect, nothing of a tenant."""

from html import escape

from data_plane.fronts.asgi import NO_STORE, NOSNIFF, Header

HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    NOSNIFF,
    NO_STORE,
)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>An MCP endpoint</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}
pre{background:#f4f4f4;padding:1em;overflow:auto}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}
pre{background:#222}}</style>
<h1>This is an MCP endpoint</h1>
<p>It speaks the <a href="https://modelcontextprotocol.io">Model Context Protocol</a> over Streamable HTTP, to programs
rather than to browsers. Point an MCP client at this URL, with the key you were given:</p>
<pre>{
  "mcpServers": {
    "toolgate": {
      "url": "%s",
      "headers": { "Authorization": "Bearer YOUR_KEY" }
    }
  }
}</pre>
<p>Some clients write <code>serverUrl</code> for <code>url</code>. On a machine with the command line installed,
<code>toolgate connect --client NAME</code> prints the block for a client.</p>
</html>
"""


def page(scheme: str, host: str, path: str) -> bytes:
    """The HTML page of one URL."""
    return (_PAGE.replace("%s", escape(f"{scheme}://{host}{path}"))).encode()
