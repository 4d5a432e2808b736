"""How tools are named: tables, and properties that hold for any servers."""

from hypothesis import given
from hypothesis import strategies as st

from core import uris
from core.endpoint import TOOL_NAME, Endpoint, Member
from core.naming import Named, Naming, PrefixMode, fit, name_prompts, name_tools, place_resources


def named(*members: Member, mode: PrefixMode = "on_collision", **offered: list[str]) -> Naming:
    return name_tools(Endpoint(members=list(members), prefix=mode), offered)


def names(naming: Naming) -> list[str]:
    assert naming.problems == ()
    return [row.name for row in naming.tools]


def test_a_second_server_does_not_rename_the_first_ones_tools() -> None:
    git, hub = Member(server="git"), Member(server="hub")
    assert names(named(git, git=["log", "status"])) == ["log", "status"]
    both = named(git, hub, git=["log", "status"], hub=["log", "pulls"])
    assert names(both) == ["log", "status", "hub__log", "pulls"]


def test_the_table_leads_back_to_server_and_tool() -> None:
    naming = named(Member(server="a"), Member(server="b"), a=["x"], b=["x"])
    assert naming.tools == (Named("x", "a", "x"), Named("b__x", "b", "x"))


def test_always_prefixes_with_the_servers_name_or_the_members_own() -> None:
    naming = named(Member(server="git"), Member(server="hub", prefix="gh"), mode="always", git=["log"], hub=["log"])
    assert names(naming) == ["git__log", "gh__log"]


def test_never_makes_a_collision_a_problem_of_the_endpoint() -> None:
    naming = named(Member(server="a"), Member(server="b"), mode="never", a=["x"], b=["x", "y"])
    assert [row.name for row in naming.tools] == ["x", "y"]
    assert [p.path for p in naming.problems] == ["spec.members[1]"]
    assert "'x' of server 'a'" in naming.problems[0].rule


def test_renames_are_taken_literally_and_not_prefixed() -> None:
    naming = named(Member(server="a", rename={"x": "find"}), mode="always", a=["x", "y"])
    assert names(naming) == ["find", "a__y"]


def test_two_tools_may_swap_names() -> None:
    assert names(named(Member(server="a", rename={"x": "y", "y": "x"}), a=["x", "y"])) == ["y", "x"]


def test_a_rename_onto_a_name_in_use_is_a_problem_where_it_stands() -> None:
    naming = named(Member(server="a"), Member(server="b", rename={"z": "x"}), a=["x"], b=["z"])
    assert [p.path for p in naming.problems] == ["spec.members[1].rename.z"]


def test_a_later_plain_name_gives_way_to_a_rename() -> None:
    naming = named(Member(server="a", rename={"z": "x"}), Member(server="b"), a=["z"], b=["x"])
    assert names(naming) == ["x", "b__x"]


def test_a_prefixed_name_that_meets_a_rename_is_a_problem() -> None:
    first = Member(server="a", rename={"x": "b__y", "z": "y"})
    naming = named(first, Member(server="b"), a=["x", "z"], b=["y"])
    assert [p.path for p in naming.problems] == ["spec.members[1]"]
    assert "'x' of server 'a'" in naming.problems[0].rule


def test_separators_inside_names_make_no_two_tools_one() -> None:
    naming = named(Member(server="a"), Member(server="b"), mode="always", a=["b__c"], b=["c"])
    assert names(naming) == ["a__b__c", "b__c"]


def test_include_and_exclude_choose_by_glob_at_the_server() -> None:
    member = Member(server="a", include=["read_*", "stat"], exclude=["*_secret"])
    naming = named(member, a=["read_file", "read_secret", "stat", "write_file"])
    assert names(naming) == ["read_file", "stat"]


def test_a_renamed_tool_that_is_excluded_is_not_shown() -> None:
    assert names(named(Member(server="a", exclude=["x"], rename={"x": "y"}), a=["x"])) == []


def test_a_server_of_which_nothing_is_known_yet_is_an_empty_member() -> None:
    assert names(named(Member(server="a"), Member(server="b"), b=["x"])) == ["x"]


