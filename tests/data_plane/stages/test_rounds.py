"""What goes out to come back: bound to who called what, and of no use to anybody else."""

import json

import msgspec
import pytest

from adapters.crypto.sealing import AesGcmSealer
from core.call import Inbound, Permit, Raw, Result
from core.errors import Reason, Refused
from core.mcp.tickets import Round
from core.snapshot import OpenSecrets
from data_plane.stages import rounds
from tests.data_plane.stages.builders import caller, inbound, tool

SEALER = AesGcmSealer()
SECRETS = OpenSecrets(values={}, key_pepper=b"p" * 32, session_key=b"s" * 32)
NOW = 1_000_000.0
ASKING = Raw(result=b'{"resultType":"input_required","inputRequests":{}}', asks=True, state="theirs")


def permit(user: str = "ann", name: str = "greet", server: str = "s") -> Permit:
    found = msgspec.structs.replace(tool(), name=name, server=server)
    return Permit(caller=caller(user), endpoint="default", tool=found, reasons=())


def call(name: str = "greet", arguments: bytes = b'{"a":1,"b":2}', state: str | None = None) -> Inbound:
    made = inbound(name=name, arguments=arguments)
    made.era, made.request_state = "modern", state
    return made


def state_of(result: Result) -> str:
    state = json.loads(result.result)["requestState"]
    assert isinstance(state, str)
    return state


def asked(raw: Raw = ASKING) -> str:
    sealed = rounds.seal(Result(result=raw.result), raw, call(), permit(), SECRETS, SEALER, NOW)
    assert b"theirs" not in sealed.result
    return state_of(sealed)


def test_a_retry_of_the_same_call_goes_on_where_it_was() -> None:
    spelt_otherwise = call(arguments=b'{ "b":2, "a":1 }', state=asked())
    found = rounds.resume(spelt_otherwise, permit(), SECRETS, SEALER, NOW + 10)
    assert isinstance(found, Round)
    assert (found.state, found.parked, found.server) == ("theirs", "", "s")


@pytest.mark.parametrize(
    ("retry", "allowed", "later"),
    [
        (call(arguments=b'{"a":1,"b":3}'), permit(), 10),
        (call(arguments=b'{"a":9,"a":1,"b":2}'), permit(), 10),
        (call(name="other"), permit(name="other"), 10),
        (call(), permit(user="bob"), 10),
        (call(), permit(server="elsewhere"), 10),
        (call(), permit(), rounds.TTL_S + 1),
    ],
)
def test_anything_else_does_not(retry: Inbound, allowed: Permit, later: float) -> None:
    retry.request_state = asked()
    with pytest.raises(Refused) as refusal:
        rounds.resume(retry, allowed, SECRETS, SEALER, NOW + later)
    assert refusal.value.reason is Reason.INVALID
    assert b"invalid_request_state" in refusal.value.data


@pytest.mark.parametrize("state", ["", "made up", "\u00e9", "A" * 100_000])
def test_a_state_of_elsewhere_is_refused(state: str) -> None:
    with pytest.raises(Refused):
        rounds.resume(call(state=state), permit(), SECRETS, SEALER, NOW)


def test_a_request_without_a_state_is_no_retry() -> None:
    assert rounds.resume(call(), permit(), SECRETS, SEALER, NOW) is None


def test_a_task_gets_an_id_of_its_own_and_keeps_the_one_it_is_asked_for_by() -> None:
    raw = Raw(result=b'{"resultType":"task","taskId":"t-1","status":"working"}')
    sealed = rounds.seal(Result(result=raw.result), raw, call(), permit(), SECRETS, SEALER, NOW)
    exposed = json.loads(sealed.result)["taskId"]
    assert "t-1" not in exposed
    about = call()
    about.method, about.name, about.task = "tasks/get", "t-1", exposed
    raw = Raw(result=b'{"resultType":"complete","taskId":"t-1","status":"completed","result":{"taskId":"x"}}')
    told = json.loads(rounds.seal(Result(result=raw.result), raw, about, permit(), SECRETS, SEALER, NOW).result)
    assert (told["taskId"], told["result"]) == (exposed, {"taskId": "x"})


def test_a_tools_own_task_id_is_its_own() -> None:
    raw = Raw(result=b'{"resultType":"complete","taskId":"mine","content":[]}')
    result = Result(result=raw.result)
    assert rounds.seal(result, raw, call(), permit(), SECRETS, SEALER, NOW) is result
