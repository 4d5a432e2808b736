"""One HTTP server of one tenant: its connections, its headers as bytes, and an exchange with it."""

import asyncio
import ssl
from collections.abc import Callable
from itertools import count
from secrets import token_hex
from time import time
from typing import Final

from core.oauth_client import Prover, proof_claims
from core.server import Remote
from core.snapshot import Backend
from data_plane.outbox import Outbox
from data_plane.upstreams.address import Resolver
from data_plane.upstreams.answer import Acknowledgement, Answer, Outcome
from data_plane.upstreams.connection import Connection, ExchangeError, Receiver
from data_plane.upstreams.failure import ChallengedError, unavailable, unsent
from data_plane.upstreams.pool import Pool, PoolHits
from data_plane.upstreams.target import dial, header_block, target_of, tls_context

_FAILED_SENDS = 3
_STREAMS = 128
_USER_AGENT = ((b"User-Agent", b"toolgate"),)

ConfiguredHeaders = tuple[tuple[bytes, bytes], ...]
PROOF_KEY: Final = b":proof-key"
"""Among configured headers what is none: the key whose possession each request is to prove (RFC 9449)."""


class Unproven(bytes):
    """A request to which a proof of its own has to be added whenever it is sent."""

    key: bytes
    token: str
    verb: str


