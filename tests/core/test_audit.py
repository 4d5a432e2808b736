"""The chain's arithmetic: any change to any row, or to their order, is found at the first row it touches."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.admin import AuditRow
from core.audit import GENESIS, Entry, Head, Verdict, Verification, entry_of_record, link
from core.call import Record


def entries(count: int) -> list[Entry]:
    return [
        Entry(id=f"{i}", at_unix=float(i), type="call", outcome="ok", caller="a/b", tool="t", detail={"n": i})
        for i in range(count)
    ]


def verify(head: Head, rows: list[AuditRow]) -> Verdict:
    check = Verification(head)
    for row in rows:
        check.see(row)
    return check.verdict()


def test_a_chain_made_in_pieces_is_the_chain_made_at_once() -> None:
    whole, rows = link(Head(), entries(5))
    part, first = link(Head(), entries(5)[:2])
    joined, second = link(part, entries(5)[2:])
    assert (joined, first + second) == (whole, rows)
    assert verify(whole, rows) == Verdict(intact=True, rows=5, head=rows[-1].hash)


def test_an_empty_chain_is_intact() -> None:
    assert verify(Head(), []) == Verdict(intact=True, rows=0, head=GENESIS)


@given(st.integers(0, 5), st.sampled_from(["id", "at_unix", "type", "outcome", "caller", "tool", "detail", "hash"]))
def test_a_changed_field_is_found_at_its_row(index: int, name: str) -> None:
    head, rows = link(Head(), entries(6))
    changed = {"at_unix": 99.5, "detail": {"n": -1}, "hash": bytes(32)}.get(name, "changed")
    rows[index] = msgspec.structs.replace(rows[index], **{name: changed})
    assert verify(head, rows).first_bad_seq == index + 1


@given(st.lists(st.integers(0, 5), unique=True, max_size=5).map(sorted))
def test_rows_left_out_are_found_at_the_first_of_them(kept: list[int]) -> None:
    head, rows = link(Head(), entries(6))
    verdict = verify(head, [rows[i] for i in kept])
    assert not verdict.intact
    assert verdict.first_bad_seq == min(set(range(6)) - set(kept)) + 1


def test_rows_that_changed_places_are_found() -> None:
    head, rows = link(Head(), entries(4))
    swapped = [rows[0], msgspec.structs.replace(rows[2], seq=2), msgspec.structs.replace(rows[1], seq=3), rows[3]]
    assert verify(head, swapped).first_bad_seq == 2


def test_a_chain_is_verified_from_where_it_was_pruned() -> None:
    head, rows = link(Head(), entries(4))
    pruned = msgspec.structs.replace(head, pruned_seq=2, pruned_hash=rows[1].hash)
    assert verify(pruned, rows[2:]) == Verdict(intact=True, rows=2, head=head.hash)
    assert verify(pruned, rows).first_bad_seq == 3


def test_a_record_becomes_an_entry_without_what_it_does_not_say() -> None:
    record = Record(id="x", at_unix=5, user="u", tool="t", outcome="ok", duration_us=3, reasons=("role:a",))
    assert entry_of_record(record) == Entry(
        id="x",
        at_unix=5.0,
        type="call",
        outcome="ok",
        caller="u/",
        tool="t",
        detail={"reasons": ("role:a",), "duration_us": 3},
    )
