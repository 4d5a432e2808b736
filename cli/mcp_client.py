"""A small MCP client over Streamable HTTP: revision 2026-07-28, and older ones where a server is older."""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

from cli import version
from cli.connection import McpConnection, url_parts
from cli.failure import AWAY, REFUSED, USAGE, Failure
from core.mcp import revisions
from core.mcp.errors import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, MISSING_CAPABILITY, UNSUPPORTED_VERSION
from core.mcp.headers import encode_value
from core.mcp.revisions import META_PREFIX

MODERN = revisions.MODERN[0]
LEGACY = revisions.LEGACY[0]
MODERN_CODES = (HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION)
"""Error codes only a server of the modern era sends: no reason to try the older handshake."""
MAX_PAGES = 100
MAX_ANSWER_BYTES = 64 * 1024 * 1024

Json = dict[str, object]
Notified = Callable[[str, Json], None]
"""Method and params of a notification that came before the answer."""


class RpcError(Failure):
    """A JSON-RPC error: the gateway or the server behind it refused."""

    def __init__(self, code: int, message: str, data: object) -> None:
        away = code == INTERNAL_ERROR or 500 <= code < 600  # the gateway's own codes read like HTTP's
        super().__init__(AWAY if away else REFUSED, message, [f"  {json.dumps(data)}"] if data else [])
        self.data = data


class _NotModern(Exception):
    """The server answered in a way only one of the older era does."""


class McpClient:
    """One conversation. Requests are made one at a time. Use as a context manager."""

    def __init__(self, connection: McpConnection, timeout_s: float) -> None:
        """Raises Failure for what is no http(s) URL."""
        parts = url_parts(connection.url)
        host = str(parts.hostname)
        self._url = connection.url
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._key = connection.key
        self._http: http.client.HTTPConnection
        if parts.scheme == "https":
            tls = _trusting(connection.ca_file)
            self._http = http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=tls)
        else:
            self._http = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        self._legacy = ""
        self._session = ""
        self._ids = iter(range(1, 1_000_000))

    def __enter__(self) -> "McpClient":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._session:
                self._http.request("DELETE", self._path, headers=self._headers())
                self._http.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass  # the session expires by itself
        finally:
            self._http.close()

    @property
    def era(self) -> str:
        return self._legacy or MODERN

    def tools(self) -> list[Json]:
        """All pages. Raises Failure."""
        return self.listed("tools/list", "tools")

    def listed(self, method: str, member: str) -> list[Json]:
        """Everything a list method gives, by the member of its result. Raises Failure."""
        found: list[Json] = []
        params: Json = {}
        for _ in range(MAX_PAGES):
            page = self.request(method, params)
            entries = page.get(member, [])
            found += entries if isinstance(entries, list) else []
            if not page.get("nextCursor"):
                return found
            params = {"cursor": page["nextCursor"]}
        raise Failure(AWAY, f"{self._url}: the list of {member} does not end")

    def call(self, tool: Json, arguments: Json, notified: Notified) -> Json:
        """`tool` as listed: its schema says which arguments travel in headers too. Raises Failure."""
        name = str(tool["name"])
        headers = {"Mcp-Name": encode_value(name), **param_headers(tool.get("inputSchema"), arguments)}
        return self.request("tools/call", {"name": name, "arguments": arguments}, headers, notified)

    def request(
        self, method: str, params: Json, headers: Mapping[str, str] | None = None, notified: Notified | None = None
    ) -> Json:
        if not self._legacy:
            try:
                return self._send(method, {**params, "_meta": self._envelope(notified)}, headers or {}, notified)
            except _NotModern:
                self._handshake()
        meta: Json = {"_meta": {"progressToken": 1}} if notified else {}
        return self._send(method, {**params, **meta}, {}, notified)

    def _envelope(self, notified: Notified | None) -> Json:
        meta: Json = {
            f"{META_PREFIX}protocolVersion": MODERN,
            f"{META_PREFIX}clientCapabilities": {},
            f"{META_PREFIX}clientInfo": {"name": "toolgate-cli", "version": version.VERSION},
        }
        return {**meta, "progressToken": 1} if notified else meta

    def _handshake(self) -> None:
        self._legacy = LEGACY
        client: Json = {"name": "toolgate-cli", "version": version.VERSION}
        hello: Json = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client}
        agreed = self._send("initialize", hello, {}, None)
        self._legacy = str(agreed.get("protocolVersion", LEGACY))
        body = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
        self._exchange(body, self._headers()).read()

    def _headers(self) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": self._legacy or MODERN,
            "User-Agent": f"toolgate-cli/{version.VERSION}",
        }
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        return headers

    def _send(self, method: str, params: Json, extra: Mapping[str, str], notified: Notified | None) -> Json:
        headers = self._headers() | dict(extra)
        if not self._legacy:
            headers["Mcp-Method"] = method
        number = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
        response = self._exchange(body, headers)
        self._session = response.getheader("Mcp-Session-Id") or self._session
        try:
            for message in _messages(response):
                if message.get("id") == number and ("result" in message or "error" in message):
                    response.read()
                    return self._result(message, response.status)
                params_seen = message.get("params")
                if notified and isinstance(message.get("method"), str) and isinstance(params_seen, dict):
                    notified(str(message["method"]), params_seen)
                elif "error" in message:
                    return self._result(message, response.status)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise Failure(AWAY, f"{self._url}: the answer broke off: {failure}") from failure
        raise self._unanswered(response)

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        try:
            self._http.request("POST", self._path, body=body, headers=dict(headers))
            return self._http.getresponse()
        except (OSError, http.client.HTTPException) as failure:
            self._http.close()
            raise Failure(AWAY, f"{self._url} cannot be reached: {failure}") from failure

    def _result(self, message: Json, status: int) -> Json:
        result = message.get("result")
        if isinstance(result, dict):
            return result
        error = message.get("error")
        fields: Json = error if isinstance(error, dict) else {}
        code = fields.get("code")
        code = code if isinstance(code, int) else 0
        if not self._legacy and _is_older(status, code, fields.get("data")):
            raise _NotModern
        text = str(fields.get("message", "the server refused without a reason"))
        if status == HTTPStatus.UNAUTHORIZED:
            text = f"the gateway does not accept the key: {text}"
        raise RpcError(code, text, fields.get("data"))

    def _unanswered(self, response: http.client.HTTPResponse) -> Exception:
        """What an HTTP status without a JSON-RPC message means."""
        status = response.status
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Failure(REFUSED, f"{self._url}: the gateway does not accept the key (HTTP {status})")
        if not self._legacy and status in (HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED):
            return _NotModern()
        code = AWAY if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.OK else REFUSED
        said = f"HTTP {status} {response.reason}".rstrip()
        return Failure(code, f"{self._url}: {said}, and no MCP answer: is it the gateway's MCP port?")


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as failure:  # SSLError is one too
        raise Failure(USAGE, f"{ca_file}: cannot be used as PEM of whom to trust: {failure}") from failure


