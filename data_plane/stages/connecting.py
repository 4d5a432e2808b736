"""What a caller is told who has no account at a server: where to connect one, in the words its client understands."""

from __future__ import annotations

from secrets import token_bytes
from typing import TYPE_CHECKING, Final

import msgspec

from core.call import Result
from core.connection import LINK_S, Link
from core.errors import Reason, Refused
from core.mcp.errors import URL_ELICITATION_REQUIRED
from core.mcp.results import tool_error_result
from core.mcp.rounds import CONNECT, ROUNDS
from core.mcp.tickets import issue
from core.onbehalf import subject_of
from core.resource import NAME

if TYPE_CHECKING:
    from core.call import Inbound, Permit
    from core.errors import NotConnected
    from core.sealing import Sealer
    from core.snapshot import Backend, OpenSecrets

_ERROR_REVISION: Final = "2025-11-25"
"""The only one with an error that says where to go."""


class _Elicitation(msgspec.Struct):
    url: object = None


class _Capabilities(msgspec.Struct):
    elicitation: _Elicitation | None = None


def told(  # noqa: PLR0917 - the pipeline reads best in a line.
    missing: NotConnected,
    inbound: Inbound,
    permit: Permit,
    backend: Backend,
    secrets: OpenSecrets,
    sealer: Sealer,
    now_unix: float,
) -> Result:
    """A question, an error or a failed tool with the link in it. Raises Refused(NOT_CONNECTED) where none of these can
    be said, and where nobody can connect anything.

    The link is sealed for this caller; what is asked of the authorization server comes from the challenge in it.
    """
    sign_in = backend.sign_in
    server = permit.tool.server
    if sign_in is None or not sign_in.per_caller or not sign_in.connect_url:
        raise Refused(Reason.NOT_CONNECTED, f"Nobody can connect an account at {server} here.")
    caller = permit.caller
    if not NAME.fullmatch(caller.user or caller.agent):
        # Somebody a token names and nobody declared (`authn`): accounts are kept for who is declared.
        raise Refused(
            Reason.NOT_CONNECTED,
            f"Only users and agents that are declared here can connect an account at {server}.",
            detail="not declared",
        )
    link = Link(
        expires_unix=int(now_unix) + LINK_S,
        id=token_bytes(16),
        server=server,
        subject=subject_of(caller.user, caller.agent),
        challenge=missing.challenge,
    )
    url = f"{sign_in.connect_url}/{issue(link, sealer, secrets.session_key, caller.tenant)}"
    message = f"Connect your account at {server} to go on."
    if _takes_urls(inbound.capabilities):
        if inbound.era == "modern" and inbound.method in ROUNDS:
            question = {"method": "elicitation/create", "params": {"mode": "url", "url": url, "message": message}}
            asked = msgspec.json.encode({"resultType": "input_required", "inputRequests": {CONNECT: question}})
            return Result(result=asked, revision=inbound.revision)
        if inbound.era == "legacy" and inbound.revision == _ERROR_REVISION:
            ask = {"mode": "url", "elicitationId": link.id.hex(), "url": url, "message": message}
            error = {"code": URL_ELICITATION_REQUIRED, "message": message, "data": {"elicitations": [ask]}}
            return Result(error=msgspec.json.encode(error), revision=inbound.revision)
    if inbound.method == "tools/call":
        text = f"{message} Open this link in your browser, then try again: {url}"
        return Result(result=tool_error_result(text), is_error=True, revision=inbound.revision)
    raise Refused(Reason.NOT_CONNECTED, f"{message} Open {url}", detail="no account")


def _takes_urls(capabilities: bytes) -> bool:
    """Elicitation, "Capabilities": `url` must be declared."""
    if b'"url"' not in capabilities:
        return False
    try:
        found = msgspec.json.decode(capabilities, type=_Capabilities)
    except msgspec.MsgspecError:
        return False
    return found.elicitation is not None and found.elicitation.url is not None
