"""When a server is looked at again."""

import pytest

from control_plane.services.definitions import _advised, _next_look_s
from core.onbehalf import UserConnection
from core.server import HttpTransport, Observation, Server, StdioTransport

SERVER = Server(transport=StdioTransport(command=("clock",)), refresh_s=120)


@pytest.mark.parametrize(
    ("seen", "failures", "next_s"),
    [
        (Observation(error="refused"), 0, 5),
        (Observation(error="refused"), 2, 20),
        (Observation(error="refused"), 9, 120),
        (Observation(looked=False, error="no server here yet"), 0, 1),
        (Observation(looked=False, error="no server here yet"), 3, 8),
    ],
)
def test_a_look_that_failed_is_tried_again_and_one_that_nobody_took_sooner(
    seen: Observation, failures: int, next_s: float
) -> None:
    assert _next_look_s(SERVER, seen, failures) == next_s


@pytest.mark.parametrize(
    ("auth", "seen", "told"),
    [
        (UserConnection(), Observation(error="no", challenge="Bearer"), "spec.auth.look_as"),
        (UserConnection(look_as="ada"), Observation(error="no", challenge=""), "connection link bank --user ada"),
        (UserConnection(look_as="ada"), Observation(error="no"), ""),
        (None, Observation(error="no", challenge="Bearer"), ""),
    ],
)
def test_a_look_that_lacks_an_account_says_whose(auth: UserConnection | None, seen: Observation, told: str) -> None:
    server = Server(transport=HttpTransport(url="https://bank.example/mcp"), auth=auth)
    advised = _advised(seen, server, "bank")
    assert advised.startswith("no")
    assert told in advised
    assert (advised == "no") == (not told)
