"""Whose a question is that comes beside all calls."""

from dataclasses import dataclass, field

import msgspec
import pytest

from data_plane.upstreams import declared, jsonrpc
from data_plane.upstreams.declared import Declared
from data_plane.upstreams.jsonrpc import Message
from data_plane.upstreams.questions import attribute

ASKS = declared.read(b'{"elicitation":{},"sampling":{}}')


@dataclass
class Call:
    """A call under way, and what it was asked."""

    asking: int = 0
    principal: bytes = b"ann"
    said: Declared = ASKS
    asked: bool = True
    heard: list[Message] = field(default_factory=list)

    def may_ask(self) -> bool:
        return self.asked

    def hear(self, message: Message) -> None:
        self.heard.append(message)


def question(method: str = "roots/list") -> Message:
    return jsonrpc.decode(msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}))


SAMPLING = "sampling/createMessage"


@pytest.mark.parametrize(
    ("calls", "meant"),
    [
        ([Call()], 0),
        ([Call(), Call()], 1),
        ([Call(asking=1), Call(asking=1)], 1),
        ([Call(), Call(asking=1)], 0),
        ([Call(), Call(asked=False)], 0),
        ([Call(), Call(said=Declared())], 0),
    ],
)
def test_it_is_of_the_newest_call_that_waits_for_no_answer(calls: list[Call], meant: int) -> None:
    assert attribute(question(SAMPLING), calls) == b""
    assert [len(call.heard) for call in calls] == [int(at == meant) for at in range(len(calls))]


@pytest.mark.parametrize(
    "calls",
    [
        [Call(), Call(principal=b"bob")],
        [Call(principal=b""), Call(principal=b"")],
        [Call(said=Declared())],
        [Call(asked=False)],
        [],
    ],
)
def test_where_another_one_could_be_meant_or_nobody_can_be_asked_it_is_refused(calls: list[Call]) -> None:
    assert b'"error"' in attribute(question(SAMPLING), calls)
    assert not any(call.heard for call in calls)
