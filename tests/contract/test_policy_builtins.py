"""The builtins the host brings give what `opa` gives."""

import json
import re
import subprocess

import pytest

from adapters.opa.builtins import ALLOWED, NATIVE, names
from adapters.wasmtime import builtins
from adapters.wasmtime.policy import WasmPolicyEngine
from core.policy import ERROR, HOST_BUILTINS, Decision
from tests.harness import opa

NOON = 1_800_000_000_123_456_789

CALLS = [
    *[("sprintf", [template, values]) for template, values in [
        ("%s", ["a"]), ("%v", ["a"]), ("%d", [7]), ("%v", [7]), ("%s", [7]), ("%d", ["x"]), ("%d", []), ("a", ["b", 2]),
        ("%5d|%-5d|%05d|%+d|% d", [42, 42, 42, 42, 42]), ("%05d", [-42]), ("%x %X %o %b %c", [255, 255, 8, 5, 65]),
        ("%f %.2f %e %g", [1.5, 2.345, 12345.678, 0.1]), ("%8.3f|%-8.1f|%08.2f", [3.14159, 3.14159, -3.14159]),
        ("%v %v %v", [1.5, 1e-7, 123456789.25]), ("%s|%10s|%-10s|%.2s", ["abc", "abc", "abc", "abc"]),
        ("%q %x", ['a"b', "hi"]), ("100%%", []), ("%", []), ("%z", [1]), ("%z", ["a"]), ("%t", [True]),
        ("%v %v", [None, False]), ("%v", [[1, "a", None]]), ("%v", [{"a": 1, "b": [True]}]), ("%s", ["héllo"]),
        ("%d%%", [50]), ("%s and %s", ["one"]), ("%v", [-0.5]),
        ("%v %v %v %v", [100000.5, 1234567.5, 0.0001, 0.00001]), ("%6.2f%%", [99.5]), ("%d", [2.5]),
    ]],
    *[("semver.compare", pair) for pair in [
        ["1.2.3", "1.2.3"], ["1.2.3", "1.2.4"], ["2.0.0", "1.9.9"], ["1.0.0-alpha", "1.0.0"],
        ["1.0.0-alpha.1", "1.0.0-alpha.beta"], ["1.0.0-2", "1.0.0-10"], ["1.0.0-rc.1", "1.0.0-rc"],
        ["v1.0.0", "1.0.0+b"],
        ["1.0", "1.0.0"], ["x", "1.0.0"],
    ]],
    *[("semver.is_valid", [text]) for text in ["1.2.3", "1.2", "1.2.3-a.b", "1.2.x", "", "v1.2.3"]],
    *[("strings.any_prefix_match", pair) for pair in [
        ["abc", "ab"], ["abc", ["x", "a"]], [["x", "yz"], ["y"]], ["abc", []], ["", ""], ["abc", "bc"],
    ]],
    *[("strings.any_suffix_match", pair) for pair in [["abc", "bc"], [["a", "b"], ["c", "b"]], ["abc", "ab"]]],
    *[(f"time.{part}", [at]) for part in ("clock", "date", "weekday") for at in [
        0, NOON, -1, [NOON, "UTC"], [NOON, ""], [NOON, "Europe/Berlin"], [NOON, "Nowhere/Else"],
    ]],
    *[("time.parse_rfc3339_ns", [text]) for text in [
        "2026-07-28T12:30:45Z", "2026-07-28T12:30:45.123456789+02:00", "1969-12-31T23:59:59.5-01:30",
        "2026-02-30T00:00:00Z",
        "2026-07-28", "nonsense",
    ]],
    *[("units.parse_bytes", [text]) for text in [
        "10", "1KB", "1KiB", "1.5gb", "2Mi", "0", "10 KB", "1xb", "", "KB", "1e3", '"2k"',
    ]],
]  # fmt: skip


