"""A server that takes tokens only, made with the official SDK, and the authorization server that gives them."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenVerifier,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tests.harness.planes import free_port
from tests.harness.upstream_sdk import on_uvicorn


class Bank(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Everybody who comes with a browser gets an account of their own, and is asked nothing."""

    def __init__(self, lives_s: int) -> None:
        self.lives_s = lives_s
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.ever: list[str] = []
        """Every secret that was given out."""
        self.accounts = 0
        self.refreshed = 0
        self.reused = 0
        """Refresh tokens that came a second time."""
        self.revoked = 0
        self.url = ""

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        assert client_info.client_id
        self.clients[client_info.client_id] = client_info
        if client_info.client_secret:
            self.ever.append(client_info.client_secret)

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        self.accounts += 1
        code = AuthorizationCode(
            code=secrets.token_urlsafe(24),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=True,
            resource=params.resource,
            subject=f"account-{self.accounts}",
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._given(authorization_code)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        self.reused += refresh_token in self.ever and refresh_token not in self.refresh
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self.refreshed += 1
        del self.refresh[refresh_token.token]
        return self._given(refresh_token)

    async def load_access_token(self, token: str) -> AccessToken | None:
        known = self.tokens.get(token)
        return known if known is not None and (known.expires_at or 0) > time.time() else None

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.revoked += 1
        for kept in (self.tokens, self.refresh):
            for name in [n for n, t in kept.items() if t.subject == token.subject]:
                del kept[name]  # type: ignore[attr-defined]

    def forget(self) -> None:
        """As if the people had ended it all at the bank."""
        self.tokens.clear()
        self.refresh.clear()

    def _given(self, of: AuthorizationCode | RefreshToken) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        shared = {"client_id": of.client_id, "scopes": of.scopes, "resource": of.resource, "subject": of.subject}
        self.tokens[access] = AccessToken(token=access, expires_at=int(time.time() + self.lives_s), **shared)  # type: ignore[arg-type]
        self.refresh[refresh] = RefreshToken(token=refresh, **shared)  # type: ignore[arg-type]
        self.ever += [access, refresh]
        scope = " ".join(of.scopes)
        return OAuthToken(access_token=access, expires_in=self.lives_s, refresh_token=refresh, scope=scope)


def _server(auth: AuthSettings, bank: Bank | None, verifier: TokenVerifier | None) -> MCPServer:
    server = MCPServer("bank", auth=auth, auth_server_provider=bank, token_verifier=verifier)

    @server.tool(description="Whose account it is.")
    def whoami() -> str:
        token = get_access_token()
        return (token.subject or token.client_id) if token is not None else "nobody"

    return server


@asynccontextmanager
async def bank(lives_s: int = 3600) -> AsyncIterator[Bank]:
    """Running; its server is at `url`."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    made = Bank(lives_s)
    made.url = f"{origin}/mcp"
    auth = AuthSettings.model_validate(
        {
            "issuer_url": origin,
            "resource_server_url": made.url,
            "required_scopes": ["account"],
            "client_registration_options": ClientRegistrationOptions(enabled=True, valid_scopes=["account"]),
            "revocation_options": RevocationOptions(enabled=True),
            "validate_token_resource": True,
        }
    )
    async with on_uvicorn(_server(auth, made, None).streamable_http_app(), port):
        yield made


class Machines(TokenVerifier):
    """Knows programs, and gives them tokens for their secret."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.good: set[str] = set()
        self.refresh = ""
        """The refresh token that is good now."""
        self.says: tuple[int, bytes] | None = None
        """What whoever stands before it answers instead."""
        self.asked = 0
        self.down = False
        self.url = ""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id="robot", scopes=["run"]) if token in self.good else None

    async def token(self, request: Request) -> Response:
        self.asked += 1
        if self.down:
            return Response(status_code=503)
        if self.says is not None:
            return Response(self.says[1], self.says[0])
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        grant = sent.get("grant_type")
        if sent.get("client_secret") != self.secret or grant not in ("client_credentials", "refresh_token"):
            return JSONResponse({"error": "invalid_client"}, 401)
        if grant == "refresh_token" and sent.get("refresh_token") != self.refresh:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = secrets.token_urlsafe(24)
        self.good.add(token)
        return JSONResponse({"access_token": token, "token_type": "bearer", "expires_in": 3600})


@asynccontextmanager
async def machines(secret: str) -> AsyncIterator[Machines]:
    """Running; its server is at `url`, and its issuer the URL's origin with `/as`."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    made = Machines(secret)
    made.url = f"{origin}/mcp"

    async def metadata(_: Request) -> Response:
        document = {"issuer": f"{origin}/as", "token_endpoint": f"{origin}/as/token"}
        return JSONResponse(document | {"token_endpoint_auth_methods_supported": ["client_secret_post"]})

    auth = AuthSettings.model_validate(
        {
            "issuer_url": f"{origin}/as",
            "resource_server_url": made.url,
            "required_scopes": ["run"],
            "validate_token_resource": False,
        }
    )
    app = _server(auth, None, made).streamable_http_app()
    routes = [
        Route("/.well-known/oauth-authorization-server/as", metadata),
        Route("/as/token", made.token, methods=["POST"]),
        Mount("/", app),
    ]
    async with on_uvicorn(Starlette(routes=routes, lifespan=lambda _: app.router.lifespan_context(app)), port):
        yield made
