"""Extensions a client declares with each request (revision 2026-07-28, "Extensions")."""

from typing import Final

import msgspec

from core.errors import Reason, Refused

TASKS: Final = "io.modelcontextprotocol/tasks"
"""SEP-2663."""


class _Capabilities(msgspec.Struct):
    extensions: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)


def require(extension: str, capabilities: bytes, what: str) -> None:
    """Raises Refused(MISSING_CAPABILITY) where a client's capabilities, as JSON, do not name what `what` needs."""
    try:
        declared = msgspec.json.decode(capabilities, type=_Capabilities).extensions
    except msgspec.DecodeError:
        declared = {}
    if extension not in declared:
        required = b'{"requiredCapabilities":{"extensions":{"%b":{}}}}' % extension.encode()
        raise Refused(Reason.MISSING_CAPABILITY, f"{what} needs the extension {extension}", data=required)
