"""Who has no account is told where to connect one; who can have none is told that, without a link."""

import msgspec
import pytest

from adapters.crypto.sealing import AesGcmSealer
from core.call import Result
from core.errors import NotConnected, Reason, Refused
from core.server import HttpTransport
from core.snapshot import Backend, CompiledAuth, OpenSecrets
from data_plane.stages.connecting import told
from tests.data_plane.stages.builders import caller, inbound, permit

URL = "https://bank.example/mcp"
SECRETS = OpenSecrets(values={}, key_pepper=b"p" * 32, session_key=b"s" * 32)
BACKEND = Backend(
    server="files",
    transport=HttpTransport(url=URL),
    timeout_s=10.0,
    sign_in=CompiledAuth(per_caller=True, look_as="", connect_url="https://us/connect/acme", url=URL),
)


def answered(user: str, agent: str) -> Result:
    allowed = msgspec.structs.replace(permit(), caller=caller(user, agent))
    return told(NotConnected(), inbound(), allowed, BACKEND, SECRETS, AesGcmSealer(), 1_800_000_000.0)


@pytest.mark.parametrize(("user", "agent"), [("ann", "bot"), ("", "bot"), ("ann", "okta:bot")])
def test_who_is_declared_gets_a_link(user: str, agent: str) -> None:
    assert b"https://us/connect/acme/" in (answered(user, agent).result or b"")


@pytest.mark.parametrize(("user", "agent"), [("okta:ann", ""), ("okta:ann", "bot"), ("", "okta:bot")])
def test_whom_only_a_token_names_gets_a_reason_and_no_link(user: str, agent: str) -> None:
    with pytest.raises(Refused, match="declared") as refused:
        answered(user, agent)
    assert refused.value.reason is Reason.NOT_CONNECTED
    assert "http" not in refused.value.public
