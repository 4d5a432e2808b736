"""What detectors see instead of the text, and the way back."""

import json
import sys

import re2
from hypothesis import given
from hypothesis import strategies as st

from core.text_view import SUSPICIOUS, View, fold


def origin_of(text: str, wanted: str) -> str:
    view = View(text)
    at = view.text.index(wanted)
    start, end = view.origin(at, at + len(wanted))
    return text[start:end]


def test_plain_text_is_its_own_view() -> None:
    text = "nothing to see, 4111 1111"
    assert View(text).text is text


def test_escapes_full_width_digits_and_invisible_characters_read_as_what_they_stand_for() -> None:
    assert View(r"\u0034111").text == "4111"
    assert View(r"\\\\u0034111").text == "4111"
    assert View(r"\u005cu0034111").text == "4111"
    assert View("\uff14\uff11\u200b1\u00ad1").text == "4111"
    assert View("4111\u00a01111\u20131111\u22121111").text == "4111 1111-1111-1111"
    assert View(r"\ud835\udfd2").text == "4"
    assert View("\u0664").text == "4"
    assert View(r"a\nb\\nc\"d\/e").text == 'a\nb\nc"d/e'


def test_a_piece_of_the_view_comes_from_whole_escapes() -> None:
    assert origin_of(r"card \u0034111\u200b1 end", "41111") == r"\u0034111\u200b1"
    assert origin_of("a\u200b4111\u200b b", "4111") == "4111"
    assert origin_of(r"x\u005cu0034y", "4") == r"\u005cu0034"


def test_letters_of_their_own_stay() -> None:
    text = "Příliš žluťoučký кот 猫 😀 …"
    assert View(text).text == text


def test_whatever_folds_is_suspicious_both_as_itself_and_escaped() -> None:
    patterns = [re2.compile(pattern) for pattern in SUSPICIOUS]
    missed = []
    for code in range(0x80, sys.maxunicode + 1):
        character = chr(code)
        if 0xD800 <= code < 0xE000 or fold(character) == character:
            continue
        escaped = json.dumps(f"4{character}1")
        for raw in (f"4{character}1", escaped, escaped.replace("\\", "\\\\").upper().replace("\\U", "\\u")):
            missed += [(hex(code), raw)] * (not any(pattern.search(raw) for pattern in patterns))
    assert missed == []


def test_every_escaped_ascii_character_is_suspicious() -> None:
    patterns = [re2.compile(pattern) for pattern in SUSPICIOUS]
    assert [c for c in range(0x80) if not any(p.search(f"\\u{c:04x}") for p in patterns)] == []


def test_common_prose_is_not_suspicious() -> None:
    patterns = [re2.compile(pattern) for pattern in SUSPICIOUS]
    prose = "“Café — naïve” \u2019s • Größe, łódź, Ελλάδα, кот, 日本語カタカナ, 한국어, नमस्ते, สวัสดี 😀❤️ … 5 €"
    for raw in (prose, json.dumps("“Café”—naïve\u2019s • Größe кот 日本語 한국어 😀 …")):
        assert [p.pattern for p in patterns if p.search(raw)] == []


@given(st.text(), st.text(alphabet="0123456789abcDEF", min_size=1), st.text())
def test_every_character_of_a_view_is_found_again(before: str, middle: str, after: str) -> None:
    raw = json.dumps(before + middle + after)
    view = View(raw)
    for at in range(len(view.text)):
        start, end = view.origin(at, at + 1)
        assert 0 <= start < end <= len(raw)
        assert view.text[at] in View(raw[start:end]).text or "\\" in raw
