"""Sessions as sealed tokens: any replica opens them, and nobody else."""

from dataclasses import dataclass

import pytest
from front_harness import caller

from adapters.crypto.sealing import AesGcmSealer
from core.call import Inbound
from core.errors import Reason, Refused
from data_plane.stages.conversation import Conversation, Conversations

KEY = b"k" * 32


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def asking(session: bytes = b"", endpoint: str = "main", capabilities: bytes = b'{"roots":{}}') -> Inbound:
    return Inbound(
        id="i",
        tenant="acme",
        endpoint=endpoint,
        transport="streamable_http",
        era="legacy",
        revision="2025-06-18",
        method="tools/list" if session else "initialize",
        credential=b"",
        capabilities=capabilities,
        params=b'{"clientInfo":{"name":"inspector"}}',
        session=session,
    )


def test_another_replica_resumes_what_one_began() -> None:
    token = Conversations(AesGcmSealer(), Clock()).begin(asking(), caller(b"a"), session_key=KEY, epoch=3)
    other = Conversations(AesGcmSealer(), Clock())
    for _ in range(2):
        talk = other.resume(asking(token.encode()), caller(b"a"), session_key=KEY, epoch=3)
        assert talk == Conversation("2025-06-18", b'{"roots":{}}', "inspector")


@pytest.mark.parametrize("remembered", [True, False])
def test_a_session_is_bound_to_where_and_whom_and_when_it_began(remembered: bool) -> None:
    conversations = Conversations(AesGcmSealer(), Clock())
    token = conversations.begin(asking(), caller(b"a"), session_key=KEY, epoch=3).encode()
    if remembered:
        conversations.resume(asking(token), caller(b"a"), session_key=KEY, epoch=3)
    foreign = [
        (asking(token), caller(b"b"), KEY, 3),
        (asking(token, endpoint="side"), caller(b"a"), KEY, 3),
        (asking(token), caller(b"a"), KEY, 4),
        (asking(token + b"A"), caller(b"a"), KEY, 3),
        (asking(token[:-1]), caller(b"a"), KEY, 3),
        (asking(token + b"="), caller(b"a"), KEY, 3),
        (asking(b"%" + token[1:]), caller(b"a"), KEY, 3),
    ]
    for inbound, who, key, epoch in foreign:
        with pytest.raises(Refused) as refused:
            conversations.resume(inbound, who, session_key=key, epoch=epoch)
        assert refused.value.reason is Reason.NOT_FOUND
    with pytest.raises(Refused):
        Conversations(AesGcmSealer(), Clock()).resume(asking(token), caller(b"a"), session_key=b"x" * 32, epoch=3)


def test_a_session_ends_of_age_even_if_it_is_remembered() -> None:
    clock = Clock()
    conversations = Conversations(AesGcmSealer(), clock, max_age_s=60)
    token = conversations.begin(asking(), caller(b"a"), session_key=KEY, epoch=0).encode()
    conversations.resume(asking(token), caller(b"a"), session_key=KEY, epoch=0)
    clock.now += 60
    for _ in range(2):
        with pytest.raises(Refused):
            conversations.resume(asking(token), caller(b"a"), session_key=KEY, epoch=0)


def test_only_so_many_are_remembered_and_the_rest_still_open() -> None:
    conversations = Conversations(AesGcmSealer(), Clock(), remembered=10)
    tokens = [conversations.begin(asking(), caller(b"a"), session_key=KEY, epoch=0).encode() for _ in range(50)]
    for token in tokens * 2:
        conversations.resume(asking(token), caller(b"a"), session_key=KEY, epoch=0)
    assert len(conversations._known) == 10
    assert len(set(tokens)) == 50


def test_endless_capabilities_begin_no_session() -> None:
    with pytest.raises(Refused) as refused:
        Conversations(AesGcmSealer(), Clock()).begin(
            asking(capabilities=b'{"a":"' + b"x" * 4096 + b'"}'), caller(b"a"), session_key=KEY, epoch=0
        )
    assert refused.value.reason is Reason.INVALID


def test_sessions_nobody_ends_do_not_pile_up_and_a_forgotten_one_goes_on() -> None:
    conversations = Conversations(AesGcmSealer(), Clock(), remembered=8)
    tokens = [conversations.begin(asking(), caller(b"a"), session_key=KEY, epoch=0).encode() for _ in range(100)]
    for token in tokens:
        conversations.resume(asking(token), caller(b"a"), session_key=KEY, epoch=0)
    assert len(conversations._known) == 8
    assert conversations.resume(asking(tokens[0]), caller(b"a"), session_key=KEY, epoch=0).revision == "2025-06-18"
