"""A compiled tenant, byte for byte: what gateways of other versions will be sent.

A difference here is a change of format or meaning. If it is wanted: `python -m tests.golden.test_compiled_tenant`.
"""

import base64
from pathlib import Path

import msgspec

from control_plane.compiler.compile import compile_tenant
from control_plane.compiler.source import Compiled
from core.offering import Offering
from core.resource import encode
from core.server import ObservedEntry
from tests.control_plane.compiler.sources import LOG, NOW, PUSH, known, seal, source

GOLDEN = Path(__file__).with_name("compiled_tenant.json")
OFFERING = Offering(
    prompts=(ObservedEntry(name="review", definition=b'{"name":"review",  "arguments":[]}'),),
    resources=(ObservedEntry(name="ui://page", definition=b'{"uri":"ui://page","name":"page"}'),),
    templates=(ObservedEntry(name="log:{day}", definition=b'{"uriTemplate":"log:{day}","name":"log"}'),),
    offers=("completions", "prompts", "resources", "tools"),
)


def written() -> str:
    """Digests of everything, and what is inside for people to compare."""
    servers = {"clock": known(NOW, offering=OFFERING), "git": known(LOG, PUSH, offering=OFFERING, away=True)}
    result = compile_tenant(source(known_servers=servers), seal)
    assert isinstance(result, Compiled)
    parts = {
        f"{ref.kind}/{ref.name}": {
            "digest": ref.digest.hex(),
            "size": ref.size,
            "holds": _readable(ref.kind, result.parts[ref.digest]),
        }
        for ref in result.manifest.parts
    }
    shown = {"content": result.content.hex(), "manifest_bytes": len(encode(result.manifest)), "parts": parts}
    return msgspec.json.format(msgspec.json.encode(shown, order="sorted"), indent=1).decode() + "\n"


def _readable(kind: str, data: bytes) -> object:
    return base64.b64encode(data).decode() if kind == "policy_module" else _text(msgspec.msgpack.decode(data))


def _text(value: object) -> object:
    """Bytes that are text are shown as such; others, and keys of maps, in hexadecimal."""
    if isinstance(value, bytes):
        try:
            return value.decode("ascii")
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, dict):
        return {k.hex() if isinstance(k, bytes) else k: _text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_text(v) for v in value]
    return value


def test_the_compiled_tenant_is_the_one_on_record() -> None:
    assert written() == GOLDEN.read_text()


if __name__ == "__main__":
    GOLDEN.write_text(written())
