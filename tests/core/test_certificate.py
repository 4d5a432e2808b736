"""Whom the names of a certificate stand for, when revocation lists hold, and what a declaration must say."""

import pytest

from core.certificate import (
    BadCertificate,
    CertificateAuthority,
    Link,
    Named,
    NameRule,
    Names,
    RevocationList,
    named,
    spiffe_fault,
    until_revocable,
)

ANCHOR = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
CRL = "-----BEGIN X509 CRL-----\nQUJD\n-----END X509 CRL-----\n"
AGENT = NameRule(kind="uri", match="spiffe://acme.example/agents/*", agent="$1")


def rule(kind: str = "uri", match: str = "spiffe://acme.example/*", agent: str = "$1", user: str = "") -> NameRule:
    return NameRule(kind=kind, match=match, agent=agent, user=user)  # type: ignore[arg-type]


def authority(**changes: object) -> CertificateAuthority:
    return CertificateAuthority(**{"anchors_pem": ANCHOR, "names": [AGENT], **changes})  # type: ignore[arg-type]


# === names ===


@pytest.mark.parametrize(
    ("names", "rules", "expected"),
    [
        (Names(uris=("spiffe://acme.example/agents/web",)), [AGENT], Named(agent="web")),
        (
            Names(uris=("spiffe://acme.example/ns/prod/sa/web",)),
            [rule(match="spiffe://acme.example/ns/*/sa/*", agent="$2-$1")],
            Named(agent="web-prod"),
        ),
        (Names(dns=("Build.CI.acme.example",)), [rule("dns", "*.ci.acme.example")], Named(agent="build")),
        (Names(emails=("Ada@acme.example",)), [rule("email", "*@acme.example", "", "$1")], Named(user="ada")),
        (Names(cn="robot 7"), [rule("cn", "*", "legacy", "$1")], Named(agent="legacy", user="robot 7")),
        (
            Names(uris=("https://acme.example/a",), emails=("bob@acme.example",)),
            [rule("uri", "https://acme.example/*"), rule("email", "*@acme.example", "", "$1")],
            Named(agent="a", user="bob"),
        ),
        (Names(dns=("b.example", "other.example")), [rule("dns", "b.example", "bot")], Named(agent="bot")),
    ],
)
def test_the_first_rule_that_matches_says_which_agent_and_which_user(
    names: Names, rules: list[NameRule], expected: Named
) -> None:
    assert named(names, rules) == expected


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://acme.example/agents/web/more",
        "spiffe://acme.example/agents",
        "spiffe://other.example/agents/web",
        "spiffe://acme.example.evil/agents/web",
        "https://acme.example/agents/web",
        "spiffe://acme.example/Agents/web",
    ],
)
def test_a_name_of_another_trust_domain_or_another_shape_is_nobodys(name: str) -> None:
    assert named(Names(uris=(name,)), [AGENT]) == Named()


@pytest.mark.parametrize("name", ["a.b.ci.acme.example", "ci.acme.example", ".ci.acme.example", "x-ci.acme.example"])
def test_a_star_is_one_whole_label_and_never_empty(name: str) -> None:
    assert named(Names(dns=(name,)), [rule("dns", "*.ci.acme.example")]) == Named()


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (Names(uris=("spiffe://acme.example/agents/a", "spiffe://acme.example/agents/b")), "beside a SPIFFE id"),
        (Names(uris=("spiffe://acme.example/agents/a", "https://x.example/")), "beside a SPIFFE id"),
        (Names(uris=("spiffe://acme.example/agents/../admin",)), "segments"),
        (Names(uris=("spiffe://acme.example/agents//a",)), "segments"),
        (Names(uris=("spiffe://acme.example/agents/a?b",)), "segments"),
        (Names(uris=("spiffe://acme.example/agents/a/",)), "segments"),
        (Names(uris=("SPIFFE://acme.example/agents/a",)), "start with spiffe"),
        (Names(uris=("spiffe://ACME.example/agents/a",)), "trust domain"),
        (Names(uris=("spiffe://acme.example:8443/agents/a",)), "trust domain"),
        (Names(uris=("spiffe://u@acme.example/agents/a",)), "trust domain"),
        (Names(dns=("a\0.acme.example",)), "names are none"),
        (Names(dns=("x.ci.acme.example",) * 65), "more than 64"),
    ],
)
def test_names_that_cannot_stand_in_a_certificate_stand_for_nobody(names: Names, why: str) -> None:
    with pytest.raises(BadCertificate, match=why):
        named(names, [AGENT])


def test_a_certificate_that_names_two_agents_by_one_rule_names_none() -> None:
    with pytest.raises(BadCertificate, match="two agents at once"):
        named(Names(dns=("a.ci.example", "b.ci.example")), [rule("dns", "*.ci.example")])


