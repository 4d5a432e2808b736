"""Which Rego builtins a policy may use: those OPA's WASM brings, and those our host adds.

Left out with reason: what reaches the network or the host (http.send, net.lookup_ip_addr, opa.runtime), what compiles
Rego (rego.parse_module), what changes from one moment to the next (time.now_ns, rand.intn, uuid.rfc4122), and secrets
handling no gateway policy has a use for (io.jwt.*, crypto.*).
"""

from collections.abc import Callable

import msgspec

from core.policy import HOST_BUILTINS

# fmt: off
NATIVE = frozenset((
    "abs", "all", "and", "any", "array.concat", "array.flatten", "array.reverse", "array.slice", "assign",
    "base64.decode", "base64.encode", "base64.is_valid", "base64url.decode", "base64url.encode", "bits.and",
    "bits.lsh", "bits.negate", "bits.or", "bits.rsh", "bits.xor", "ceil", "concat", "contains", "count", "div",
    "endswith", "eq", "equal", "floor", "format_int", "glob.match", "graph.reachable", "gt", "gte", "indexof",
    "internal.member_2", "internal.member_3", "internal.template_string", "intersection", "is_array", "is_boolean",
    "is_null", "is_number", "is_object", "is_set", "is_string", "json.filter", "json.is_valid", "json.marshal",
    "json.remove", "json.unmarshal", "lower", "lt", "lte", "max", "min", "minus", "mul", "neq", "net.cidr_contains",
    "net.cidr_intersects", "numbers.range", "object.filter", "object.get", "object.keys", "object.remove",
    "object.union", "object.union_n", "or", "plus", "product", "regex.find_all_string_submatch_n", "regex.is_valid",
    "regex.match", "rem", "replace", "round", "sort", "split", "startswith", "strings.replace_n", "strings.reverse",
    "substring", "sum", "to_number", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix",
    "type_name", "union", "upper", "walk",
))
# fmt: on

ALLOWED = NATIVE | frozenset(HOST_BUILTINS)


class _Builtin(msgspec.Struct):
    name: str


class _Names(msgspec.Struct):
    builtins: list[_Builtin]


class _Capabilities(msgspec.Struct):
    """As `opa capabilities --current` writes them; what is not looked into is passed on."""

    builtins: list[dict[str, object]]
    future_keywords: list[str] = []
    features: list[str] = []


REFUSED_BESIDE = frozenset(("http.send", "net.lookup_ip_addr", "opa.runtime", "rego.parse_module", "trace"))
"""Of what OPA itself can: what reaches the network from a gateway, or tells of its process."""


def restricted(capabilities: bytes) -> bytes:
    """A capabilities file with what is allowed of the binary's own, and no host to reach."""
    return _with(capabilities, ALLOWED.__contains__)


def beside(capabilities: bytes, *, http: bool) -> bytes:
    """The same for Rego that stock OPA decides by. `http`: it may ask others over HTTP."""
    return _with(capabilities, lambda name: name not in REFUSED_BESIDE or (http and name == "http.send"))


def _with(capabilities: bytes, allows: Callable[[str], bool]) -> bytes:
    known = msgspec.json.decode(capabilities, type=_Capabilities)
    return msgspec.json.encode(
        {
            "builtins": [builtin for builtin in known.builtins if allows(str(builtin.get("name")))],
            "future_keywords": known.future_keywords,
            "features": known.features,
            "allow_net": [],
        }
    )


def names(capabilities: bytes) -> frozenset[str]:
    """Every builtin the binary knows."""
    return frozenset(builtin.name for builtin in msgspec.json.decode(capabilities, type=_Names).builtins)
