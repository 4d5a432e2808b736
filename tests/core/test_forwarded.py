"""Who the client is, where proxies are in between: only a trusted one's word counts."""

import pytest

from core.forwarded import HOPS_MAX, Proxies, counted

NEAR = Proxies(["10.0.0.0/8", "fd00::/8"])
RFC = Proxies(["10.0.0.0/8", "fd00::/8"], "forwarded")


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        ("192.0.2.9", ["203.0.113.1"], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.1:4711"], "203.0.113.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.1,\x00"], "10.0.0.1"),
        ("10.0.0.1", [", ".join(["203.0.113.1", *["10.0.0.2"] * HOPS_MAX])], "10.0.0.2"),
        ("", ["203.0.113.1"], ""),
        ("unix", ["203.0.113.1"], "unix"),
    ],
)
def test_x_forwarded_for_is_read_from_its_end_as_far_as_proxies_are_trusted(
    peer: str, values: list[str], client: str
) -> None:
    assert NEAR.client(peer, values) == client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=203.0.113.1"], "203.0.113.1"),
        (['For="203.0.113.1:80";proto=https;by=10.0.0.1'], "203.0.113.1"),
        (['for="[2001:db8::1]:4711", for=10.0.0.2'], "2001:db8::1"),
        (["for=6.6.6.6, by=x;for=203.0.113.1"], "203.0.113.1"),
        (["for=203.0.113.1, for=_hidden"], "10.0.0.1"),
        (["for=203.0.113.1, for=unknown, for=10.0.0.2"], "10.0.0.2"),
        (['for="203.0.113.1, for=6.6.6.6'], "10.0.0.1"),
        (["proto=https"], "10.0.0.1"),
        (['host="a,for=6.6.6.6";for=203.0.113.1'], "203.0.113.1"),
    ],
)
def test_forwarded_is_read_alike(values: list[str], client: str) -> None:
    assert RFC.client("10.0.0.1", values) == client


@pytest.mark.parametrize("network", ["10.0.0.0/33", "proxy.example", "10.0.0.1/8"])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError):
        Proxies([network])


def test_an_ipv6_network_counts_as_one() -> None:
    assert counted("192.0.2.1") == "192.0.2.1"
    assert counted("2001:db8:1:2:3:4:5:6") == counted("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert counted("::ffff:192.0.2.1") == "192.0.2.1"
    assert counted("nobody") == counted("") == ""