class Upstream:
    """Never shared between tenants, so that one tenant's load or failures are not another's."""

    def __init__(  # noqa: PLR0917 - what it is made of.
        self,
        backend: Backend,
        transport: Remote,
        resolver: Resolver,
        outbox: Outbox,
        hits: PoolHits | None = None,
        prover: Prover | None = None,
    ) -> None:
        """Raises Unavailable for a URL that cannot be used."""
        self.backend = backend
        self.transport = transport
        self.ids = count(1)
        self.loop = asyncio.get_running_loop()
        self.last_used = 0.0
        self._target = target_of(transport.url)
        self._resolver = resolver
        self._tls: ssl.SSLContext | None = None
        self.pool = Pool(self._dial, max_connections=transport.max_connections, outbox=outbox, hits=hits)
        self.streams = Pool(self._dial, max_connections=_STREAMS, outbox=outbox)
        """Apart, so that who listens takes no call's place, and a call with the last place can be spoken of."""
        self._plain = tuple(
            (k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in transport.headers.items()
        )
        self._prover = prover
        self._nonce = ""
        self._proving: tuple[bytes, str] | None = None
        """Key and token of the headers rendered last; None: they need no proof."""
        self._rendered: tuple[ConfiguredHeaders, bytes] = ((), self._render(()))

    def post(self, headers: ConfiguredHeaders, own: bytes, body: bytes) -> bytes:
        """A whole request. `own`: header lines of the protocol, each with its line end."""
        request = b"POST %b%bContent-Length: %d\r\n\r\n%b" % (self._head(headers), own, len(body), body)
        return request if self._proving is None else self._unproven(request, "POST")

    def bodiless(self, verb: bytes, headers: ConfiguredHeaders, own: bytes) -> bytes:
        """GET or DELETE."""
        request = b"".join((verb, b" ", self._head(headers), own, b"\r\n"))
        return request if self._proving is None else self._unproven(request, verb.decode())

    async def exchange(self, request: bytes, answer: Answer, deadline: float) -> Outcome:
        """Raises Unavailable. Cancelled, it closes the connection where `answer.closes` says so, else leaves it to the
        caller: see `answer.connection`.
        """
        if type(request) is Unproven:
            return await self._proven(request, answer, deadline)
        connection = self.pool.take()
        if connection is None or not connection.send_soon(request, answer):
            connection = await self.send(request, answer, deadline)
        answer.connection = connection
        try:
            return await answer.outcome
        except ExchangeError as failure:
            # A reused connection that closes without a word may still have been read from: a tool is not run twice.
            if not failure.unsent:
                raise unavailable(failure.detail) from failure
        except asyncio.CancelledError:
            if not connection.carries(answer):
                answer.connection = None
            elif answer.closes:
                connection.abandon()
            raise
        answer.expect()
        return await self.exchange(request, answer, deadline)

    async def acknowledge(self, request: bytes, deadline: float) -> int:
        """The status of what gets no answer. Raises Unavailable."""
        receiver = Acknowledgement()
        # It may be what a call waits for that has the last connection: an answer to its question, its cancellation.
        pool = self.streams if self.pool.full else self.pool
        receiver.connection = await self.send(request, receiver, deadline, pool)
        return await receiver.status

    async def send(self, request: bytes, receiver: Receiver, deadline: float, pool: Pool | None = None) -> Connection:
        """Write the request on a connection, another one if nothing of it could be written. Raises Unavailable."""
        pool = pool or self.pool
        if type(request) is Unproven:
            request = self._with_proof(request)
        for _ in range(_FAILED_SENDS):
            connection = pool.take() or await pool.acquire(deadline)
            if connection.send(request, receiver):
                return connection
        raise unsent("its connections close before anything can be written")

    async def open_stream(self, request: bytes, receiver: Receiver, deadline: float) -> Connection:
        """As `send`, on a connection that lasts, and whose peer is known to be there. Raises Unavailable."""
        connection = await self.send(request, receiver, deadline, self.streams)
        connection.probe_peer()
        return connection

    def close(self) -> None:
        """Calls under way finish; who listens hears no more."""
        self.pool.close()
        self.streams.abort()

    def abort(self) -> None:
        self.pool.abort()
        self.streams.abort()

    async def _dial(self, make: Callable[[], Connection]) -> Connection:
        if self._target.secure and self._tls is None:
            # Reading the system's certificates takes tens of milliseconds: not on the loop.
            loop = asyncio.get_running_loop()
            self._tls = await loop.run_in_executor(None, tls_context, self.transport)
        return await dial(self._target, self._resolver, self._tls, self.transport.allow_private, make)

    def _head(self, headers: ConfiguredHeaders) -> bytes:
        """From the path to the configured headers: rendered once, since calls bring the same tuple again and again."""
        known, rendered = self._rendered
        if known is not headers and known != headers:
            rendered = self._render(headers)
            self._rendered = (headers, rendered)
        return rendered

    async def _proven(self, request: Unproven, answer: Answer, deadline: float) -> Outcome:
        """With a fresh proof; once more with the nonce that the server asks for (RFC 9449 section 9)."""
        try:
            return await self.exchange(self._with_proof(request), answer, deadline)
        except ChallengedError as refused:
            if not refused.nonce or "use_dpop_nonce" not in refused.challenge:
                raise
            self._nonce = refused.nonce
        answer.expect()
        return await self.exchange(self._with_proof(request), answer, deadline)

    def _unproven(self, request: bytes, verb: str) -> Unproven:
        assert self._proving is not None
        made = Unproven(request)
        made.verb = verb
        made.key, made.token = self._proving
        return made

    def _with_proof(self, request: Unproven) -> bytes:
        if self._prover is None:
            raise unavailable("takes proofs of possession, which nobody makes here")
        scheme = "https" if self._target.secure else "http"
        path = self._target.path.partition(b"?")[0].decode()
        url = f"{scheme}://{self._target.host_header.decode()}{path}"
        claims = proof_claims(request.verb, url, int(time()), token_hex(16), self._nonce, request.token)
        line, rest = request.split(b"\r\n", 1)
        return b"%b\r\nDPoP: %b\r\n%b" % (line, self._prover.prove(claims, request.key).encode(), rest)

    def _render(self, headers: ConfiguredHeaders) -> bytes:
        plain = dict(headers)
        key = plain.pop(PROOF_KEY, b"")
        self._proving = (key, plain[b"Authorization"].partition(b" ")[2].decode()) if key else None
        headers = tuple(pair for pair in headers if pair[0] != PROOF_KEY)
        return b"%b HTTP/1.1\r\nHost: %b\r\n%b" % (
            self._target.path,
            self._target.host_header,
            header_block(_USER_AGENT, self._plain, headers),
        )
