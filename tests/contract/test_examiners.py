"""The ports to classifiers and to Presidio, over HTTP to a real server."""

from collections.abc import Callable, Iterator

import pytest

from adapters.examiners.http import HttpClassifier, HttpPresidio
from adapters.web.client import WebClient
from core.deep import Classifier, Entity, Presidio, Unexamined
from tests.harness.examiners import Examiners, examining

TEXT = "Ada Lovelace lives in Ely."


@pytest.fixture
def server() -> Iterator[Examiners]:
    with examining() as said:
        yield said


@pytest.fixture
def web() -> Iterator[WebClient]:
    client = WebClient()
    yield client
    client.close()


def classifier(server: Examiners) -> Classifier:
    return Classifier(url=f"{server.url}/classify", allow_private=True)


def presidio(server: Examiners, **entities: float) -> Presidio:
    return Presidio(url=f"{server.url}/", allow_private=True, entities=entities or {"PERSON": 0.6})


async def test_a_classifier_is_asked_in_json_with_its_secret_and_answers_a_share(
    server: Examiners, web: WebClient
) -> None:
    server.score = lambda text: 0.876 if "Ada" in text else 0.0
    assert await HttpClassifier(web).score(classifier(server), [("Authorization", "Bearer s")], TEXT) == 88
    path, body, headers = server.asked[0]
    assert (path, body, headers["Authorization"]) == ("/classify", {"text": TEXT}, "Bearer s")
    assert headers["Content-Type"] == "application/json"


async def test_presidio_is_asked_for_what_is_wanted_and_its_scores_are_held_to_thresholds(
    server: Examiners, web: WebClient
) -> None:
    server.names = {"Ada Lovelace": "PERSON", "Ely": "LOCATION", "lives": "NRP"}
    asked = presidio(server, PERSON=0.6, LOCATION=0.9)
    assert await HttpPresidio(web).entities(asked, (), TEXT) == [Entity(0, 12, "PERSON", 0.85)]
    path, body, _ = server.asked[0]
    wanted = {"text": TEXT, "language": "en", "entities": ["LOCATION", "PERSON"], "score_threshold": 0.6}
    assert (path, body) == ("/analyze", wanted)


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (500, b"{}"),
        (200, b"no json"),
        (200, b'{"score": 7}'),
        (200, b'{"label": "INJECTION"}'),
        (200, b'[{"start": 3, "end": 99999, "entity_type": "PERSON", "score": 1}]'),
        (302, b""),
    ],
)
async def test_an_answer_that_is_none_is_no_answer(server: Examiners, web: WebClient, status: int, raw: bytes) -> None:
    server.status, server.raw = status, raw
    asks: list[Callable[[], object]] = [
        lambda: HttpClassifier(web).score(classifier(server), (), TEXT),
        lambda: HttpPresidio(web).entities(presidio(server), (), TEXT),
    ]
    for ask in asks:
        with pytest.raises(Unexamined) as failure:
            await ask()  # type: ignore[misc]
        assert "Ada" not in str(failure.value)


async def test_a_service_that_is_not_there_or_private_by_mistake_is_away(server: Examiners, web: WebClient) -> None:
    gone = Classifier(url="http://127.0.0.1:1/classify", allow_private=True)
    private = Classifier(url=server.url.replace("http:", "https:"))
    for asked in (gone, private):
        with pytest.raises(Unexamined):
            await HttpClassifier(web).score(asked, (), TEXT)
    assert not server.asked
