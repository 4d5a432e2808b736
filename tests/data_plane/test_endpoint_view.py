"""What a name or a URI is at an endpoint, and at one server of it."""

import pytest

from core import uris
from core.server import HttpTransport
from core.snapshot import Backend, Catalogue, CompiledPrompt, CompiledResource, CompiledTool, Offer
from data_plane.endpoint_view import EndpointView, view


def entry(server: str, upstream_name: str, name: str = "") -> CompiledResource:
    return CompiledResource(name=name or upstream_name, server=server, upstream_name=upstream_name, definition=b"{}")


def unlisted(server: str) -> CompiledResource:
    return CompiledResource(name="", server=server, upstream_name="", definition=b"", risk="high")


def backend(server: str, *offers: Offer) -> Backend:
    return Backend(server=server, transport=HttpTransport(url="http://x/mcp"), offers=offers)


def seen(*servers: str, **members: object) -> EndpointView:
    catalogue = Catalogue(endpoint="e", servers=servers, **members)  # type: ignore[arg-type]
    return view(catalogue, b"digest", {server: backend(server, "resources") for server in servers})


def where(found: CompiledResource | None) -> tuple[str, str, str] | None:
    return (found.server, found.name, found.upstream_name) if found is not None else None


def test_a_listed_uri_wins_over_templates_and_the_template_that_says_most_over_others() -> None:
    one = seen(
        "a",
        "b",
        resources=(entry("a", "file:///x"),),
        templates=(entry("a", "file:///{+path}"), entry("b", "file:///logs/{day}")),
    )
    assert where(one.resource("file:///x")) == ("a", "file:///x", "file:///x")
    assert where(one.resource("file:///y/z")) == ("a", "file:///y/z", "file:///y/z")
    assert where(one.resource("file:///logs/1")) == ("b", "file:///logs/1", "file:///logs/1")
    assert one.resource("other:x") is None


def test_a_uri_that_a_server_might_read_otherwise_is_nothing_unless_it_is_listed() -> None:
    one = seen("a", resources=(entry("a", "file:///x/../y"),), templates=(entry("a", "file:///{+path}"),))
    assert one.resource("file:///x/../y") is not None
    assert one.resource("file:///public/../y") is None
    assert one.resource("file:///%70ublic") is None


def test_a_uri_longer_than_any_server_needs_is_nothing() -> None:
    one = seen("a", templates=(entry("a", "file:///{+path}"),), unlisted=(unlisted("a"),))
    assert one.resource("file:///" + "a" * (uris.MAX_CHARS - 8)) is not None
    assert one.resource("file:///" + "a" * uris.MAX_CHARS) is None


def test_what_a_caller_made_up_is_told_from_what_is_listed() -> None:
    one = seen("a", resources=(entry("a", "x:1"),), templates=(entry("a", "t:{id}"),), unlisted=(unlisted("a"),))
    targets = {uri: one.resource(uri) for uri in ("x:1", "t:7", "any:thing")}
    assert {uri: one.lists(found) for uri, found in targets.items() if found is not None} == {
        "x:1": True,
        "t:7": False,
        "any:thing": False,
    }
    template = one.template("t:{id}")
    assert template is not None
    assert one.lists(template)


def test_a_uri_nobody_lists_goes_to_the_only_member_with_resources() -> None:
    alone = seen("a", "b", unlisted=(unlisted("a"),))
    found = alone.resource("any:thing")
    assert where(found) == ("a", "any:thing", "any:thing")
    assert found is not None
    assert found.risk == "high"
    assert alone.resource("any:thing/../other") is None
    assert seen("a", "b", unlisted=(unlisted("a"), unlisted("b"))).resource("any:thing") is None


def test_what_two_servers_have_is_told_apart_there_and_back() -> None:
    one = seen(
        "a",
        "b",
        resources=(entry("a", "x:1"), entry("b", "x:1", "b+x:1"), entry("b", "x:2")),
        templates=(entry("a", "t:{id}"), entry("b", "t:{id}", "b+t:{id}")),
        unlisted=(unlisted("a"), unlisted("b")),
    )
    for server, uri, shown in [
        ("a", "x:1", "x:1"),
        ("b", "x:1", "b+x:1"),
        ("b", "x:2", "x:2"),
        ("a", "t:7", "t:7"),
        ("b", "t:7", "b+t:7"),
        # Nobody lists it, and it leads nowhere: as the server wrote it.
        ("b", "new:1", "new:1"),
        # Listed by the other only: what this server means by it is its own.
        ("a", "x:2", "a+x:2"),
    ]:
        assert one.exposed_uri(server, uri) == shown
        back = one.resource(shown)
        assert shown == "new:1" or (back is not None and (back.server, back.upstream_name) == (server, uri))


