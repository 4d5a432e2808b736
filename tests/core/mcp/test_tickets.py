"""Sealed tickets: what they open to, and all that does not open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.crypto.sealing import AesGcmSealer
from core.mcp import tickets
from core.mcp.tickets import Cursor, Round, TaskId, issue, redeem
from core.sealing import SealBroken

SEALER = AesGcmSealer()
KEY = b"k" * 32
ROUND = Round(expires_unix=1000, server="s", arguments_digest=b"d", state="theirs", parked="")


def test_a_ticket_opens_where_it_was_issued_for_and_in_time() -> None:
    text = issue(ROUND, SEALER, KEY, "acme", "ann/bot", "tools/call", "x")
    assert redeem(Round, text, SEALER, KEY, 999.0, "acme", "ann/bot", "tools/call", "x") == ROUND
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "context",
    [("acme", "bob/bot"), ("evil", "ann/bot"), ("acme\0ann/bot",), ("acme", "ann", "bot"), ()],
)
def test_a_ticket_is_nothing_to_anybody_else(context: tuple[str, ...]) -> None:
    text = issue(ROUND, SEALER, KEY, "acme", "ann/bot")
    with pytest.raises(SealBroken):
        redeem(Round, text, SEALER, KEY, 0.0, *context)


def test_a_ticket_ends_and_one_kind_is_no_other() -> None:
    text = issue(ROUND, SEALER, KEY)
    for kind, now in ((Round, 1000.0), (TaskId, 0.0), (Cursor, 0.0)):
        with pytest.raises(SealBroken):
            redeem(kind, text, SEALER, KEY, now)
    lasting = issue(Cursor(offset=3, visible=b"v"), SEALER, KEY)
    assert redeem(Cursor, lasting, SEALER, KEY, 1e12).offset == 3


@given(st.integers(0, 10_000), st.characters())
def test_a_changed_ticket_does_not_open(at: int, put: str) -> None:
    text = issue(ROUND, SEALER, KEY)
    at %= len(text)
    changed = text[:at] + put + text[at + 1 :]
    if changed != text:
        with pytest.raises(SealBroken):
            redeem(Round, changed, SEALER, KEY, 0.0)


@given(st.text(max_size=200))
def test_no_text_is_a_ticket_by_chance(text: str) -> None:
    with pytest.raises(SealBroken):
        redeem(Round, text, SEALER, KEY, 0.0)


def test_a_monstrous_ticket_is_not_even_tried() -> None:
    with pytest.raises(SealBroken):
        redeem(Round, "A" * (tickets.MAX_TICKET_CHARS + 1), SEALER, KEY, 0.0)
