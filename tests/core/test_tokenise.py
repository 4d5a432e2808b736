"""Tokens: what they hold, whose they are, where they come to stand, and how they become values again."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.crypto.sealing import AesSivSealer
from adapters.re2.matcher import Re2Matcher
from core.guard import Action, Guard
from core.masking import Scanner
from core.masking_stream import StreamMasker, Tails
from core.tokenise import TOKEN_MAX_CHARS, VALUE_MAX_BYTES, Revealed, ValueTokens

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
TOKENS = ValueTokens("acme", KEY, AesSivSealer())
CARD, MAIL = "4111 1111 1111 1111", "ada@corp.example"
MATCHER = Re2Matcher()


def scanner(**actions: Action) -> Scanner:
    return Scanner(actions, "out", MATCHER, tokens=TOKENS)


def masked(value: object, **actions: Action) -> object:
    raw, _ = scanner(**actions).mask(json.dumps(value).encode())
    return json.loads(raw)


@given(st.text(min_size=1, max_size=80))
def test_a_token_opens_to_the_value_it_stands_for(value: str) -> None:
    token = TOKENS.token("card", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        assert not token
    else:
        assert TOKENS.open(token) == Revealed("card", value)
        assert token == TOKENS.token("card", value)


def test_equal_lengths_tell_no_more_than_a_block() -> None:
    lengths = {len(TOKENS.token("card", "4" * digits)) for digits in range(1, 16)}
    assert len(lengths) == 1
    assert len(TOKENS.token("generic_api_key", "x" * VALUE_MAX_BYTES)) <= TOKEN_MAX_CHARS


def test_a_value_that_is_too_long_has_no_token_and_is_masked() -> None:
    assert not TOKENS.token("card", "x" * (VALUE_MAX_BYTES + 1))
    address = "a" * 60 + "@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + "." + "e" * 60 + ".example"
    assert "[token:" not in str(masked(address, email="tokenise"))


@pytest.mark.parametrize(
    "token",
    [
        "[token:card:]",
        "[token:card:AAAA]",
        "[token:email:" + TOKENS.token("card", CARD)[len("[token:card:") :],
        TOKENS.token("card", CARD)[:-2] + "]",
        ValueTokens("umbrella", KEY, AesSivSealer()).token("card", CARD),
        ValueTokens("acme", OTHER_KEY, AesSivSealer()).token("card", CARD),
        "x" + TOKENS.token("card", CARD),
    ],
)
def test_what_is_no_token_of_this_tenant_opens_to_nothing(token: str) -> None:
    assert TOKENS.open(token) is None


def test_equal_values_are_equal_tokens_wherever_they_stand() -> None:
    token = TOKENS.token("card", CARD)
    nested = json.dumps({"pay": CARD})
    assert masked([f"pay {CARD}.", {"a": CARD}, nested], card="tokenise") == [
        f"pay {token}.",
        {"a": token},
        json.dumps({"pay": token}, separators=(", ", ": ")),
    ]


def test_a_number_becomes_the_token_of_its_digits() -> None:
    assert masked({"n": 4111111111111111}, card="tokenise") == {"n": TOKENS.token("card", "4111111111111111")}


def test_escapes_are_undone_before_a_value_is_sealed() -> None:
    raw, _ = scanner(email="tokenise").mask(b'"ada\\u0040corp.example"')
    assert json.loads(raw) == TOKENS.token("email", MAIL)


def test_names_of_members_and_values_in_parts_are_masked() -> None:
    assert masked({CARD: 1}, card="tokenise") == {"[masked:card]": 1}
    assert "[token:" not in str(masked(["4111", "1111", "1111", "1111"], card="tokenise"))


def test_the_stricter_action_wins_where_two_detectors_claim_a_text() -> None:
    text = "secret_access_key=wJalrXUtnFEMIbPxRfiCYEXAMPLEKEYabcd1234X"
    both = str(masked(text, aws_key="mask", generic_api_key="tokenise"))
    assert "[token:" not in both
    assert "wJalr" not in both


def test_tokens_are_not_taken_for_secrets_and_forged_ones_are() -> None:
    token = TOKENS.token("generic_api_key", "q8Zx71LmN04pRsTuVw")
    assert masked(f"use {token}", generic_api_key="mask", card="mask") == f"use {token}"
    forged = ValueTokens("acme", OTHER_KEY, AesSivSealer()).token("generic_api_key", "q8Zx71LmN04pRsTuVw")
    assert "[masked:generic_api_key]" in str(masked(f"use {forged}", generic_api_key="mask"))
    assert CARD not in str(masked(f"[token:card:{CARD}]", card="mask"))


def test_without_a_key_what_was_to_be_tokenised_is_masked() -> None:
    raw, _ = Scanner({"card": "tokenise"}, "out", MATCHER).mask(json.dumps(CARD).encode())
    assert json.loads(raw) == "[masked:card]"


@pytest.mark.parametrize("step", [1, 2, 5, 7, 1000])
def test_a_stream_has_the_token_however_it_is_cut(step: int) -> None:
    looking = scanner(card="tokenise", email="tokenise")
    masker = StreamMasker(looking, Tails(looking, MATCHER))
    text = f"card {CARD} of {MAIL} end"
    out = [part for at in range(0, len(text), step) for part in masker.feed(text[at : at + step])]
    said = "".join(out + masker.flush())
    assert said == f"card {TOKENS.token('card', CARD)} of {TOKENS.token('email', MAIL)} end"


def test_a_part_of_a_value_at_the_end_of_what_came_is_masked() -> None:
    looking = scanner(card="tokenise")
    masker = StreamMasker(looking, Tails(looking, MATCHER))
    assert "".join(masker.feed("card 4111 1111 1111 1") + masker.flush()) == "card [masked:card]"


def test_tokens_become_values_again_in_values_also_nested_ones() -> None:
    token, quoted = TOKENS.token("card", CARD), TOKENS.token("house", 'say "hi"\\')
    value = {"a": f"x {token}", "b": [json.dumps({"c": quoted})], token: 1, "d": "[token:card:none]"}
    raw = json.dumps(value).encode()
    back = json.loads(TOKENS.restored(raw, {"card", "house"}))
    assert back["a"] == f"x {CARD}"
    assert json.loads(back["b"][0]) == {"c": 'say "hi"\\'}
    assert (back[token], back["d"]) == (1, "[token:card:none]")
    assert TOKENS.restored(raw, ()) is raw
    assert TOKENS.restored(raw, {"iban"}) is raw


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from([CARD, MAIL, "x", f"a {CARD} b {MAIL}"])))
def test_what_was_tokenised_comes_back_as_it_was(value: dict[str, str]) -> None:
    raw = msgspec.json.encode(value)
    tokenised, _ = scanner(card="tokenise", email="tokenise").mask(raw)
    assert CARD.encode() not in tokenised
    assert TOKENS.restored(tokenised, {"card", "email"}) == raw


def test_a_guard_may_only_reveal_and_says_what_is_wrong_with_it() -> None:
    assert not list(Guard(reveal=["@payment", "staff"]).problems())
    assert Guard(reveal=["@payment", "card"]).reveals() == ("card", "iban")
    assert [p.path for p in Guard(reveal=["No Name"]).problems()] == ["spec.reveal[0]"]
