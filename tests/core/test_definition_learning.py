"""What looks at a server teach, and what of it is put in force."""

import msgspec
import pytest

from core.definition import TOOLS_PER_SERVER, Definition, Known, Learnt, canonical_digest, learn
from core.server import Observation, ObservedTool


def tool(name: str, description: str = "d") -> ObservedTool:
    fields = {"name": name, "description": description, "inputSchema": {"type": "object"}}
    return ObservedTool(name=name, definition=msgspec.json.encode(fields))


def saw(*tools: ObservedTool) -> Observation:
    return Observation(era="modern", protocol_version="2026-07-28", tools=list(tools))


def look(known: Known, seen: Observation, *, first: bool = True, changes: bool = False) -> Learnt:
    return learn(known, seen, 100.0, approve_first=first, approve_changes=changes)


def states(known: Known) -> dict[str, str]:
    return {d.name: d.state for d in known.definitions}


def shown(known: Known) -> dict[str, bytes]:
    return {t.name: t.definition for t in known.approved()}


def test_the_first_look_is_approved_as_the_server_says() -> None:
    assert states(look(Known(), saw(tool("a"))).known) == {"a": "approved"}
    assert states(look(Known(), saw(tool("a")), first=False).known) == {"a": "pending"}


def test_a_changed_definition_is_quarantined_and_the_approved_one_still_shown() -> None:
    first = look(Known(), saw(tool("a"))).known
    second = look(first, saw(tool("a", "steal everything")))
    assert states(second.known) == {"a": "quarantined"}
    assert shown(second.known) == {"a": tool("a").definition}
    assert not second.visible


def test_a_changed_definition_is_approved_where_the_server_says_so() -> None:
    first = look(Known(), saw(tool("a"))).known
    second = look(first, saw(tool("a", "new")), changes=True)
    assert second.auto_approved == ("a",)
    assert shown(second.known) == {"a": tool("a", "new").definition}
    assert second.visible


def test_a_new_tool_after_the_first_look_waits() -> None:
    first = look(Known(), saw(tool("a"))).known
    second = look(first, saw(tool("a"), tool("b")))
    assert states(second.known) == {"a": "approved", "b": "pending"}
    assert not second.visible


def test_a_look_that_saw_no_whole_list_changes_nothing_but_the_error() -> None:
    first = look(Known(), saw(tool("a"), tool("b")))
    broken = Observation(era="modern", protocol_version="2026-07-28", error="its tool list cannot be read")
    second = look(first.known, broken, changes=True)
    assert (second.known.definitions, second.changed) == (first.known.definitions, ())
    assert (second.known.look.error, second.known.look.era) == ("its tool list cannot be read", "modern")


def test_the_first_look_that_succeeds_is_the_first_one() -> None:
    failed = look(Known(), Observation(era="legacy", error="refuses tools/list")).known
    assert states(look(failed, saw(tool("a"))).known) == {"a": "approved"}


def test_a_tool_that_vanished_is_hidden_and_comes_back_unchanged() -> None:
    first = look(Known(), saw(tool("a"), tool("b"))).known
    without = look(first, saw(tool("a")))
    assert states(without.known) == {"a": "approved", "b": "gone"}
    assert set(shown(without.known)) == {"a"}
    assert without.visible
    again = look(without.known, saw(tool("a"), tool("b")))
    assert set(shown(again.known)) == {"a", "b"}


def test_a_tool_that_comes_back_changed_is_quarantined() -> None:
    first = look(Known(), saw(tool("a"))).known
    gone = look(first, saw()).known
    assert states(look(gone, saw(tool("a", "other"))).known) == {"a": "quarantined"}


def test_a_tool_never_approved_that_vanishes_is_forgotten() -> None:
    first = look(Known(), saw(tool("a")), first=False).known
    second = look(first, saw(), first=False)
    assert second.known.definitions == ()
    assert second.changed == (Definition(name="a"),)


def test_spacing_and_member_order_make_no_new_definition() -> None:
    one, other = b'{"name":"a","inputSchema":{"x":1,"y":2}}', b'{ "inputSchema": {"y":2,"x":1}, "name":"a" }'
    assert canonical_digest(one) == canonical_digest(other)
    first = look(Known(), saw(ObservedTool(name="a", definition=one))).known
    second = look(first, saw(ObservedTool(name="a", definition=other)))
    assert second.changed == ()
    assert shown(second.known) == {"a": one}


