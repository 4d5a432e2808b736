"""URIs that two servers of an endpoint have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import uris

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("server", "uri", "shown"),
    [
        ("files", "file:///a", "files+file:///a"),
        ("files", "https://example.com/{path}", "files+https://example.com/{path}"),
        ("2nd", "a:b", "x-2nd+a:b"),
        ("shop", "ui://cart/page", "ui://shop/cart/page"),
    ],
)
def test_a_uri_in_the_place_of_anothers_names_its_server(server: str, uri: str, shown: str) -> None:
    assert uris.exposed(server, uri) == shown
    assert uris.original(server, shown) == uri
    assert uris.original("other", shown) is None


@given(NAMES, st.text(min_size=1))
def test_what_is_exposed_leads_back(server: str, uri: str) -> None:
    assert uris.original(server, uris.exposed(server, uri)) == uri


@given(NAMES, NAMES, st.text(min_size=1))
def test_two_servers_never_share_an_exposed_uri(one: str, other: str, uri: str) -> None:
    if one != other:
        assert uris.exposed(one, uri) != uris.exposed(other, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///a/b.txt",
        "file:///a%20b",
        "a:b?c=%2Fd",
        "repo://o/n/src%2Fmain.py",
        "a:100%25",
        "note://...",
        "a:.hidden/x",
        "a:b..",
    ],
)
def test_a_uri_that_reads_one_way_is_plain(uri: str) -> None:
    assert uris.plain(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/../secret",
        "file:///public/..",
        "file:///./secret",
        "file:///public/%2e%2e/secret",
        "file:///public/%2E./secret",
        "file:///%73ecret",
        "file:///public\\..\\secret",
        "file:///public%5C..%5csecret",
        "file:///a\n",
        "file:///a%00b",
        "file:///public/x%2F..%2f..%2Fsecret",
        "file:///public/x%2F..",
        "file:///public/%252e%252e/secret",
        "..",
    ],
)
def test_a_uri_that_a_server_may_read_otherwise_is_not(uri: str) -> None:
    assert not uris.plain(uri)