def test_a_rewritten_uri_is_so_too_where_its_server_is_alone() -> None:
    whole = seen("a", "b", resources=(entry("a", "x:1"), entry("b", "x:1", "b+x:1")))
    narrow = whole.narrowed("b")
    assert narrow is not None
    assert (narrow.renames, narrow.exposed_uri("b", "x:1")) == (True, "b+x:1")
    assert where(narrow.resource("b+x:1")) == ("b", "b+x:1", "x:1")
    assert not seen("a", resources=(entry("a", "x:1"),)).renames


def test_a_rewritten_page_of_an_app_leads_to_its_server() -> None:
    one = seen("a", "b", resources=(entry("a", "ui://cart"), entry("b", "ui://cart", "ui://b/cart")))
    assert where(one.resource("ui://b/cart")) == ("b", "ui://b/cart", "ui://cart")
    assert one.exposed_uri("b", "ui://cart") == "ui://b/cart"


def test_an_endpoint_narrowed_to_a_server_is_that_server_alone() -> None:
    tools = tuple(CompiledTool(name=n, server=s, upstream_name=n, definition=b"", digest=b"") for n, s in ["xa", "yb"])
    prompts = (CompiledPrompt(name="p", server="b", upstream_name="p", definition=b""),)
    whole = seen(
        "a",
        "b",
        tools=tools,
        prompts=prompts,
        resources=(entry("a", "x:1"), entry("b", "x:2")),
        unlisted=(unlisted("a"), unlisted("b")),
        unavailable=("a",),
        instructions="Be kind.\n\n## a\n\nA.\n\n## b\n\nB.",
        own_instructions="Be kind.",
        server_instructions={"a": "A.", "b": "B."},
    )
    narrow = whole.narrowed("b")
    assert narrow is not None
    assert (list(narrow.tools), list(narrow.prompts), list(narrow.resources)) == (["y"], ["p"], ["x:2"])
    assert narrow.catalogue.instructions == "Be kind.\n\n## b\n\nB."
    assert narrow.catalogue.unavailable == ()
    assert where(narrow.resource("any:thing")) == ("b", "any:thing", "any:thing")
    assert narrow is whole.narrowed("b")
    assert narrow.digest != whole.digest
    assert set(narrow.offers) == {"b"}
    assert whole.narrowed("c") is None


def test_members_of_a_snapshot_that_does_not_name_them_are_those_of_its_tools() -> None:
    tool = CompiledTool(name="x", server="a", upstream_name="x", definition=b"", digest=b"")
    assert seen(tools=(tool,)).narrowed("a") is not None


def test_a_template_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="brace"):
        seen("a", templates=(entry("a", "x:{"),))


def test_servers_of_which_a_caller_sees_nothing_are_not_spoken_of() -> None:
    one = seen(
        "a",
        "b",
        unavailable=("a", "b"),
        own_instructions="Be kind.",
        server_instructions={"a": "I am a.", "b": "I am b."},
        instructions="Be kind.\n\n## a\n\nI am a.\n\n## b\n\nI am b.",
    )
    to_some = one.without(frozenset({"b"}))
    assert to_some.catalogue.unavailable == ("a",)
    assert to_some.catalogue.instructions == "Be kind.\n\n## a\n\nI am a."
    assert to_some.digest != one.digest
    assert one.without(frozenset({"c"})) is one


def test_an_offer_counts_for_who_sees_something_of_what_it_is_about() -> None:
    offers: tuple[Offer, ...] = ("tools", "prompts", "resources", "subscribe", "completions", "logging", "tasks", "ui")
    tool = CompiledTool(name="t", server="a", upstream_name="t", definition=b"{}", digest=b"")
    prompt = CompiledPrompt(name="p", server="a", upstream_name="p", definition=b"{}")
    known = Catalogue(
        endpoint="e", servers=("a", "b"), tools=(tool,), prompts=(prompt,), resources=(entry("a", "x:1"),)
    )
    one = view(known, b"digest", {"a": backend("a", *offers), "b": backend("b")})
    everything, nothing = one.entries(), dict.fromkeys(one.entries(), ())
    assert one.offered(everything) == frozenset(offers)
    # Nothing to complete is hidden by hiding resources, and nothing to be told of.
    assert one.offered(nothing) == frozenset()
    assert one.offered({**nothing, "tools": (tool,)}) == {"tools", "tasks", "ui", "logging"}
    assert one.offered({**everything, "prompts": ()}) == frozenset(offers) - {"prompts", "completions"}
    assert one.offered({**everything, "resources": ()}) == frozenset(offers) - {"resources", "subscribe"}


def test_what_there_is_nothing_of_yet_is_offered_to_everybody() -> None:
    one = view(Catalogue(endpoint="e", servers=("a",)), b"digest", {"a": backend("a", "prompts", "logging")})
    assert one.offered(one.entries()) == {"tools", "prompts", "logging"}