def test_what_spiffe_ids_may_be() -> None:
    assert not spiffe_fault("spiffe://acme.example")
    assert not spiffe_fault("spiffe://acme-1.example/ns/a_b/sa/C.d")
    assert spiffe_fault("spiffe:///path")
    assert spiffe_fault("spiffe://a/" + "b" * 2048)


# === revocation ===

NOW = 1_000_000.0


def listed(*serials: int, ends: float | None = NOW + 100, begins: float = NOW - 100) -> RevocationList:
    return RevocationList(this_unix=begins, next_unix=ends, revoked=frozenset(serials))


def link(*lists: RevocationList, serial: int = 7, false_lists: int = 0) -> Link:
    return Link(serial=serial, lists=lists, false_lists=false_lists)


def test_a_chain_holds_until_the_first_of_its_lists_must_be_replaced() -> None:
    links = [link(listed(1, 2)), link(listed(ends=NOW + 50), serial=8)]
    assert until_revocable(links, authority(), NOW) == NOW + 50
    newer = [link(listed(ends=NOW + 10), listed(ends=NOW + 90))]
    assert until_revocable(newer, authority(), NOW) == NOW + 90, "the newer of two lists counts"


def test_whoever_is_on_any_list_is_out_wherever_in_the_chain_and_however_old_the_list_is() -> None:
    for links in (
        [link(listed(7))],
        [link(listed(1)), link(listed(8), serial=8)],
        [link(listed(7, ends=NOW - 1), listed())],
        [link(listed(7, begins=NOW + 5, ends=NOW + 9), listed())],
    ):
        for stale in ("refuse", "allow"):
            with pytest.raises(BadCertificate, match="was revoked"):
                until_revocable(links, authority(crl_stale=stale), NOW)


@pytest.mark.parametrize("stale", [listed(ends=NOW), listed(begins=NOW + 1, ends=NOW + 9), listed(ends=None)])
def test_a_stale_list_stops_everybody_of_its_authority_unless_the_tenant_says_otherwise(stale: RevocationList) -> None:
    with pytest.raises(BadCertificate, match="stale"):
        until_revocable([link(stale)], authority(), NOW)
    assert until_revocable([link(stale)], authority(crl_stale="allow"), NOW) == float("inf")


def test_an_authority_without_a_list_is_refused_where_one_is_required() -> None:
    assert until_revocable([link()], authority(), NOW) == float("inf")
    with pytest.raises(BadCertificate, match="no revocation list"):
        until_revocable([link(listed()), link()], authority(crl_required=True), NOW)


def test_a_list_that_somebody_else_signed_stops_everybody() -> None:
    with pytest.raises(BadCertificate, match="not its authority's"):
        until_revocable([link(listed(), false_lists=1)], authority(crl_stale="allow"), NOW)


# === what a declaration must say ===


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"anchors_pem": ""}, "spec.anchors_pem"),
        ({"anchors_pem": "hello"}, "spec.anchors_pem"),
        ({"anchors_pem": ANCHOR + "# more"}, "spec.anchors_pem"),
        ({"anchors_pem": CRL}, "spec.anchors_pem"),
        ({"anchors_pem": ANCHOR * 33}, "spec.anchors_pem"),
        ({"anchors_pem": ANCHOR.replace("CERTIFICATE", "EC PRIVATE KEY")}, "spec.anchors_pem"),
        ({"crls_pem": ANCHOR}, "spec.crls_pem"),
        ({"crl_required": True}, "spec.crls_pem"),
        ({"forwarded": "names", "crls_pem": CRL}, "spec.forwarded"),
        ({"names": []}, "spec.names"),
        ({"names": [rule()] * 65}, "spec.names"),
        ({"names": [rule(agent="", user="")]}, "spec.names[0]"),
        ({"names": [rule(match="")]}, "spec.names[0].match"),
        ({"names": [rule(match="spiffe://*/agents/a", agent="a")]}, "spec.names[0].match"),
        ({"names": [rule(match="spiffe://acme.example/a*")]}, "spec.names[0].match"),
        ({"names": [rule(match="spiffe://ACME/*")]}, "spec.names[0].match"),
        ({"names": [rule("dns", "*.*.*.*.*.example")]}, "spec.names[0].match"),
        ({"names": [rule(agent="$2")]}, "spec.names[0].agent"),
        ({"names": [rule(agent="$")]}, "spec.names[0].agent"),
        ({"names": [rule(user="$0")]}, "spec.names[0].user"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(changes: dict[str, object], path: str) -> None:
    assert path in [problem.path for problem in authority(**changes).problems()]


def test_what_is_right_is_right() -> None:
    assert not list(authority().problems())
    assert not list(authority(crls_pem=CRL * 2, crl_required=True, crl_stale="allow").problems())
    assert not list(authority(anchors_pem="", forwarded="names").problems())
    assert [path for path, _ in authority(endpoints=["a", "b"]).references()] == [
        "spec.endpoints[0]",
        "spec.endpoints[1]",
    ]
