"""Lists of what the caller may see of the compiled catalogue: pages in its order, shared by all who see the same."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from core.bound import Hits
from core.call import Result
from core.errors import Reason, Refused
from core.mcp import results
from core.mcp.tickets import Cursor, issue, redeem
from core.sealing import SealBroken

if TYPE_CHECKING:
    from core.call import Inbound, Target
    from core.sealing import Sealer
    from core.snapshot import Catalogue, Offer, OpenSecrets
    from data_plane.endpoint_view import EndpointView, Seen

TTL_MS: Final = 5_000
"""How long a client may keep a list without asking; one that listens is told of a change at once."""
PAGES_KEPT: Final = 1024

_MEMBER: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
METHODS: Final = frozenset(_MEMBER)

Visible = tuple["Target", ...]


class _Page(msgspec.Struct):
    cursor: str | None = None


class Lists:
    """Pages made before, of one snapshot. Lists that are one object have one digest and the same pages."""

    def __init__(self, full: Hits | None = None) -> None:
        """`full`: counts what is forgotten to make room."""
        self._full = full or Hits()
        self._digests: OrderedDict[int, tuple[Visible, bytes]] = OrderedDict()
        self._pages: OrderedDict[tuple[str, int, int, bytes], bytes] = OrderedDict()
        self._offered: dict[tuple[bytes, ...], frozenset[Offer]] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def digest(self, visible: Visible) -> bytes:
        """Of all definitions, in their order: what an agent sees as one list."""
        key = id(visible)
        known = self._digests.get(key)
        if known is None or known[0] is not visible:
            hashed = blake2b(digest_size=16)
            for entry in visible:
                hashed.update(len(entry.definition).to_bytes(4, "big") + entry.definition)
            # The list itself is kept: its id is its own as long as it lives.
            known = self._digests[key] = (visible, hashed.digest())
            if len(self._digests) > PAGES_KEPT:
                self._digests.popitem(last=False)
        return known[1]

    def offered(self, endpoint: EndpointView, seen: Seen) -> frozenset[Offer]:
        """`EndpointView.offered`, once for all who see the same."""
        key = (endpoint.digest, *map(self.digest, seen.values()))
        known = self._offered.get(key)
        if known is None:
            if len(self._offered) >= PAGES_KEPT:
                self._offered.clear()
            known = self._offered[key] = endpoint.offered(seen)
        return known

    def get(self, key: tuple[str, int, int, bytes]) -> bytes | None:
        return self._pages.get(key)

    def put(self, key: tuple[str, int, int, bytes], page: bytes) -> bytes:
        self._pages[key] = page
        if len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
            self._full.count += 1
        return page


def source(inbound: Inbound, endpoint: EndpointView) -> Visible:
    """All that the endpoint has of what is to be listed."""
    catalogue = endpoint.catalogue
    if inbound.method == "tools/list":
        return catalogue.tools
    if inbound.method == "prompts/list":
        return catalogue.prompts
    return catalogue.resources if inbound.method == "resources/list" else catalogue.templates


def page(  # noqa: PLR0917 - the pipeline reads best in a line.
    inbound: Inbound,
    endpoint: EndpointView,
    visible: Visible,
    kept: Lists,
    secrets: OpenSecrets,
    sealer: Sealer,
    now_unix: float,
    version: str,
) -> Result:
    """One page of `visible`. Raises Refused(INVALID) for a cursor that is none, or of a list that is no more."""
    seen = kept.digest(visible)
    offset = _offset(inbound, endpoint, seen, secrets, sealer, now_unix)
    size = endpoint.catalogue.page_size
    key = (inbound.method, offset, size, seen + endpoint.digest)
    made = kept.get(key)
    if made is None:
        following = ""
        if offset + size < len(visible):
            cursor = Cursor(offset=offset + size, visible=seen)
            following = issue(cursor, sealer, secrets.session_key, *_context(inbound, endpoint))
        body = results.list_result(
            _MEMBER[inbound.method],
            [entry.definition for entry in visible[offset : offset + size]],
            following,
            TTL_MS,
            version=version,
            meta=_meta(endpoint.catalogue),
        )
        made = kept.put(key, body)
    return Result(result=made, revision=inbound.revision, etag=seen.hex())


def _offset(  # noqa: PLR0917 - as above
    inbound: Inbound, endpoint: EndpointView, seen: bytes, secrets: OpenSecrets, sealer: Sealer, now_unix: float
) -> int:
    if b'"cursor"' not in inbound.params:
        return 0
    try:
        text = msgspec.json.decode(inbound.params, type=_Page).cursor
    except msgspec.ValidationError as failure:
        raise Refused(Reason.INVALID, "params.cursor must be a string") from failure
    if text is None:
        return 0
    try:
        cursor = redeem(Cursor, text, sealer, secrets.session_key, now_unix, *_context(inbound, endpoint))
    except SealBroken as broken:
        raise Refused(Reason.INVALID, "params.cursor is none that this server gave") from broken
    if cursor.visible != seen:
        raise Refused(Reason.INVALID, "params.cursor is of a list that has changed: begin again without it")
    return cursor.offset


def _context(inbound: Inbound, endpoint: EndpointView) -> tuple[str, ...]:
    return (inbound.method, endpoint.catalogue.endpoint, inbound.server)


def _meta(catalogue: Catalogue) -> dict[str, object]:
    """Members that could not be looked at: their entries are those known before."""
    return {results.UNAVAILABLE_KEY: catalogue.unavailable} if catalogue.unavailable else {}
