"""Text in fragments: a secret split anywhere never gets out, and fragments stay one for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.re2.matcher import Re2Matcher
from core.detect import DETECT
from core.masking import Hit, Scanner
from core.masking_stream import CONTEXT_CHARS, HOLD_CHARS, StreamMasker, Tails
from tests.core.secrets import ALL, PEM

MATCHER = Re2Matcher()
SCANNER = Scanner(dict.fromkeys(DETECT, "mask"), "out", MATCHER)
TAILS = Tails(SCANNER, MATCHER)


def stream(fragments: list[str], *, drip: bool = False) -> list[str]:
    masker, out = StreamMasker(SCANNER, TAILS), []
    for fragment in fragments:
        out += masker.feed(fragment)
        if drip:
            out += masker.flush()
    out += masker.flush()
    assert not masker.holds
    assert len(out) == len(fragments)
    return out


@pytest.mark.parametrize(("detector", "name", "secret"), ALL)
def test_a_secret_split_at_every_byte_is_masked(detector: str, name: str, secret: str) -> None:
    text = f"It is {name}{secret} and more"
    assert "".join(stream(list(text))) == f"It is {name}[masked:{detector}] and more"


@pytest.mark.parametrize(("detector", "name", "secret"), [s for s in ALL if len(s[2]) < 100])
def test_a_secret_split_in_two_anywhere_is_masked(detector: str, name: str, secret: str) -> None:
    text = f"It is {name}{secret} and more"
    for at in range(len(text)):
        assert "".join(stream([text[:at], text[at:]])) == f"It is {name}[masked:{detector}] and more"


@pytest.mark.parametrize(("detector", "name", "secret"), ALL)
def test_a_secret_at_the_end_is_masked_by_the_flush(detector: str, name: str, secret: str) -> None:
    assert "".join(stream(list(f"It is {name}{secret}"))) == f"It is {name}[masked:{detector}]"


@pytest.mark.parametrize(("detector", "name", "secret"), ALL)
def test_a_secret_that_drips_slower_than_the_flush_shows_its_beginning_at_most(
    detector: str, name: str, secret: str
) -> None:
    text = "".join(stream(list(f"It is {name}{secret} and more"), drip=True))
    shown = text.removeprefix(f"It is {name}").partition("[masked:")[0]
    assert "[masked:" in text
    assert text.endswith("more")
    assert len(shown) <= 28
    assert secret[len(secret) // 2 :] not in text


def test_harmless_text_passes_fragment_by_fragment() -> None:
    fragments = ["Reading the 1st of 3 files!\n", "", "Reading the 2nd of 3 files!\n", "Done!\n"]
    masker = StreamMasker(SCANNER, TAILS)
    assert [masker.feed(fragment) for fragment in fragments] == [[f] for f in fragments]


def test_a_held_end_that_is_harmless_is_let_go_by_the_flush() -> None:
    masker = StreamMasker(SCANNER, TAILS)
    assert masker.feed("order 1234") == []
    assert masker.holds
    assert masker.flush() == ["order 1234"]
    assert masker.feed(" is ready!") == [" is ready!"]


def test_the_mask_stands_in_the_fragment_where_the_secret_begins() -> None:
    assert stream(["a 4111 ", "1111 1111", " 1111 b", " c"]) == ["a [masked:card]", "", " b", " c"]


def test_most_of_a_card_whose_rest_never_comes_is_masked() -> None:
    assert stream(["pay 4111 1111 1111"]) == ["pay [masked:card]"]


def test_a_private_key_is_masked_until_its_end_however_long_and_slow() -> None:
    long_key = PEM.replace("q8d", "A" * 9000 + "\nq8d")
    text = f"x {long_key} y."
    assert "".join(stream(list(text), drip=False)) == "x [masked:private_key] y."
    lines = [line + "\n" for line in f"before\n{PEM}\nafter.".split("\n")]
    assert "".join(stream(lines, drip=True)) == "before\n[masked:private_key]\nafter.\n"


def test_a_private_key_without_an_end_is_masked_to_the_last() -> None:
    begun = PEM.partition("-----END")[0]
    assert "".join(stream(list(begun + "and whatever else. " * 9))) == "[masked:private_key]"


def test_a_token_longer_than_anything_held_is_masked_until_it_ends() -> None:
    token = "ghp_" + "aB3dE5gH7" * 900
    assert (
        "".join(stream([token[i : i + 50] for i in range(0, len(token), 50)] + [" end."]))
        == "[masked:github_token] end."
    )


def test_endless_harmless_text_of_secret_characters_is_held_in_bounds() -> None:
    masker, out = StreamMasker(SCANNER, TAILS), ""
    for _ in range(400):
        out += "".join(masker.feed("eyab1234_-"))
        assert len(masker._pending) <= 2 * HOLD_CHARS
        assert len(masker._context) <= CONTEXT_CHARS
    out += "".join(masker.flush())
    assert out == "eyab1234_-" * 400 or "[masked" in out


def test_escapes_split_between_fragments_do_not_hide_a_secret() -> None:
    text = "x " + "".join(f"\\u{ord(c):04x}" for c in "4111111111111111") + " y."
    assert "".join(stream(list(text))) == "x [masked:card] y."


def test_disguised_digits_split_at_every_character_are_masked() -> None:
    text = "x \uff14\u200b1\u200b1\u200b1 1111\u00a01111\u00a01111 y."
    assert "".join(stream(list(text))) == "x [masked:card] y."


def test_hits_tell_what_was_masked_once() -> None:
    masker = StreamMasker(SCANNER, TAILS)
    for character in "x 4111 1111 1111 1111, bob@example.com y":
        masker.feed(character)
    masker.flush()
    assert [hit.detector for hit in masker.hits] == ["card", "email"]


@given(st.data(), st.sampled_from(ALL), st.text(alphabet="ab ,:\n", max_size=20))
def test_any_fragmentation_gives_the_same_text(data: st.DataObject, case: tuple[str, str, str], around: str) -> None:
    detector, name, secret = case
    text = f"{around}. {name}{secret} . {around}."
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    fragments = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    out = "".join(stream(fragments))
    assert secret not in out
    assert f"[masked:{detector}]" in out
    json.dumps(out)


def test_where_nothing_is_held_a_flush_looks_at_nothing() -> None:
    looked: list[str] = []

    class Counting(Scanner):
        def find(self, text: str) -> list[Hit]:
            looked.append(text)
            return super().find(text)

    masker = StreamMasker(Counting(dict.fromkeys(DETECT, "mask"), "out", MATCHER), TAILS)
    assert masker.feed("All is said. ") == ["All is said. "]
    assert masker.flush() == []
    assert looked == ["All is said. "]
