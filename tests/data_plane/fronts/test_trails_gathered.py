"""What a short call tells goes to the log in one message."""

import asyncio
import time

from adapters.memory.bus import MemoryBus, MemoryEvents
from core.bus import Event
from data_plane.fronts.mail import Mail
from data_plane.fronts.trails import PORTION_BYTES, Trails, read

SESSION = b"session"


class Counted(MemoryEvents):
    """Remembers how many came together."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.together: list[int] = []

    async def append(self, stream: str, *events: Event) -> None:
        self.together.append(len(events))
        await super().append(stream, *events)


async def test_all_of_a_short_call_is_one_message_and_is_there_to_be_taken_up() -> None:
    log, mail = Counted(), Mail(MemoryBus())
    await mail.open()
    trails = Trails(log, mail)
    trail = trails.begin("call", SESSION, lambda: None, b"1")
    assert trail is not None
    first = trail.add(b"").id
    ids = [trail.add(b"step %d" % step).id for step in range(3)]
    trail.add(b"done", last=True)
    await trail.flushed()
    assert log.together == [5]
    assert [read(one, SESSION).number for one in (first, *ids)] == [1, 2, 3, 4]
    taken = await trails.take_up(read(ids[0], SESSION))
    assert [said.message for said in taken.missed] == [b"step 1", b"step 2", b"done"]
    taken.close()


async def test_what_is_long_goes_in_several() -> None:
    log = Counted()
    trail = Trails(log, Mail(MemoryBus())).begin("call", SESSION, lambda: None, b"1")
    assert trail is not None
    for _ in range(3):
        trail.add(b"x" * (PORTION_BYTES // 2 + 1))
    await trail.flushed()
    assert log.together == [1, 1, 1]
    await asyncio.sleep(0)
