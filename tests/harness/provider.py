"""A company's OpenID provider, as far as somebody signs in at it: it knows who sits there, and asks nothing."""

import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.harness.issuer import Issuer

CLIENT, SECRET = "toolgate", "s3cret of the company"


class Provider(Issuer):
    """Whoever comes is `user`. Tests change what it says."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host
        self.user = "ada"
        self.said: dict[str, object] = {}
        """Claims of ID tokens besides, or in place of, the usual ones."""
        self.returns: dict[str, str | None] = {}
        """Parameters it sends browsers back with, likewise."""
        self.seen: list[dict[str, str]] = []
        """Authorization requests."""
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def answer(self, verb: str, path: str, headers: dict[str, str], body: str) -> tuple[str, list[str], bytes]:
        place = urlsplit(path)
        if place.path == "/authorize":
            return self._authorized(dict(parse_qsl(place.query)))
        if place.path == "/token" and verb == "POST":
            return self._token(headers, dict(parse_qsl(body)))
        return super().answer(verb, path, headers, body)

    def _documents(self) -> dict[str, object]:
        found = super()._documents()
        about = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "authorization_response_iss_parameter_supported": True,
        }
        return found | {"/.well-known/openid-configuration": about}

    def _authorized(self, asked: dict[str, str]) -> tuple[str, list[str], bytes]:
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        self.seen.append(asked)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        back: dict[str, str | None] = {"code": code, "state": asked["state"], "iss": self.url, **self.returns}
        query = urlencode({name: text for name, text in back.items() if text is not None})
        return "302 Found", [f"Location: {asked['redirect_uri']}?{query}"], b""

    def _token(self, headers: dict[str, str], form: dict[str, str]) -> tuple[str, list[str], bytes]:
        pair = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        good = (
            headers.get("authorization") == f"Basic {pair}"
            and asked is not None
            and (asked["code_challenge"], asked["redirect_uri"]) == (challenge, form.get("redirect_uri"))
        )
        if not good or asked is None:
            return "400 Bad Request", ["Content-Type: application/json"], b'{"error": "invalid_grant"}'
        claims = {"sub": self.user, "aud": CLIENT, "nonce": asked["nonce"], **self.said}
        id_token = self.token(header={"typ": "JWT"}, **claims)
        found = {"access_token": "opaque", "token_type": "Bearer", "id_token": id_token}
        return "200 OK", ["Content-Type: application/json"], json.dumps(found).encode()


@asynccontextmanager
async def providing(host: str = "127.0.0.1") -> AsyncIterator[Provider]:
    provider = Provider(host)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()