def _is_older(status: int, code: int, data: object) -> bool:
    if code == UNSUPPORTED_VERSION:
        return isinstance(data, dict) and MODERN not in (data.get("supported") or [])
    return status == HTTPStatus.BAD_REQUEST and code not in (*MODERN_CODES, INVALID_PARAMS)


def _messages(response: http.client.HTTPResponse) -> Iterator[Json]:
    """JSON-RPC messages of a JSON or an SSE answer. Anything else has none."""
    media = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    if media == "application/json":
        value = json.loads(response.read(MAX_ANSWER_BYTES) or b"null")
        if isinstance(value, dict):
            yield value
    elif media == "text/event-stream":
        yield from _events(response)
    else:
        response.read(MAX_ANSWER_BYTES)


def _events(response: http.client.HTTPResponse) -> Iterator[Json]:
    data: list[bytes] = []
    size = 0
    for raw in response:
        line = raw.rstrip(b"\r\n")
        size += len(line)
        if size > MAX_ANSWER_BYTES:
            raise ValueError(f"longer than {MAX_ANSWER_BYTES} bytes")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            value = json.loads(b"\n".join(data) or b"null")
            data = []
            if isinstance(value, dict):
                yield value


def param_headers(schema: object, arguments: Json) -> dict[str, str]:
    """`Mcp-Param-*` for each argument whose property carries `x-mcp-header`."""
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return {}
    found: dict[str, str] = {}
    for name, property_ in schema["properties"].items():
        value = arguments.get(name)
        if not isinstance(property_, dict) or value is None:
            continue
        token = property_.get("x-mcp-header")
        if isinstance(token, str) and isinstance(value, str | int):
            text = json.dumps(value) if isinstance(value, int) else value
            found[f"Mcp-Param-{token}"] = encode_value(text)
        elif isinstance(value, dict):
            found |= param_headers(property_, value)
    return found
