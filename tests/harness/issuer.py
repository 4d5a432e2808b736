"""An issuer of tokens as companies have them: OpenID Connect Discovery, a JWK Set, keys that rotate; it can go away."""

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def private_key(alg: str) -> Private:
    """A new key for an algorithm of JWS."""
    if alg[:2] in ("RS", "PS"):
        return rsa.generate_private_key(65537, 2048)
    if alg[:2] == "ES":
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        return ec.generate_private_key(curves[alg])
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Private, **more: str) -> dict[str, object]:
    """The public half."""
    made = jwt.algorithms.get_default_algorithms()[_family(key)].to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in made.items() if name != "key_ops"} | more


def _family(key: Private) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """On a port of its own, which it keeps when it goes away and comes back."""

    def __init__(self, alg: str = "ES256") -> None:
        self.alg = alg
        self.port = 0
        self.asked: list[str] = []
        """Paths, in the order they were asked for."""
        self.keys: dict[str, Private] = {}
        """Published, by id; the last one signs."""
        self.says: dict[str, object] | None = None
        """Documents by path, instead of its metadata and keys."""
        self._made = 0
        self._server: asyncio.Server | None = None
        self.rotate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rotate(self, *, keep: bool = False) -> None:
        """A new key signs from here on; the old ones are gone, unless they are kept."""
        self._made += 1
        kept = self.keys if keep else {}
        self.keys = {**kept, f"key-{self._made}": private_key(self.alg)}

    def token(self, *, header: dict[str, object] | None = None, **claims: object) -> str:
        """Good for an hour unless claims say otherwise; None leaves one out."""
        kid, key = next(reversed(self.keys.items()))
        now = int(time.time())
        said = {"iss": self.url, "sub": "ada", "iat": now, "exp": now + 3600, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, self.alg, {"kid": kid, "typ": "at+jwt", **(header or {})})

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            verb, path, _ = head.split(" ", 2)
            headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
            sent = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(path)
            status, more, body = self.answer(verb, path, headers, sent.decode())
            lines = [f"HTTP/1.1 {status}", *more, f"Content-Length: {len(body)}", "Connection: close", "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answer(self, verb: str, path: str, headers: dict[str, str], body: str) -> tuple[str, list[str], bytes]:
        """Status, header lines and body."""
        found = (self._documents() if self.says is None else self.says).get(path)
        status = "200 OK" if found is not None else "404 Not Found"
        return status, ["Content-Type: application/json"], json.dumps(found or {}).encode()

    def _documents(self) -> dict[str, object]:
        published = [jwk(key, kid=kid, use="sig", alg=self.alg) for kid, key in self.keys.items()]
        return {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": published},
        }


@asynccontextmanager
async def issuing(alg: str = "ES256") -> AsyncIterator[Issuer]:
    issuer = Issuer(alg)
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()
