"""What servers of the handshake era say in errors that the modern era has other words for."""

import json

import msgspec
import pytest

from core.call import Outgoing, Raw
from data_plane.upstreams.rounds import translated


def error(code: int, message: str) -> Raw:
    return Raw(error=msgspec.json.encode({"code": code, "message": message}))


def caller(capabilities: bytes = b"{}", *, modern: bool = True) -> Outgoing:
    return Outgoing(arguments=b"{}", capabilities=capabilities, takes_input_required=modern)


@pytest.mark.parametrize(
    ("capabilities", "code", "message", "required"),
    [
        (b"{}", -32601, "this client does not support sampling/createMessage", {"sampling": {}}),
        (b"{}", -32601, "roots/list", {"roots": {}}),
        (b'{"sampling":{}}', -32600, "Elicitation not supported", {"elicitation": {}}),
        (b"{}", -32603, "Client does not support sampling (required for sampling/createMessage)", {"sampling": {}}),
        (
            b'{"sampling":{}}',
            -32602,
            "this client does not support tools in sampling",
            {"sampling": {"tools": {}}},
        ),
        (
            b'{"elicitation":{}}',
            -32602,
            "this client does not support that mode of elicitation",
            {"elicitation": {"url": {}}},
        ),
        (b'{"elicitation":{"url":{}}}', -32603, "Client does not support form elicitation", None),
        (b'{"sampling":{}}', -32601, "sampling", None),
        (b"{}", -32601, "Method not found", None),
        (b"{}", -32602, "an argument has unsupported roots", None),
        (b"{}", -32000, "nothing to do with the client", None),
    ],
)
def test_a_capability_the_server_misses_is_named_as_the_modern_era_does(
    capabilities: bytes, code: int, message: str, required: object
) -> None:
    raw = error(code, message)
    found = translated(raw, caller(capabilities))
    if required is None:
        assert found is raw
    else:
        data = {"requiredCapabilities": required}
        assert json.loads(found.error) == {"code": -32021, "message": message, "data": data}


def test_who_is_of_the_same_era_gets_it_as_it_is() -> None:
    raw = error(-32601, "Sampling not supported")
    assert translated(raw, caller(modern=False)) is raw
