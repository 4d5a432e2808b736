"""Templates read backwards."""

import time

import pytest

from core.uri_template import MAX_EXPRESSIONS, Template


@pytest.mark.parametrize(
    ("template", "uri", "matches"),
    [
        ("note://{id}", "note://7", True),
        ("note://{id}", "note://", True),
        ("note://{id}", "note://a/b", False),
        ("note://{id}", "node://7", False),
        ("note://{id}/text", "note://7/text", True),
        ("note://{id}/text", "note://7/texts", False),
        ("note://{id}/text", "note://text", False),
        ("file:///{+path}", "file:///a/b/c.txt", True),
        ("file:///{+path}.txt", "file:///a.txt.txt", True),
        ("file:///{+path}.txt", "file:///a.txt.md", False),
        ("{+uri}", "anything:at/all", True),
        ("{scheme}://x", "http://x", True),
        ("db://{table}{?limit,offset}", "db://users", True),
        ("db://{table}{?limit,offset}", "db://users?limit=1&offset=2", True),
        ("db://users{?limit}", "db://usersandmore", False),
        ("db://users{?limit}{&offset}{#part}", "db://users#a", True),
        ("a:b{/x*}", "a:b/c/d", True),
        ("a:b{/x*}", "a:bc", False),
        ("a:b{.ext}", "a:b.md", True),
        ("a:{x:3}-{y}", "a:longer-z", True),
        ("a:{x,y}", "a:1,2", True),
        ("plain:uri", "plain:uri", True),
        ("plain:uri", "plain:uri2", False),
        ("ü:{o}ß", "ü:çß", True),
    ],
)
def test_a_uri_is_of_the_template_that_expands_to_it(template: str, uri: str, matches: bool) -> None:
    assert Template(template).matches(uri) is matches


@pytest.mark.parametrize("broken", ["a:{", "a:}", "a:{b", "a:{{b}}", "a:{}", "a:{b c}", "a:{b,}", "a:{!b}", "a:{b}c}"])
def test_what_is_no_template_is_told(broken: str) -> None:
    with pytest.raises(ValueError, match=r"expression|brace"):
        Template(broken)


def test_expressions_are_bounded() -> None:
    Template("a:" + "{b}" * MAX_EXPRESSIONS)
    with pytest.raises(ValueError, match="at most 64 expressions"):
        Template("a:" + "{b}" * (MAX_EXPRESSIONS + 1))


def test_what_a_template_says_of_itself() -> None:
    one = Template("logs://{day}/{level}.txt")
    assert (one.prefix, one.literals) == ("logs://", 12)
    assert Template("a:b").prefix == "a:b"


def test_a_hostile_uri_takes_time_in_proportion_to_its_length() -> None:
    hostile = Template("a:" + "{x}a" * 60 + "!")

    def cost(length: int) -> float:
        began = time.process_time()
        assert not hostile.matches("a:" + "a" * length)
        return time.process_time() - began

    cost(200)
    short, long = min(cost(1000) for _ in range(3)), min(cost(4000) for _ in range(3))
    assert long < short * 12