def test_names_too_long_or_foreign_are_cut_and_told_apart_by_a_hash() -> None:
    long_a, long_b = "x" * 100 + "a", "x" * 100 + "b"
    assert fit(long_a) != fit(long_b)
    assert fit(long_a) == "x" * 55 + "_" + fit(long_a)[-8:]
    assert fit("größe holen").startswith("gr__e_holen_")
    assert fit("plain.name-1_") == "plain.name-1_"


tool_names = st.lists(st.text(min_size=1, max_size=90), max_size=8, unique=True)
modes = st.sampled_from(["on_collision", "always"])


@given(st.lists(tool_names, min_size=1, max_size=4), modes)
def test_every_name_may_be_exposed_is_unique_and_leads_back(offers: list[list[str]], mode: PrefixMode) -> None:
    offered = {f"s{i}": tools for i, tools in enumerate(offers)}
    naming = name_tools(Endpoint(members=[Member(server=s) for s in offered], prefix=mode), offered)
    assert all(TOOL_NAME.fullmatch(row.name) for row in naming.tools)
    assert len({row.name for row in naming.tools}) == len(naming.tools)
    assert len(naming.tools) + len(naming.problems) == sum(map(len, offers))


@given(st.lists(tool_names, min_size=2, max_size=4), modes)
def test_adding_a_member_at_the_end_renames_nothing(offers: list[list[str]], mode: PrefixMode) -> None:
    offered = {f"s{i}": tools for i, tools in enumerate(offers)}
    members = [Member(server=s) for s in offered]
    before = name_tools(Endpoint(members=members[:-1], prefix=mode), offered).tools
    assert name_tools(Endpoint(members=members, prefix=mode), offered).tools[: len(before)] == before


def test_prompts_are_named_by_the_same_rules_with_renames_of_their_own() -> None:
    one = Member(server="a", rename={"x": "tool"}, rename_prompts={"x": "ask"}, prompts=["x", "y*"])
    naming = name_prompts(Endpoint(members=[one, Member(server="b")]), {"a": ["x", "y1", "z"], "b": ["ask", "é" * 90]})
    assert naming.problems == ()
    assert naming.tools[:3] == (Named("ask", "a", "x"), Named("y1", "a", "y1"), Named("b__ask", "b", "ask"))
    assert all(TOOL_NAME.fullmatch(row.name) for row in naming.tools)
    clash = name_prompts(
        Endpoint(members=[Member(server="a"), Member(server="b")], prefix="never"), {"a": ["p"], "b": ["p"]}
    )
    assert "prompt 'p' would be 'p', which is already prompt 'p' of server 'a'" in clash.problems[0].rule


def test_resources_keep_their_uris_but_for_those_an_earlier_member_has() -> None:
    endpoint = Endpoint(members=[Member(server="b"), Member(server="a"), Member(server="c")])
    placing = place_resources(endpoint, {"a": ["x:1", "x:2"], "b": ["x:1"], "c": ["a+x:1", "x:1"]})
    assert placing.rows == (
        Named("x:1", "b", "x:1"),
        Named("a+x:1", "a", "x:1"),
        Named("x:2", "a", "x:2"),
        Named("c+a+x:1", "c", "a+x:1"),
        Named("c+x:1", "c", "x:1"),
    )
    assert placing.lost == ()
    assert place_resources(endpoint, {"b": ["x:1", "a+x:1"], "a": ["x:1"]}).lost == (Named("a+x:1", "a", "x:1"),)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.lists(st.sampled_from(["x:1", "x:2", "a+x:1", "ui://p"]), max_size=4, unique=True),
        ),
        max_size=1,
    )
)
def test_no_uri_is_exposed_twice_and_each_leads_back(offered: list[dict[str, list[str]]]) -> None:
    endpoint = Endpoint(members=[Member(server=name) for name in "abc"])
    uris_of = offered[0] if offered else {}
    placing = place_resources(endpoint, uris_of)
    assert len({row.name for row in placing.rows}) == len(placing.rows)
    assert len(placing.rows) + len(placing.lost) == sum(map(len, uris_of.values()))
    assert all(row.name == row.tool or uris.original(row.server, row.name) == row.tool for row in placing.rows)
