"""The chain of announcements: what it takes to be believed."""

import itertools

import msgspec
import pytest

from adapters.crypto.sealing import Ed25519Signer, Ed25519Verifier
from core.node_token import NodeToken, exactly
from core.resource import encode
from core.snapshot import Manifest
from core.trust import (
    CHAIN_MAX,
    Announcement,
    Pinned,
    Signature,
    Untrusted,
    announce,
    follow,
    malformed,
    signed_bytes,
    vouched,
)

A, B, C = (Ed25519Signer(bytes([n]) * 32) for n in (1, 2, 3))


def keys(*signers: Ed25519Signer) -> dict[str, bytes]:
    return {one.key_id: one.public_key for one in signers}


FIRST = announce(1, keys(A), A.key_id, [A])
SECOND = announce(2, keys(A, B), B.key_id, [A, B], FIRST)
THIRD = announce(3, keys(B), B.key_id, [B], SECOND)
CHAIN = [FIRST, SECOND, THIRD]


def refused(pinned: Pinned, *chain: Announcement) -> str:
    with pytest.raises(Untrusted) as refusal:
        follow(pinned, chain, Ed25519Verifier)
    return str(refusal.value)


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@pytest.mark.parametrize("told_from", [0, 1, 2])
def test_wherever_a_node_stands_the_rest_of_the_chain_leads_it_to_the_end(known: int, told_from: int) -> None:
    pinned = Pinned(keys=CHAIN[known - 1].keys, number=known) if known else Pinned(keys={})
    if known == 1 and told_from == 2:
        assert "signed by none of the keys pinned" in refused(pinned, *CHAIN[told_from:])
    else:
        assert follow(pinned, CHAIN[told_from:], Ed25519Verifier) == Pinned(keys=keys(B), number=3)


def test_what_is_pinned_is_left_only_by_a_signature_of_its_own_keys() -> None:
    own = Pinned(keys=keys(A), number=1)
    forged = announce(2, keys(C), C.key_id, [C])
    assert "signed by none" in refused(own, forged)
    stolen_name = msgspec.structs.replace(forged, signatures=(Signature(A.key_id, C.sign(signed_bytes(forged))),))
    assert "signed by none" in refused(own, stolen_name)
    assert "signed by none" in refused(own, msgspec.structs.replace(SECOND, signatures=()))
    # Signatures of another announcement are none on this one.
    moved = msgspec.structs.replace(forged, signatures=SECOND.signatures)
    assert "signed by none" in refused(own, moved)


def test_an_old_announcement_brings_no_retired_key_back() -> None:
    pinned = Pinned(keys=keys(B), number=3)
    for old in (FIRST, SECOND):
        assert "is older than 3" in refused(pinned, old)
    assert "other keys" in refused(pinned, announce(3, keys(B, C), B.key_id, [B]))
    renumbered = msgspec.structs.replace(SECOND, number=4)
    assert "signed by none" in refused(pinned, renumbered)


def test_a_chain_that_breaks_off_changes_nothing_at_all() -> None:
    own = Pinned(keys=keys(A), number=1)
    assert "signed by none of the keys pinned" in refused(own, SECOND, announce(3, keys(C), C.key_id, [C]))


def test_keys_given_by_the_operator_are_found_wherever_they_stand_in_the_chain() -> None:
    assert follow(Pinned(keys=keys(B)), CHAIN, Ed25519Verifier).number == 3
    assert "signed by none" in refused(Pinned(keys=keys(C)), *CHAIN)


def test_the_first_announcement_must_be_signed_by_a_key_it_names() -> None:
    assert refused(Pinned(keys={}), msgspec.structs.replace(FIRST, signatures=()))
    with pytest.raises(ValueError, match="none of the keys that are trusted"):
        announce(1, keys(A), A.key_id, [B])
    with pytest.raises(ValueError, match="none of the keys that are trusted"):
        announce(2, keys(B), B.key_id, [B], FIRST)


def test_every_byte_of_what_is_announced_is_signed() -> None:
    variants = [
        SECOND,
        msgspec.structs.replace(SECOND, number=9),
        msgspec.structs.replace(SECOND, signs=A.key_id),
        msgspec.structs.replace(SECOND, keys=keys(A)),
        msgspec.structs.replace(SECOND, keys=keys(A, B, C)),
    ]
    for one, other in itertools.permutations(variants, 2):
        moved = msgspec.structs.replace(one, signatures=other.signatures)
        assert vouched(moved, keys(A), Ed25519Verifier) is (one is SECOND)
        assert signed_bytes(one) != signed_bytes(other)
    assert signed_bytes(SECOND) == signed_bytes(msgspec.structs.replace(SECOND, keys=keys(B, A)))


def test_no_announcement_reads_as_a_manifest() -> None:
    manifest = encode(Manifest(tenant="acme", generation=1, parts=()))
    assert manifest[0] != signed_bytes(FIRST)[0]
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(signed_bytes(FIRST), type=Manifest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": 0}, "number must be 1"),
        ({"keys": {}}, "keys must be named"),
        ({"keys": {"0" * 16: A.public_key}, "signs": "0" * 16}, "under its own id"),
        ({"keys": {A.key_id: b"short"}}, "32 bytes"),
        ({"signs": B.key_id}, "must be among the keys"),
        ({"keys": keys(*(Ed25519Signer(bytes([n]) * 32) for n in range(17)))}, "1 to 16 keys"),
    ],
)
def test_what_is_malformed_is_refused_with_the_rule(change: dict[str, object], said: str) -> None:
    wrong = msgspec.structs.replace(FIRST, **change)
    assert said in malformed(wrong)
    assert said in refused(Pinned(keys=keys(A), number=1), wrong)


def test_a_chain_out_of_order_or_without_end_is_refused() -> None:
    own = Pinned(keys=keys(A), number=1)
    assert "numbers must rise" in refused(own, THIRD, SECOND)
    assert "announcements must come" in refused(own)
    assert "announcements must come" in refused(own, *[SECOND] * (CHAIN_MAX + 1))


def test_a_token_says_which_bound_was_passed() -> None:
    free, bound = NodeToken(name="any"), NodeToken(name="edge", nodes=("edge-*",), tenants=("acme",))
    assert list(free.problems("anything", ["a", "b"])) == []
    assert list(bound.problems("edge-1", [])) == []
    assert list(bound.problems("core", ["acme", "x"])) == [
        "hello.node is core, and this credential is for edge-*",
        "hello.tenants names x, and this credential is for acme only",
    ]
    assert not NodeToken(name="n", nodes=(exactly("a*b?c[d"),)).admits("aXbYc[d")
    assert NodeToken(name="n", nodes=(exactly("a*b?c[d"),)).admits("a*b?c[d")
    assert [NodeToken(name="n", expires_unix=5.0).expired(now) for now in (4.9, 5.0)] == [False, True]
