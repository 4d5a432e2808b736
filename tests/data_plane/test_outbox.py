"""Writes are kept back for a turn of the loop, never lost, reordered or hoarded."""

import asyncio
import select
import socket
import struct
import threading

import pytest

from data_plane.outbox import LARGE_BYTES, MOST, Outbox
from data_plane.upstreams.connection import Connection, ExchangeError, Headers

WAIT_S = 5


async def test_writes_wait_for_what_is_ready_and_leave_in_their_order() -> None:
    loop = asyncio.get_running_loop()
    outbox, seen = Outbox(loop), list[bytes]()
    loop.call_soon(outbox.add, seen.append, b"a")
    loop.call_soon(outbox.add, seen.append, b"b")
    loop.call_soon(lambda: seen.append(b"ready before"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [b"ready before", b"a", b"b"]


async def test_many_writes_and_long_ones_are_not_hoarded() -> None:
    outbox, seen = Outbox(asyncio.get_running_loop()), list[bytes]()
    for _ in range(MOST):
        outbox.add(seen.append, b"x")
    assert len(seen) == MOST
    outbox.add(seen.append, b"short")
    outbox.add(seen.append, b"y" * (LARGE_BYTES + 1))
    assert seen[MOST:] == [b"short", b"y" * (LARGE_BYTES + 1)]


async def test_what_is_flushed_is_not_written_again() -> None:
    outbox, seen = Outbox(asyncio.get_running_loop()), list[bytes]()
    outbox.add(seen.append, b"once")
    outbox.flush()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [b"once"]


class _Waiting:
    """A `Receiver` that waits for the failure."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[ExchangeError] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: Headers) -> None: ...

    def data(self, chunk: bytes) -> None: ...

    def finished(self) -> None: ...

    def failed(self, failure: ExchangeError) -> None:
        self.failure.set_result(failure)


@pytest.mark.parametrize("reset", [True, False])
async def test_a_request_that_could_not_be_written_is_told_from_one_that_may_have_arrived(reset: bool) -> None:
    """Only the first may be sent again."""
    listening = socket.create_server(("127.0.0.1", 0))
    go = threading.Event()

    def serve() -> None:
        peer, _ = listening.accept()
        assert go.wait(WAIT_S)
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            peer.recv(1)
        peer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(
        lambda: Connection(lambda _: None, lambda _: None, Outbox(loop)), *listening.getsockname()
    )
    receiver = _Waiting()
    go.set()
    if reset:
        thread.join(WAIT_S)
        gone = select.poll()
        gone.register(transport.get_extra_info("socket").fileno(), select.POLLHUP)
        assert gone.poll(WAIT_S * 1000)
    assert connection.send_soon(b"POST / HTTP/1.1\r\n\r\n", receiver)
    failure = await asyncio.wait_for(receiver.failure, WAIT_S)
    assert (failure.unsent, failure.answered) == (reset, False)
    await asyncio.to_thread(thread.join, WAIT_S)
    listening.close()
