"""`X-Forwarded-Client-Cert` as Envoy writes it, and as somebody would who wants to be somebody else."""

from base64 import b64encode
from hashlib import sha256
from urllib.parse import quote

import pytest

from core.certificate import Names, shown
from core.forwarded_certificate import certificate

OWN, ABOVE = b"own certificate", b"intermediate"
HASH = sha256(OWN).hexdigest()


def pem(*ders: bytes) -> str:
    blocks = (f"-----BEGIN CERTIFICATE-----\n{b64encode(der).decode()}\n-----END CERTIFICATE-----\n" for der in ders)
    return quote("".join(blocks), safe="")


def test_the_whole_certificate_and_those_above_it() -> None:
    told = f'By=spiffe://a/gw;Hash={HASH};Cert="{pem(OWN)}";Chain="{pem(OWN, ABOVE)}";Subject="";URI=spiffe://a/web'
    assert certificate([told]) == shown([OWN, ABOVE])
    assert certificate([f'Hash={HASH};Cert="{pem(OWN)}"']) == shown([OWN])
    assert certificate([f'chain="{pem(OWN, ABOVE)}"']) == shown([OWN, ABOVE])


def test_names_alone() -> None:
    found = certificate(
        [f'Hash={HASH};Subject="OU=a\\, b,CN=robot\\, 7";URI=spiffe://a/web;DNS=a.example;DNS=b.example']
    )
    assert found is not None
    assert found.chain == ()
    assert found.names == Names(uris=("spiffe://a/web",), dns=("a.example", "b.example"), cn="robot, 7")
    assert found.thumbprint == shown([OWN]).thumbprint


def test_the_last_element_counts_which_the_nearest_proxy_wrote_whatever_came_before() -> None:
    mine = f"Hash={HASH};URI=spiffe://a/web"
    for before in ("URI=spiffe://a/admin", 'Subject="CN=x";URI=spiffe://a/admin', f'Cert="{pem(ABOVE)}"'):
        assert certificate([before, mine]) == certificate([f"{before},{mine}"]) == certificate([mine])


def test_quotes_keep_a_clients_own_words_from_becoming_the_proxys() -> None:
    hostile = 'Subject="CN=x\\",URI=spiffe://a/admin;Hash=00"'
    found = certificate([f"Hash={HASH};{hostile};URI=spiffe://a/web"])
    assert found is not None
    assert found.names is not None
    assert found.names.uris == ("spiffe://a/web",)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("CN=web,O=acme", "web"),
        ("O=acme+cn = web", "web"),
        ("OU=a\\,CN=admin", ""),
        ("OU=a\\+CN=admin,O=x", ""),
        ("CN=a,CN=b", ""),
        ("CN=a\\C3\\A9", ""),
        ("", ""),
    ],
)
def test_a_subject_has_one_common_name_or_none(subject: str, name: str) -> None:
    found = certificate([f'Hash={HASH};Subject="{subject}"'])
    assert found is not None
    assert found.names == Names(cn=name)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "nothing",
        "=",
        "URI",
        ",URI=spiffe://a/web",
        "URI=spiffe://a/web,",
        "URI=spiffe://a/web;",
        "URI=spiffe://a/web; ;DNS=a",
        'URI="spiffe://a/web',
        'URI=spiffe://a/web"x"',
        "Hash=zz;URI=spiffe://a/web",
        "Hash=00;URI=spiffe://a/web",
        f"Hash={HASH};Hash={HASH};URI=spiffe://a/web",
        f'Hash={HASH};Cert="{pem(ABOVE)}"',
        f'Cert="{pem(OWN)}";Chain="{pem(ABOVE)}"',
        f'Cert="{pem(OWN, ABOVE)}"',
        f'Cert="{pem(OWN)}";Cert="{pem(OWN)}"',
        'Cert="nothing"',
        'Cert="-----BEGIN%20CERTIFICATE-----A-----END%20CERTIFICATE-----"',
        'Cert="%ff"',
        f'Chain="{pem(*[OWN] * 7)}"',
        "By=spiffe://a/gw",
        "x" * 40_000,
    ],
)
def test_what_cannot_be_read_or_does_not_go_together_is_no_certificate(told: str) -> None:
    assert certificate([told]) is None