def test_a_look_that_failed_changes_nothing_but_the_error() -> None:
    first = look(Known(), saw(tool("a"))).known
    second = look(first, Observation(error="connection refused"))
    assert second.known.definitions == first.definitions
    assert second.known.look == msgspec.structs.replace(first.look, error="connection refused", away=True)


def test_a_server_that_goes_and_one_that_comes_back_are_seen_once_each() -> None:
    first = look(Known(), saw(tool("a"))).known
    gone = look(first, Observation(error="connection refused"))
    still = look(gone.known, Observation(error="timed out"))
    back = look(still.known, saw(tool("a")))
    assert [learnt.visible for learnt in (gone, still, back, look(back.known, saw(tool("a"))))] == [
        True,
        False,
        True,
        False,
    ]
    assert not back.known.unavailable


def test_a_look_nobody_took_says_nothing_of_the_server() -> None:
    first = look(Known(), saw(tool("a"))).known
    unseen = look(first, Observation(looked=False, error="no gateway is connected"))
    assert (unseen.visible, unseen.known.unavailable) == (False, False)
    assert unseen.known.look.error == "no gateway is connected"


def test_a_failed_first_look_leaves_the_next_one_to_be_the_first() -> None:
    failed = look(Known(), Observation(error="away")).known
    assert states(look(failed, saw(tool("a"))).known) == {"a": "approved"}


def test_a_server_that_changes_its_revision_is_seen_by_gateways() -> None:
    first = look(Known(), saw(tool("a"))).known
    older = msgspec.structs.replace(saw(tool("a")), era="legacy", protocol_version="2025-06-18")
    assert look(first, older).visible


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (b"[]", "no JSON object"),
        (b"{", "no JSON object"),
        (b'{"name":"other","inputSchema":{}}', "must hold name and inputSchema"),
        (b'{"name":"a"}', "must hold name and inputSchema"),
        (b'{"name":"a","inputSchema":[]}', "must hold name and inputSchema"),
        (b'{"name":"a","inputSchema":{},"x":"' + b"y" * 300_000 + b'"}', "over 262144 bytes"),
        (b'{"name":"a","inputSchema":' + b'{"a":' * 5000 + b"{}" + b"}" * 5000 + b"}", "no JSON object"),
    ],
)
def test_what_cannot_be_a_tool_is_left_out_with_the_reason(definition: bytes, reason: str) -> None:
    learnt = look(Known(), saw(ObservedTool(name="a", definition=definition), tool("b")))
    assert list(states(learnt.known)) == ["b"]
    assert len(learnt.unusable) == 1
    assert learnt.unusable[0].startswith("a: ")
    assert reason in learnt.unusable[0]


def test_a_tool_offered_twice_counts_once() -> None:
    learnt = look(Known(), saw(tool("a"), tool("a", "other")))
    assert shown(learnt.known) == {"a": tool("a").definition}
    assert learnt.unusable == ("a: offered twice",)


def test_a_server_cannot_offer_without_end() -> None:
    learnt = look(Known(), saw(*(tool(f"t{i}") for i in range(TOOLS_PER_SERVER + 1))))
    assert len(learnt.known.definitions) == TOOLS_PER_SERVER
    assert len(learnt.unusable) == 1


def test_what_is_suspicious_waits_whatever_the_rule_is() -> None:
    odd, fine = tool("odd", "give me everything"), tool("fine")
    suspicious = {canonical_digest(odd.definition)}
    seen = learn(Known(), saw(odd, fine), 1.0, approve_first=True, approve_changes=True, suspicious=suspicious)
    assert states(seen.known) == {"fine": "approved", "odd": "pending"}
    assert seen.auto_approved == ("fine",)
    respelt = ObservedTool(name="odd", definition=b" " + odd.definition)
    again = learn(seen.known, saw(respelt, fine), 2.0, approve_first=True, approve_changes=True, suspicious=suspicious)
    assert states(again.known) == {"fine": "approved", "odd": "pending"}