@pytest.fixture(scope="module")
def by_opa(tmp_path_factory):
    """What `opa` makes of every call: {"value": ...}, or {} where it is undefined. One process for all."""
    cases = "\n".join(f"results[{i}] := {name}({_literals(args)})" for i, (name, args) in enumerate(CALLS))
    folder = tmp_path_factory.mktemp("opa")
    (folder / "calls.rego").write_text(f"package calls\n\n{cases}\n")
    found = opa.expression("data.calls.results", folder, "calls.rego")
    return {int(key): value for key, value in found.items()}


@pytest.mark.parametrize("number", range(len(CALLS)), ids=[f"{name}-{args}" for name, args in CALLS])
def test_a_builtin_gives_what_opa_gives(number, by_opa):
    name, arguments = CALLS[number]
    try:
        ours = {"value": builtins.call(name, json.loads(json.dumps(arguments)))}
    except builtins.Undefined:
        ours = {}
    assert ours == ({"value": by_opa[number]} if number in by_opa else {})


async def test_every_builtin_of_the_host_is_reached_from_a_policy():
    first = {name: next(args for called, args in CALLS if called == name) for name in HOST_BUILTINS}
    rules = "\n".join(
        f'deny contains "{name}" if {name}({_literals(arguments)}) == input.expected["{name}"]'
        for name, arguments in first.items()
    )
    module = await opa.compiler().compile({"all": f"package toolgate.tenant.all\n\n{rules}\n"}, {})
    expected = {name: builtins.call(name, arguments) for name, arguments in first.items()}
    with WasmPolicyEngine() as engine:
        policy = engine.prepare(module, b'{"roles":{}}', ())
        decision = policy.decide(json.dumps({"roles": [], "expected": expected}).encode())
    assert decision.reasons == tuple(f"tenant:{name}" for name in sorted(HOST_BUILTINS))


async def test_an_undefined_builtin_leaves_its_rule_out_as_in_opa():
    rego = 'package toolgate.tenant.v\n\ndeny contains "old" if semver.compare(input.endpoint, "2.0.0") < 0\n'
    module = await opa.compiler().compile({"v": rego}, {})
    with WasmPolicyEngine() as engine:
        policy = engine.prepare(module, b'{"roles":{"r":{"allow":{"globs":[{"what":[],"who":[]}]}}}}', ())
        call = b'{"roles":["r"],"action":"tools/call","endpoint":"%b","tool":{}}'
        assert policy.decide(call % b"1.0.0") == Decision(False, ("tenant:old",))
        assert policy.decide(call % b"none") == Decision(True, ("role:r",))


@pytest.mark.parametrize(
    "call",
    [
        'sprintf("%100000000d", [1])',
        "strings.any_prefix_match(numbers_as_text, numbers_as_text)",
    ],
)
async def test_a_builtin_that_would_run_away_outside_the_guest_fails_the_decision(call):
    rego = f"""package toolgate.tenant.own

numbers_as_text := [format_int(n, 10) | some n in numbers.range(1, 1100)]

deny contains "a" if {call} == input.endpoint
"""
    module = await opa.compiler().compile({"own": rego}, {})
    with WasmPolicyEngine() as engine:
        policy = engine.prepare(module, b'{"roles":{"r":{"allow":{"globs":[{"what":[],"who":[]}]}}}}', ())
        assert policy.decide(b'{"roles":["r"],"endpoint":"x","tool":{}}') == ERROR


def test_what_policies_may_use_exists_and_leaves_out_what_reaches_out(tmp_path):
    known = names(subprocess.run([opa.program(), "capabilities", "--current"], capture_output=True, check=True).stdout)
    assert known >= ALLOWED
    assert not NATIVE & set(HOST_BUILTINS)
    reaching = re.compile(
        r"http\.|net\.lookup|opa\.|rego\.|io\.|crypto\.|rand\.|uuid\.|time\.now|trace|print|providers\."
    )
    assert [name for name in sorted(ALLOWED) if reaching.match(name)] == []


def _literals(arguments) -> str:
    return ", ".join(json.dumps(argument) for argument in arguments)
