"""Frames over a Unix socket between the supervisor and one worker: questions, answers, notes on the way, and news.

A frame is four bytes of length, big-endian, then msgpack of `messages.Frame`. Both ends may ask. The socket is one of a
pair made by the supervisor and inherited by the worker: it has no address, so nobody else can connect to it, and its
end tells at once that the other side is gone.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from itertools import count
from typing import Protocol, cast

import msgspec

from core.bound import Bound, Hits
from core.call import Notification, Notify
from core.errors import Unavailable
from core.limits import CountersAway
from data_plane.messages import Answer, Ask, Drop, Failed, Frame, News, Note, Question, Reply, Tell

log = logging.getLogger("toolgate.channel")

FRAME_MAX_BYTES = 272 * 1024 * 1024
"""The largest result a Server may be declared to give (256 MiB), and room for what is around it."""
OPEN_MAX = 16_384
"""Questions of one peer worked on at once; more are answered `busy`."""
UNSENT_MAX_BYTES = 64 * 1024 * 1024
"""A peer that leaves more than this unread is stuck: the channel is cut."""
NOTES_MAX_BYTES = 4 * 1024 * 1024
"""Notes are progress and log messages: beyond this much unread they are dropped, not queued."""
_HEADER = 4

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Frame)


class ChannelLost(Exception):
    """The other side is gone; whether it did what it was asked is unknown."""


class Peer(Protocol):
    """What one end does with what the other end says."""

    async def asked(self, question: Question, notify: Notify) -> Answer:
        """Answer a question. Unavailable and CountersAway travel; any other exception is a bug of this side."""
        ...

    def told(self, news: News) -> None: ...

    def lost(self) -> None:
        """The channel is gone; called once."""
        ...


class ChannelHits:
    """Caps met on channels, counted over the lives of several: questions answered `busy`, notes dropped, peers cut."""

    def __init__(self) -> None:
        self.busy, self.notes, self.cut = Hits(), Hits(), Hits()


class Channel(asyncio.Protocol):
    """One end. Made by `open_channel`."""

    def __init__(
        self, peer: Peer, name: str, hits: ChannelHits | None = None, *, unsent_max_bytes: int = UNSENT_MAX_BYTES
    ) -> None:
        self._peer = peer
        self._hits = hits or ChannelHits()
        self._name = name
        self._unsent_max_bytes = unsent_max_bytes
        self._ids = count(1)
        self._buffer = bytearray()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._notified: dict[int, Notify] = {}
        self._working: dict[int, asyncio.Task[None]] = {}
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()

    @property
    def notes_dropped(self) -> int:
        return self._hits.notes.count

    def bounds(self) -> dict[str, Bound]:
        """Questions of either side, and what the other side has not read; notes may be less of that than the rest."""
        questions, unsent = len(self._working) + len(self._waiting), self._unsent()
        return {
            "channel_questions": Bound(questions, OPEN_MAX, self._hits.busy.count),
            "channel_bytes": Bound(unsent, self._unsent_max_bytes, self._hits.cut.count),
            "channel_note_bytes": Bound(unsent, NOTES_MAX_BYTES, self._hits.notes.count),
        }

    async def ask(self, question: Question, notify: Notify | None = None) -> Answer:
        """The other side's answer. Cancelling stops the work there. Raises ChannelLost."""
        await self._writable.wait()
        if self._transport is None:
            raise ChannelLost(self._name)
        number = next(self._ids)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if notify is not None:
            self._notified[number] = notify
        try:
            self._write(Ask(number, question))
            return await answer
        except asyncio.CancelledError:
            self._write(Drop(number))
            raise
        finally:
            self._waiting.pop(number, None)
            self._notified.pop(number, None)

    def tell(self, news: News) -> None:
        """Say something that needs no answer. Nothing happens if the other side is gone."""
        self._write(Tell(news))

    def abort(self) -> None:
        """Cut it now; `lost` follows."""
        if self._transport is not None:
            self._transport.abort()

    # === asyncio.Protocol ===

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self._transport = None
        self._writable.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ChannelLost(self._name))
        for task in self._working.values():
            task.cancel()
        self.closed.set()
        self._peer.lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEADER:
            size = int.from_bytes(buffer[at : at + _HEADER], "big")
            if size > FRAME_MAX_BYTES:
                self._refuse(f"a frame of {size} bytes")
                return
            end = at + _HEADER + size
            if len(buffer) < end:
                break
            try:
                frame = _decoder.decode(memoryview(buffer)[at + _HEADER : end])
            except msgspec.MsgspecError as failure:
                self._refuse(f"an unreadable frame: {failure}")
                return
            at = end
            self._received(frame)
        if at:
            del buffer[:at]

    # === in ===

    def _refuse(self, what: str) -> None:
        log.error("channel %s: the other side sent %s; cut", self._name, what)
        self._buffer.clear()
        self.abort()

    def _received(self, frame: Frame) -> None:
        if isinstance(frame, Reply):
            answer = self._waiting.get(frame.id)
            if answer is not None and not answer.done():
                answer.set_result(frame.body)
        elif isinstance(frame, Ask):
            self._work(frame)
        elif isinstance(frame, Note):
            notify = self._notified.get(frame.id)
            if notify is not None:
                notify(frame.body)
        elif isinstance(frame, Drop):
            task = self._working.get(frame.id)
            if task is not None:
                task.cancel()
        else:
            self._peer.told(frame.body)

    def _work(self, ask: Ask) -> None:
        if ask.id in self._working:
            self._refuse(f"question {ask.id} twice")
            return
        if len(self._working) >= OPEN_MAX:
            self._hits.busy.count += 1
            self._write(Reply(ask.id, Failed("busy")))
            return
        task = asyncio.get_running_loop().create_task(self._answer(ask))
        self._working[ask.id] = task
        task.add_done_callback(lambda _: self._working.pop(ask.id, None))

    async def _answer(self, ask: Ask) -> None:
        try:
            answer = await self._peer.asked(ask.body, self._noting(ask.id))
        except Unavailable as failure:
            answer = Failed("unavailable", failure.reason, failure.public, failure.detail, failure.retry_after_s)
        except CountersAway as failure:
            answer = Failed("away", detail=str(failure))
        except Exception:
            log.exception("channel %s: %s failed", self._name, type(ask.body).__name__)
            answer = Failed("bug")
        await self._writable.wait()
        self._write(Reply(ask.id, answer))

    def _noting(self, number: int) -> Callable[[Notification], None]:
        def note(notification: Notification) -> None:
            if self._unsent() > NOTES_MAX_BYTES:
                self._hits.notes.count += 1
            else:
                self._write(Note(number, notification))

        return note

    # === out ===

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _write(self, frame: Frame) -> None:
        if self._transport is None:
            return
        if self._unsent() > self._unsent_max_bytes:
            self._hits.cut.count += 1
            log.error("channel %s: %d bytes unread by the other side; cut", self._name, self._unsent())
            self.abort()
            return
        body = _encode(frame)
        if len(body) > FRAME_MAX_BYTES:
            # Only a reply can be so large, and only past the caps that hold for results.
            log.error("channel %s: a frame of %d bytes is not sent", self._name, len(body))
            body = _encode(Reply(cast("Reply", frame).id, Failed("bug")))
        self._transport.writelines((len(body).to_bytes(_HEADER, "big"), body))


async def open_channel(
    sock: socket.socket,
    peer: Peer,
    name: str,
    hits: ChannelHits | None = None,
    *,
    unsent_max_bytes: int = UNSENT_MAX_BYTES,
) -> Channel:
    """Take over a connected Unix socket. `name` is for logs."""
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(
        lambda: Channel(peer, name, hits, unsent_max_bytes=unsent_max_bytes), sock=sock
    )
    return channel
