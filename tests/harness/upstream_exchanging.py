"""A server that takes tokens of its own authorization server only, which exchanges a company's tokens for them.

Token exchange as RFC 8693 has it: the subject token's signature, issuer and times are checked with the keys the company
publishes, and what is given names the subject and, in `act`, who acts.
"""

import secrets
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote_plus

import jwt
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.harness.issuer import Issuer
from tests.harness.planes import free_port
from tests.harness.upstream_sdk import on_uvicorn

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


@dataclass
class Desk(TokenVerifier):
    """Says whose it is."""

    issuer: Issuer
    secret: str
    url: str = ""
    lives_s: int = 3600
    down: bool = False
    refuses: bool = False
    exchanged: list[dict[str, str]] = field(default_factory=list)
    """Parameters of each exchange."""
    presented: list[str] = field(default_factory=list)
    """`Authorization` of each request to the server itself."""
    given: dict[str, str] = field(default_factory=dict)
    """Token to whose it is."""

    async def verify_token(self, token: str) -> AccessToken | None:
        whose = self.given.get(token)
        return AccessToken(token=token, client_id="toolgate", scopes=["desk"], subject=whose) if whose else None

    async def token(self, request: Request) -> Response:
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        client, _, secret = b64decode(pair).decode().partition(":") if kind == "Basic" else ("", "", "")
        if unquote_plus(client) != "toolgate" or unquote_plus(secret) != self.secret:
            return JSONResponse({"error": "invalid_client"}, 401)
        if sent.get("grant_type") == "client_credentials":
            return self._give("nobody")
        if sent.get("grant_type") != EXCHANGE or sent.get("subject_token_type") != ACCESS:
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        self.exchanged.append(sent)
        if self.down:
            return Response(status_code=503)
        try:
            who = self._subject(sent["subject_token"])
        except jwt.PyJWTError:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"error": "invalid_target"}, 400) if self.refuses else self._give(who)

    def _subject(self, token: str) -> str:
        key = self.issuer.keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key.public_key(), [self.issuer.alg], options={"verify_aud": False})
        return str(claims["sub"])

    def _give(self, whose: str) -> Response:
        token = secrets.token_urlsafe(24)
        self.given[token] = whose
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": self.lives_s}
        return JSONResponse(answer | {"issued_token_type": ACCESS}, headers={"cache-control": "no-store"})


@asynccontextmanager
async def desk(issuer: Issuer, secret: str) -> AsyncIterator[Desk]:
    """Running; its server is at `url`, its token endpoint at the same origin's `/as/token`."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    made = Desk(issuer, secret, f"{origin}/mcp")
    auth = {"issuer_url": f"{origin}/as", "resource_server_url": made.url, "required_scopes": ["desk"]}
    settings = AuthSettings.model_validate({**auth, "validate_token_resource": False})
    server = MCPServer("desk", auth=settings, token_verifier=made)

    @server.tool(description="Whose token the call came with.")
    def whoami() -> str:
        token = get_access_token()
        return str(token.subject) if token is not None else "nobody"

    app = server.streamable_http_app()

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope.get("headers", ()):
            if name == b"authorization":
                made.presented.append(value.decode())
        await app(scope, receive, send)

    noting: ASGIApp = noted
    routes = [Route("/as/token", made.token, methods=["POST"]), Mount("/", noting)]
    async with on_uvicorn(Starlette(routes=routes, lifespan=lambda _: app.router.lifespan_context(app)), port):
        yield made
