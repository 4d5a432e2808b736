"""What a server says of itself when first spoken to, and which era to speak to it in."""

from collections.abc import Iterable

import msgspec

from core.call import Era, Raw
from core.mcp.errors import UNSUPPORTED_VERSION
from core.mcp.results import SERVER_INFO_KEY
from core.snapshot import Offer
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.failure import clipped, unavailable

_MEMBERS: dict[str, Offer] = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "completions": "completions",
    "logging": "logging",
}
_EXTENSIONS: dict[str, Offer] = {"io.modelcontextprotocol/tasks": "tasks", "io.modelcontextprotocol/ui": "ui"}


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is spoken to from here on."""

    era: Era
    revision: str
    server_info: dict[str, str] = msgspec.field(default_factory=dict)
    instructions: str = ""
    logs: bool = False
    """Whether a legacy server takes `logging/setLevel`."""
    offers: tuple[Offer, ...] = ()


class _Discovered(msgspec.Struct, frozen=True):
    supported_versions: list[str] = msgspec.field(name="supportedVersions")
    capabilities: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"))
    instructions: str = ""
    meta: dict[str, msgspec.Raw] = msgspec.field(name="_meta", default_factory=dict)


class _Initialized(msgspec.Struct, frozen=True):
    protocol_version: str = msgspec.field(name="protocolVersion")
    capabilities: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"))
    server_info: msgspec.Raw = msgspec.field(name="serverInfo", default=msgspec.Raw(b"{}"))
    instructions: str = ""


class _VersionError(msgspec.Struct, frozen=True):
    class Data(msgspec.Struct, frozen=True):
        supported: list[str] = msgspec.field(default_factory=list)

    code: int
    data: Data


def from_discover(answer: Raw) -> Greeting | None:
    """None: the server is alive but is not to be spoken to in the modern era. Raises Unavailable: in neither."""
    if answer.error:
        _refuse_if_newer(answer.error)
        return None
    try:
        found = msgspec.json.decode(answer.result, type=_Discovered)
    except msgspec.MsgspecError:
        return None
    if jsonrpc.MODERN not in found.supported_versions:
        return None
    return Greeting(
        era="modern",
        revision=jsonrpc.MODERN,
        server_info=_texts(found.meta.get(SERVER_INFO_KEY, msgspec.Raw(b"{}"))),
        instructions=found.instructions,
        offers=offered(found.capabilities),
    )


def contradicts_itself(answer: Raw) -> bool:
    """It refuses the version it was asked in, and names that very version as one it serves: worth asking once more."""
    if not answer.error:
        return False
    try:
        refusal = msgspec.json.decode(answer.error, type=_VersionError)
    except msgspec.MsgspecError:
        return False
    return refusal.code == UNSUPPORTED_VERSION and jsonrpc.MODERN in refusal.data.supported


def from_initialize(answer: Raw) -> Greeting:
    """Raises Unavailable when the server refuses or speaks no revision known here."""
    if answer.error:
        code, message = jsonrpc.error_code(answer.error), jsonrpc.error_message(answer.error)
        raise unavailable(f"refuses to initialize: {code} {clipped(message)}")
    try:
        found = msgspec.json.decode(answer.result, type=_Initialized)
    except msgspec.MsgspecError as failure:
        raise unavailable(f"answers initialize with what is no InitializeResult: {failure}") from failure
    if found.protocol_version not in jsonrpc.LEGACY:
        raise unavailable(f"insists on protocol version {found.protocol_version}")
    offers = offered(found.capabilities)
    return Greeting(
        era="legacy",
        revision=found.protocol_version,
        server_info=_texts(found.server_info),
        instructions=found.instructions,
        logs="logging" in offers,
        offers=offers,
    )


def offered(capabilities: msgspec.Raw) -> tuple[Offer, ...]:
    """What a ServerCapabilities object declares of what is known here; a member of another shape declares nothing."""
    declared = _object(capabilities)
    found: list[Offer] = [
        offer for member, offer in _MEMBERS.items() if bytes(declared.get(member, b"null")) != b"null"
    ]
    lists = {member: _object(declared.get(member)) for member in ("tools", "prompts", "resources")}
    if bytes(lists["resources"].get("subscribe", b"")) == b"true":
        found.append("subscribe")
    if any(bytes(members.get("listChanged", b"")) == b"true" for members in lists.values()):
        found.append("list_changed")
    extensions = _object(declared.get("extensions"))
    found += [offer for extension, offer in _EXTENSIONS.items() if extension in extensions]
    return tuple(sorted(found))


def _object(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    try:
        return jsonrpc.members(raw) if raw is not None else {}
    except jsonrpc.NotMcpError:
        return {}


def _refuse_if_newer(error: bytes) -> None:
    """A server that names the versions it serves, and serves none known here, needs no second question."""
    try:
        refusal = msgspec.json.decode(error, type=_VersionError)
    except msgspec.MsgspecError:
        return
    supported = refusal.data.supported
    if refusal.code == UNSUPPORTED_VERSION and supported and not _known(supported):
        raise unavailable(f"speaks only {', '.join(map(clipped, supported[:8]))}")


def _known(versions: Iterable[str]) -> bool:
    return any(v == jsonrpc.MODERN or v in jsonrpc.LEGACY for v in versions)


def _texts(raw: msgspec.Raw) -> dict[str, str]:
    """The string members of an Implementation object: its icons are nobody's business here."""
    return {k: msgspec.json.decode(v, type=str) for k, v in _object(raw).items() if bytes(v).startswith(b'"')}
