"""Questions of servers on both wires."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.call import Question, Reply
from core.errors import Refused
from core.mcp import rounds
from core.mcp.rounds import Asked, NotRounds

FORM = Question("elicitation/create", b'{"message":"who?","requestedSchema":{"type":"object"}}')
URL = Question("elicitation/create", b'{"mode":"url","message":"go","url":"https://x"}')
SAMPLING = Question("sampling/createMessage", b'{"messages":[],"maxTokens":10}')
SAMPLING_TOOLS = Question("sampling/createMessage", b'{"messages":[],"maxTokens":10,"tools":[]}')
ODD_MODE = Question("elicitation/create", rb'{"mode":"n\\\"","message":"m"}')
ROOTS = Question("roots/list")

questions = st.builds(
    Question,
    st.sampled_from(sorted(rounds.METHODS)),
    st.dictionaries(st.text(max_size=5), st.integers(-5, 5), max_size=3).map(msgspec.json.encode),
)


@given(st.dictionaries(st.text(max_size=9), questions, max_size=4), st.none() | st.text(max_size=20))
def test_what_is_rendered_is_read_back(asked: dict[str, Question], state: str | None) -> None:
    if asked or state is not None:
        assert rounds.read(rounds.render(Asked(asked, state))) == Asked(asked, state)


def test_a_complete_result_asks_nothing_even_if_it_speaks_of_input() -> None:
    assert rounds.read(b'{"resultType":"complete","content":[{"type":"text","text":"\\"input_required\\""}]}') is None
    assert rounds.read(b'{"resultType":"complete","structuredContent":"input_required","inputRequests":7}') is None


@pytest.mark.parametrize(
    "result",
    [
        b'{"resultType":"input_required"}',
        b'{"resultType":"input_required","inputRequests":{"a":{"method":"tools/call"}}}',
        b'{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list","params":[1]}}}',
        b'{"resultType":"input_required","inputRequests":[],"requestState":"s"}',
        b'{"resultType":"input_required","requestState":7}',
    ],
)
def test_a_round_that_breaks_the_rules_is_said_so(result: bytes) -> None:
    with pytest.raises(NotRounds):
        rounds.read(result)


def test_more_questions_than_the_cap_are_refused() -> None:
    many = Asked({str(i): ROOTS for i in range(rounds.MAX_QUESTIONS + 1)})
    with pytest.raises(NotRounds, match="more than 32"):
        rounds.read(rounds.render(many))


@pytest.mark.parametrize("bad", [b"[]", b'{"a":1}', b'{"a":[]}', b"7"])
def test_answers_that_are_no_objects_are_refused(bad: bytes) -> None:
    with pytest.raises(Refused, match="inputResponses"):
        rounds.replies(bad)


def test_a_retry_carries_answers_to_what_was_asked_and_the_state_as_it_was() -> None:
    asked = Asked({"a": FORM, "b": ROOTS}, 'st"ate')
    members = rounds.answered(asked, {"a": Reply(b'{"action":"accept"}'), "other": Reply(b"{}")})
    assert msgspec.json.decode(b"{%b}" % members.rstrip(b",")) == {
        "inputResponses": {"a": {"action": "accept"}},
        "requestState": 'st"ate',
    }


@pytest.mark.parametrize(
    ("capabilities", "question", "missing"),
    [
        (b"{}", FORM, b'{"elicitation":{}}'),
        (b'{"elicitation":{}}', FORM, b""),
        (b'{"elicitation":{"form":{}}}', FORM, b""),
        (b'{"elicitation":{"url":{}}}', FORM, b'{"elicitation":{"form":{}}}'),
        (b'{"elicitation":{}}', URL, b'{"elicitation":{"url":{}}}'),
        (b"{}", URL, b'{"elicitation":{"url":{}}}'),
        (b'{"elicitation":{"form":{},"url":{}}}', URL, b""),
        (b'{"elicitation":null}', FORM, b'{"elicitation":{}}'),
        (b'{"sampling":{}}', SAMPLING, b""),
        (b"{}", SAMPLING, b'{"sampling":{}}'),
        (b'{"sampling":{}}', SAMPLING_TOOLS, b'{"sampling":{"tools":{}}}'),
        (b'{"sampling":{"tools":{}}}', SAMPLING_TOOLS, b""),
        (b'{"roots":{}}', ROOTS, b""),
        (b"{}", ROOTS, b'{"roots":{}}'),
        (b"nonsense", ROOTS, b'{"roots":{}}'),
        (b'{"elicitation":{}}', ODD_MODE, b'{"elicitation":{"n\\\\\\"":{}}}'),
    ],
)
def test_a_question_needs_its_capability(capabilities: bytes, question: Question, missing: bytes) -> None:
    assert rounds.missing(capabilities, question) == missing


@pytest.mark.parametrize(
    ("question", "since"),
    [
        (FORM, "2025-06-18"),
        (URL, "2025-11-25"),
        (SAMPLING, "2024-11-05"),
        (SAMPLING_TOOLS, "2025-11-25"),
        (ROOTS, "2024-11-05"),
    ],
)
def test_a_question_is_carried_from_the_revision_on_that_brought_it(question: Question, since: str) -> None:
    for revision in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
        assert rounds.carried(revision, question) == (revision >= since)


def test_a_url_gets_an_id_on_the_legacy_wire_and_loses_it_on_the_modern_one() -> None:
    legacy = rounds.for_legacy(URL, "2025-11-25", "e-1")
    assert msgspec.json.decode(legacy.params)["elicitationId"] == "e-1"
    assert msgspec.json.decode(rounds.for_modern(legacy).params) == msgspec.json.decode(URL.params)


def test_a_form_names_its_mode_only_to_clients_that_know_modes() -> None:
    form = Question("elicitation/create", b'{"mode":"form","message":"m","requestedSchema":{}}')
    assert b"mode" in rounds.for_legacy(form, "2025-11-25", "").params
    assert b"mode" not in rounds.for_legacy(form, "2025-06-18", "").params


def test_a_progress_token_of_another_wire_does_not_travel() -> None:
    question = Question("sampling/createMessage", b'{"messages":[],"_meta":{"progressToken":3,"x":1}}')
    assert msgspec.json.decode(rounds.for_modern(question).params) == {"messages": [], "_meta": {"x": 1}}
