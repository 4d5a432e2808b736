"""Legacy sessions without a store: the session id is a sealed token that any replica can open.

It is bound to tenant, endpoint, principal and the tenant's revocation epoch: presented by anyone else, anywhere else,
or after a revocation, it is a session that does not exist.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from core.bound import Bound
from core.call import Inbound
from core.errors import Reason, Refused
from core.identity import Caller
from core.sealing import SealBroken, Sealer
from core.snapshot import Manifest, OpenSecrets
from data_plane.sessions import NOTHING, Notes, SessionNotes

MAX_TOKEN_BYTES = 8 * 1024
REMEMBERED = 2048
"""Sessions that cost a lookup instead of 8 us; clients drop theirs without a word, and each is 700 bytes."""
_MAX_CAPABILITIES_BYTES = 2 * 1024
_MAX_NAME = 64
_VERSION = 1


class Conversation(msgspec.Struct, frozen=True):
    """What a session settled when it began."""

    revision: str
    capabilities: bytes
    """JSON of the client capabilities declared at initialize."""
    client: str = ""
    """The name the client gave itself: for display, never for a decision."""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    version: int
    began_unix: int
    revision: str
    capabilities: bytes
    client: str


class _ClientInfo(msgspec.Struct):
    name: str = ""


class _Initialize(msgspec.Struct):
    client_info: _ClientInfo = msgspec.field(name="clientInfo", default_factory=_ClientInfo)


_Key = tuple[bytes, str, str, str, int]


class Conversations:
    """Begins and resumes sessions. Remembers the ones seen lately, so that a known token costs one lookup."""

    def __init__(
        self, sealer: Sealer, clock: Callable[[], float], *, max_age_s: int = 86400, remembered: int = REMEMBERED
    ) -> None:
        """`clock`: wall-clock seconds, agreeing between replicas to a minute."""
        self._sealer = sealer
        self._clock = clock
        self._max_age_s = max_age_s
        self._remembered = remembered
        self._known: OrderedDict[_Key, tuple[float, Conversation]] = OrderedDict()
        self._evicted = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._known), self._remembered, self._evicted)

    def begin(self, inbound: Inbound, caller: Caller, *, session_key: bytes, epoch: int) -> str:
        """The id of a new session for an `initialize`; visible ASCII. `session_key`: of the tenant's OpenSecrets."""
        if len(inbound.capabilities) > _MAX_CAPABILITIES_BYTES:
            raise Refused(Reason.INVALID, f"params.capabilities must be at most {_MAX_CAPABILITIES_BYTES} bytes")
        sealed = _Sealed(
            _VERSION, int(self._clock()), inbound.revision, inbound.capabilities, _client_name(inbound.params)
        )
        token = self._sealer.seal(session_key, msgspec.msgpack.encode(sealed), _context(inbound, caller, epoch))
        return urlsafe_b64encode(token).rstrip(b"=").decode()

    def resume(self, inbound: Inbound, caller: Caller, *, session_key: bytes, epoch: int) -> Conversation:
        """The conversation of `inbound.session`. Refuses (NOT_FOUND) a foreign, broken, expired or revoked one."""
        key = (inbound.session, caller.tenant, inbound.endpoint, caller.subject, epoch)
        known = self._known.get(key)
        if known is None:
            known = self._open(inbound, caller, session_key, epoch)
            self._known[key] = known
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
                self._evicted += 1
        else:
            self._known.move_to_end(key)
        expires_unix, conversation = known
        if self._clock() >= expires_unix:
            del self._known[key]
            raise _unknown("expired")
        return conversation

    def _open(self, inbound: Inbound, caller: Caller, session_key: bytes, epoch: int) -> tuple[float, Conversation]:
        token = inbound.session
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise _unknown("missing or too long")
        try:
            sealed = urlsafe_b64decode(token + b"=" * (-len(token) % 4))
            plain = self._sealer.open(session_key, sealed, _context(inbound, caller, epoch))
            begun = msgspec.msgpack.decode(plain, type=_Sealed)
        except (SealBroken, BadBase64, ValueError, msgspec.DecodeError) as failure:
            raise _unknown("does not open here, for this caller") from failure
        if begun.version != _VERSION or urlsafe_b64encode(sealed).rstrip(b"=") != token:
            raise _unknown("another version or spelling")
        conversation = Conversation(begun.revision, begun.capabilities, begun.client)
        return begun.began_unix + self._max_age_s, conversation


def begin(
    inbound: Inbound, caller: Caller, conversations: Conversations, secrets: OpenSecrets, manifest: Manifest
) -> str:
    """The id of the session an `initialize` begins."""
    return conversations.begin(inbound, caller, session_key=secrets.session_key, epoch=manifest.revocation_epoch)


async def settle(  # noqa: PLR0917 - the pipeline reads best in a line.
    inbound: Inbound,
    caller: Caller,
    conversations: Conversations,
    sessions: SessionNotes,
    secrets: OpenSecrets,
    manifest: Manifest,
) -> Notes:
    """Fills in what a legacy request leaves to its session: revision, capabilities, log level.

    A modern request, and an initialize, say their own. Raises Refused(NOT_FOUND).
    """
    if inbound.era == "modern" or inbound.method == "initialize":
        return NOTHING
    talk = conversations.resume(inbound, caller, session_key=secrets.session_key, epoch=manifest.revocation_epoch)
    inbound.revision, inbound.capabilities = talk.revision, talk.capabilities
    notes = sessions.at_hand(inbound.session) or await sessions.of(inbound.session)
    if notes.ended:
        raise _unknown("ended by its client")
    inbound.log_level = notes.log_level
    return notes


def prove(
    inbound: Inbound, caller: Caller, conversations: Conversations, secrets: OpenSecrets, manifest: Manifest
) -> None:
    """That a legacy request's session is still one. Raises Refused(NOT_FOUND)."""
    if inbound.era == "legacy":
        conversations.resume(inbound, caller, session_key=secrets.session_key, epoch=manifest.revocation_epoch)


def _context(inbound: Inbound, caller: Caller, epoch: int) -> bytes:
    return "\0".join(("toolgate session", caller.tenant, inbound.endpoint, caller.subject, str(epoch))).encode()


def _client_name(params: bytes) -> str:
    try:
        return msgspec.json.decode(params, type=_Initialize).client_info.name[:_MAX_NAME]
    except msgspec.DecodeError:
        return ""


def _unknown(detail: str) -> Refused:
    return Refused(Reason.NOT_FOUND, "no such session: initialize again", detail=f"session {detail}")
