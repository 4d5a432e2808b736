"""Clients known by a document about them: fetched from the URL that is their id, and remembered for a while.

Source: OAuth Client ID Metadata Document (draft-ietf-oauth-client-id-metadata-document), as MCP 2025-11-25 and
2026-07-28 take it.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from control_plane.browser.pace import Pace
from core.bound import Bound, Shares
from core.forwarded import counted
from core.oauth.client import AuthMethod, Client, Metadata, described, split
from core.oauth.errors import OAuthError
from core.web import Request, Unreachable, Web

DOCUMENT_MAX = 64 * 1024
KNOWN_MAX = 1_000
FETCHED_AT_ONCE = 32
LEAST_S, MOST_S, USUAL_S = 60.0, 86_400.0, 600.0
"""How long a document counts: what its server says, within bounds."""
REFUSED_S = 30.0
"""A document that could not be had, or was no good, is not asked for again so soon."""
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=(\d{1,9})\s*(?:,|$)", re.IGNORECASE)

Known = Client | OAuthError


class Documents:
    def __init__(
        self,
        web: Web,
        *,
        allow_private: bool = False,
        ca_pem: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`web`: nobody else's, as anybody at all can have it ask hosts that are slow."""
        self._web = web
        self.pace = Pace(burst=20, per_minute=30, clock=clock)
        self._allow_private = allow_private
        self._ca_pem = ca_pem
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Known]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Known]] = {}
        self._under_way = Shares(FETCHED_AT_ONCE)
        self._evicted = self._turned_away = 0

    def bounds(self) -> dict[str, Bound]:
        return {
            "client_documents": Bound(len(self._known), KNOWN_MAX, self._evicted),
            "client_documents_asked": Bound(len(self._asking), FETCHED_AT_ONCE, self._turned_away),
            "client_document_requests": self._web.bound,
            "client_document_addresses": self.pace.bound,
        }

    async def client(self, client_id: str, address: str) -> Client:
        """`address`: who asks; each may have some fetched a minute, a fourth of them at once, and all that are known.

        Raises OAuthError(invalid_client), saying what is wrong with the document.
        """
        known = self._known.get(client_id)
        found = known[1] if known is not None and known[0] > self._clock() else await self._ask(client_id, address)
        if isinstance(found, OAuthError):
            raise OAuthError(found.code, found.description)
        return found

    async def _ask(self, client_id: str, address: str) -> Known:
        """One request for a document at a time, shared by all who wait for it."""
        fault = url_fault(client_id)
        if fault:
            return _refused(fault)
        asking = self._asking.get(client_id)
        if asking is None:
            if len(self._asking) >= FETCHED_AT_ONCE:
                self._turned_away += 1
                raise OAuthError("temporarily_unavailable", "too many clients' documents are being fetched")
            asker = counted(address) or address
            if self._under_way.full(asker):
                self._turned_away += 1
                raise OAuthError("slow_down", "too many clients' documents are being fetched for your address")
            if not self.pace.admits(address):
                raise OAuthError("slow_down", "too many clients' documents for your address: try again in a minute")
            asking = asyncio.create_task(self._fetch(client_id))
            self._asking[client_id] = asking
            self._under_way.take(asker)

            def done(_: object) -> None:
                self._asking.pop(client_id, None)
                self._under_way.give(asker)

            asking.add_done_callback(done)
        return await asyncio.shield(asking)

    async def _fetch(self, client_id: str) -> Known:
        good_s = REFUSED_S
        found: Known
        try:
            answer = await self._web.fetch(
                Request(
                    url=client_id,
                    headers=(("Accept", "application/json"),),
                    allow_private=self._allow_private,
                    ca_pem=self._ca_pem,
                    most_bytes=DOCUMENT_MAX,
                )
            )
        except Unreachable:
            # Why not is told to nobody: it would make this a way to look around inside.
            found = _refused("cannot be fetched")
        else:
            found = _read(client_id, answer.status, answer.body)
            if isinstance(found, Client):
                good_s = _good_s(answer.headers.get("cache-control", ""))
        self._known[client_id] = (self._clock() + good_s, found)
        self._known.move_to_end(client_id)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
            self._evicted += 1
        return found


def url_fault(client_id: str) -> str:
    """What is wrong with a URL that is to be a client id; empty: nothing."""
    parts = split(client_id)
    if parts is None or parts.scheme != "https" or not parts.hostname:
        return "must be at an https URL"
    if parts.username is not None or "#" in client_id:
        return "must be at a URL without credentials and fragment"
    if parts.path in ("", "/") or any(one in (".", "..") for one in parts.path.split("/")):
        return "must be at a URL with a path, and without dots as its segments"
    return ""


def _read(client_id: str, status: int, body: bytes) -> Known:
    if status != 200:
        return _refused("cannot be fetched")
    try:
        about = msgspec.json.decode(body, type=Metadata)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _refused("is no client's metadata in JSON")
    if about.client_id != client_id:
        return _refused("has another client_id than its URL")
    for problem in about.problems():
        return _refused(f"is not valid: {problem.path} {problem.rule}")
    method = about.token_endpoint_auth_method or "none"
    if method not in ("none", "private_key_jwt"):
        return _refused("is not valid: nobody can share a secret with a client by its document")
    auth: AuthMethod = "private_key_jwt" if method == "private_key_jwt" else "none"
    return described(client_id, about, "document", auth)


def _refused(fault: str) -> OAuthError:
    return OAuthError("invalid_client", f"the client's metadata document {fault}")


def _good_s(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    said = float(found[1]) if found else USUAL_S
    return min(max(said, LEAST_S), MOST_S)


def host_of(client_id: str) -> str:
    return urlsplit(client_id).hostname or ""
