"""What OPA speaks, for sidecars that prove themselves with a node's token: bundles, status reports, decision logs.

`/opa/{tenant}/bundle.tar.gz`, `status`, `logs`, and `config.json`, with which one is started.
"""

import re
import zlib
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from control_plane.api.bodies import MAX_BODY_BYTES, Bodies
from control_plane.services.opa_sidecars import OpaSidecars
from core.admin import Rejected, Why
from core.resource import NAME

PREFIX = "/opa/"
LONG_POLLED = "application/vnd.openpolicyagent.bundles"
"""Says to OPA that it may wait here for news."""
UNPACKED_BYTES = 8 * MAX_BODY_BYTES

_WAIT = re.compile(r"(?:^|[;,])\s*wait=(\d{1,5})\b")

Run = Callable[[Request, str], Awaitable[Response]]


class OpaEdge:
    """Answers what is below PREFIX, and None for every other path."""

    def __init__(self, sidecars: OpaSidecars, bodies: Bodies, public_url: str) -> None:
        self._sidecars = sidecars
        self._bodies = bodies
        self._public_url = public_url
        self._table: dict[str, tuple[str, Run]] = {
            "bundle.tar.gz": ("GET", self._bundle),
            "config.json": ("GET", self._config),
            "status": ("POST", self._status),
            "logs": ("POST", self._logs),
        }

    async def answer(self, request: Request) -> Response | None:
        """Raises Rejected, TooLarge and TooSlow, as every part of the REST edge does."""
        path = request.url.path
        if not path.startswith(PREFIX):
            return None
        tenant, _, leaf = path.removeprefix(PREFIX).partition("/")
        if leaf not in self._table or not NAME.fullmatch(tenant):
            raise Rejected(Why.NOT_FOUND, "there is nothing here")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        await self._sidecars.admit(token.strip() if scheme.lower() == "bearer" else "", tenant)
        verb, run = self._table[leaf]
        if request.method != verb:
            return Response(status_code=405, headers={"allow": verb})
        return await run(request, tenant)

    async def _bundle(self, request: Request, tenant: str) -> Response:
        known = request.headers.get("if-none-match", "")
        wait = _WAIT.search(request.headers.get("prefer", ""))
        ready = await self._sidecars.bundle(tenant, known, float(wait[1]) if wait else 0.0)
        if ready is None:
            return Response(status_code=304, headers={"etag": known, "content-type": LONG_POLLED})
        return Response(ready.content, headers={"etag": ready.mark}, media_type=LONG_POLLED)

    async def _config(self, _: Request, tenant: str) -> Response:
        return JSONResponse(await self._sidecars.config(tenant, f"{self._public_url}{PREFIX}{tenant}"))

    async def _status(self, request: Request, tenant: str) -> Response:
        await self._sidecars.status(tenant, await self._body(request))
        return Response(status_code=204)

    async def _logs(self, request: Request, tenant: str) -> Response:
        await self._sidecars.decided(tenant, await self._body(request))
        return Response(status_code=204)

    async def _body(self, request: Request) -> bytes:
        body = await self._bodies.read(request.stream())
        if request.headers.get("content-encoding", "").lower() != "gzip":
            return body
        unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            plain = unpacking.decompress(body, UNPACKED_BYTES)
        except zlib.error as failure:
            raise Rejected(Why.INVALID, "the body is no gzip") from failure
        if not unpacking.eof:
            raise Rejected(Why.INVALID, f"the body is cut, or more than {UNPACKED_BYTES} bytes")
        return plain
