"""Prompts, resources and templates as they are taken over from a look."""

import msgspec
import pytest

from core.definition import Known, Learnt, learn
from core.offering import MOST, OFFERING_BYTES, Offering, offered
from core.server import Observation, ObservedEntry


def prompt(name: str, **members: object) -> ObservedEntry:
    return ObservedEntry(name=name, definition=msgspec.json.encode({"name": name, **members}))


def resource(uri: str, **members: object) -> ObservedEntry:
    return ObservedEntry(name=uri, definition=msgspec.json.encode({"uri": uri, "name": "r", **members}))


def template(uri: str) -> ObservedEntry:
    return ObservedEntry(name=uri, definition=msgspec.json.encode({"uriTemplate": uri, "name": "t"}))


def saw(*prompts: ObservedEntry, **more: object) -> Observation:
    return Observation(era="modern", prompts=list(prompts), offers=["prompts"], **more)  # type: ignore[arg-type]


def look(known: Known, seen: Observation) -> Learnt:
    return learn(known, seen, 100.0, approve_first=True, approve_changes=False)


def test_what_is_seen_is_in_force_at_once_and_byte_for_byte() -> None:
    odd = ObservedEntry(name="a:b", definition=b'{ "uri":"a:b","name":"n", "_meta":{"x":1.50}, "x-unknown":[] }')
    learnt = look(Known(), saw(prompt("p"), resources=[odd], templates=[template("a:{b}")]))
    assert learnt.visible
    assert learnt.known.offering == Offering(
        prompts=(prompt("p"),), resources=(odd,), templates=(template("a:{b}"),), offers=("prompts",)
    )


def test_a_change_is_seen_and_order_and_spacing_are_none() -> None:
    first = look(Known(), saw(prompt("p", title="x", description="y"), prompt("q"))).known
    spaced = ObservedEntry(name="p", definition=b'{"description": "y", "title": "x", "name": "p"}')
    again = look(first, saw(prompt("q"), spaced))
    assert (again.visible, again.known.offering) == (False, first.offering)
    assert look(first, saw(prompt("q"), prompt("p", title="z", description="y"))).visible
    assert look(first, saw(prompt("q"))).known.offering.prompts == (prompt("q"),)


def test_a_capability_that_comes_or_goes_is_seen() -> None:
    first = look(Known(), saw()).known
    more = look(first, msgspec.structs.replace(saw(), offers=["prompts", "completions", "unheard_of"]))
    assert (more.visible, more.known.offering.offers) == (True, ("completions", "prompts"))


def test_a_list_that_could_not_be_had_stays_as_it_was() -> None:
    first = look(Known(), saw(prompt("p"), resources=[resource("a:b")])).known
    second = look(first, saw(resources=[], unlisted={"prompts": "refuses prompts/list: no"}))
    assert second.known.offering.prompts == (prompt("p"),)
    assert second.known.offering.resources == ()
    assert second.unusable == ("prompts: refuses prompts/list: no",)


def test_a_failed_look_leaves_everything_as_it_was() -> None:
    first = look(Known(), saw(prompt("p"))).known
    assert look(first, Observation(error="away")).known.offering == first.offering


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ObservedEntry(name="relative/path", definition=b'{"uri":"relative/path"}'), "must be a URI with a scheme"),
        (ObservedEntry(name="a:\n", definition=b'{"uri":"a:\\n"}'), "control character"),
        (ObservedEntry(name="a:b", definition=b'{"uri":"a:c"}'), "must hold uri"),
        (ObservedEntry(name="a:b", definition=b"[]"), "no JSON object"),
        (ObservedEntry(name="a:b", definition=b'{"uri":"a:b","x":' + b"[" * 9000 + b"]" * 9000 + b"}"), "no JSON"),
        (resource("a:b", text="x" * 70_000), "a definition may have 65536 bytes"),
        (resource("a:" + "b" * 2048), "1-2048 characters"),
    ],
)
def test_what_cannot_be_a_resource_is_left_out_with_the_reason(entry: ObservedEntry, reason: str) -> None:
    offering, refused = offered(Offering(), saw(resources=[entry, resource("good:one")]))
    assert [one.name for one in offering.resources] == ["good:one"]
    assert len(refused) == 1
    assert reason in refused[0]


def test_a_server_cannot_offer_without_end() -> None:
    many, refused = offered(Offering(), saw(*(prompt(f"p{i}") for i in range(MOST["prompts"] + 1))))
    assert (len(many.prompts), len(refused)) == (MOST["prompts"], 1)
    heavy, refused = offered(Offering(), saw(resources=[resource(f"a:{i}", x="y" * 60_000) for i in range(100)]))
    assert sum(len(one.definition) for one in heavy.resources) <= OFFERING_BYTES
    assert len(heavy.resources) + len(refused) == 100


def test_a_template_that_cannot_be_read_is_left_out_with_the_reason() -> None:
    offering, refused = offered(Offering(), saw(templates=[template("a:{b"), template("a:{b}")]))
    assert [one.name for one in offering.templates] == ["a:{b}"]
    assert refused == ["a:{b: has a brace without its partner"]
