"""Frames over a Unix socket between the supervisor and one worker: questions, answers, notes and queries on the way to
them, and news.

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

from core import call
from core.bound import Bound, Hits
from core.bus import BusAway, TooLarge
from core.call import Notification, Notify
from core.errors import Reason, Unavailable
from core.limits import CountersAway
from data_plane.messages import (
    Answer,
    Ask,
    Drop,
    Failed,
    Frame,
    News,
    Note,
    Query,
    Question,
    Replied,
    Reply,
    Response,
    Retract,
    Tell,
)

log = logging.getLogger("toolgate.channel")

FRAME_MAX_BYTES = 272 * 1024 * 1024
"""The largest result a Server may be declared to give (256 MiB), and room for what is around it."""
OPEN_MAX = 16_384
"""Questions of one peer worked on at once; more are answered `busy`."""
UNSENT_MAX_BYTES = 64 * 1024 * 1024
"""A peer that leaves more than this unread is stuck: the channel is cut."""
NOTES_MAX_BYTES = 4 * 1024 * 1024
"""Notes are progress and log messages: beyond this much unread they are dropped, not queued."""
NEWS_MAX_BYTES = 16 * 1024 * 1024
"""What a peer may leave unread before news that may be lost are dropped."""
QUERIES_MAX = 64
"""Open at once on the way to one answer."""
_HEADER = 4

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Frame)


class ChannelLost(Exception):
    """The other side is gone; whether it did what it was asked is unknown."""


class Peer(Protocol):
    """What one end does with what the other end says."""

    async def asked(self, question: Question, notify: Notify, ask: call.Ask) -> Answer:
        """Answer a question. Unavailable, CountersAway and BusAway travel; any other exception is a bug of this side.

        `ask` asks back; cancelling it takes the query back. Raises Unavailable.
        """
        ...

    def told(self, news: News) -> None: ...

    def lost(self) -> None:
        """The channel is gone; called once."""
        ...


class ChannelHits:
    """Caps met on channels, counted over the lives of several: questions answered `busy`, notes and news dropped, peers
    cut."""

    def __init__(self) -> None:
        self.busy, self.notes, self.news, self.cut = Hits(), Hits(), Hits(), Hits()


class _Waiting:
    """A question asked of the other side."""

    __slots__ = ("answer", "ask", "notify", "queries")

    def __init__(self, notify: Notify | None, ask: call.Ask | None) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.notify = notify
        self.ask = ask
        self.queries: dict[int, asyncio.Task[None]] = {}


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
        self._waiting: dict[int, _Waiting] = {}
        self._working: dict[int, asyncio.Task[None]] = {}
        self._queries: dict[tuple[int, int], asyncio.Future[call.Reply]] = {}
        """Those this side wants answered, by question and number."""
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()

    def bounds(self) -> dict[str, Bound]:
        """Questions of either side, and what the other side has not read; notes may be less of that than the rest."""
        questions, unsent = len(self._working) + len(self._waiting), self._unsent()
        return {
            "channel_questions": Bound(questions, OPEN_MAX, self._hits.busy.count),
            "channel_bytes": Bound(unsent, self._unsent_max_bytes, self._hits.cut.count),
            "channel_note_bytes": Bound(unsent, NOTES_MAX_BYTES, self._hits.notes.count),
            "channel_news_bytes": Bound(unsent, NEWS_MAX_BYTES, self._hits.news.count),
        }

    async def ask(self, question: Question, notify: Notify | None = None, ask: call.Ask | None = None) -> Answer:
        """The other side's answer. Cancelling stops the work there. Raises ChannelLost."""
        await self._writable.wait()
        if self._transport is None:
            raise ChannelLost(self._name)
        number = next(self._ids)
        waiting = self._waiting[number] = _Waiting(notify, ask)
        try:
            self._write(Ask(number, question))
            return await waiting.answer
        except asyncio.CancelledError:
            self._write(Drop(number))
            raise
        finally:
            del self._waiting[number]
            for query in waiting.queries.values():
                query.cancel()

    def tell(self, news: News) -> None:
        """Say something that needs no answer. Nothing happens if the other side is gone."""
        self._write(Tell(news))

    @property
    def is_behind(self) -> bool:
        """Whether the other side reads so slowly that notes are dropped."""
        return self._unsent() > NOTES_MAX_BYTES

    def mention(self, news: News) -> bool:
        """Say something that may be lost: it is, and False comes back, where the other side is slow to read."""
        if self._unsent() > NEWS_MAX_BYTES:
            self._hits.news.count += 1
            return False
        self._write(Tell(news))
        return True

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
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(ChannelLost(self._name))
        for reply in self._queries.values():
            if not reply.done():
                reply.set_exception(_nobody("the channel is gone"))
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
            waiting = self._waiting.get(frame.id)
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(frame.body)
        elif isinstance(frame, Ask):
            self._work(frame)
        elif isinstance(frame, Note):
            waiting = self._waiting.get(frame.id)
            if waiting is not None and waiting.notify is not None:
                waiting.notify(frame.body)
        elif isinstance(frame, Drop):
            task = self._working.get(frame.id)
            if task is not None:
                task.cancel()
        elif isinstance(frame, Tell):
            self._peer.told(frame.body)
        else:
            self._queried(frame)

    def _queried(self, frame: Query | Response | Retract) -> None:
        if isinstance(frame, Query):
            self._query(frame)
        elif isinstance(frame, Retract):
            waiting = self._waiting.get(frame.id)
            query = waiting.queries.get(frame.number) if waiting is not None else None
            if query is not None:
                query.cancel()
        else:
            reply = self._queries.get((frame.id, frame.number))
            if reply is None or reply.done():
                return
            if isinstance(frame.body, Failed):
                reply.set_exception(_why_not(frame.body))
            else:
                reply.set_result(frame.body.reply)

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
            answer = await self._peer.asked(ask.body, self._noting(ask.id), self._asking(ask.id))
        except Unavailable as failure:
            answer = Failed("unavailable", failure.reason, failure.public, failure.detail, failure.retry_after_s)
        except TooLarge as failure:
            answer = Failed("large", detail=str(failure))
        except (CountersAway, BusAway) as failure:
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

    # === queries, on the way to an answer ===

    def _asking(self, number: int) -> call.Ask:
        queries = count(1)

        async def ask(question: call.Question) -> call.Reply:
            key = (number, next(queries))
            reply: asyncio.Future[call.Reply] = asyncio.get_running_loop().create_future()
            if self._transport is None:
                raise _nobody("the channel is gone")
            self._queries[key] = reply
            try:
                self._write(Query(*key, question))
                return await reply
            except asyncio.CancelledError:
                self._write(Retract(*key))
                raise
            finally:
                del self._queries[key]

        return ask

    def _query(self, query: Query) -> None:
        waiting = self._waiting.get(query.id)
        if waiting is None or waiting.answer.done():
            return  # It is over, which the other side is about to learn.
        if waiting.ask is None or query.number in waiting.queries or len(waiting.queries) >= QUERIES_MAX:
            self._write(Response(query.id, query.number, Failed("busy")))
            return
        task = asyncio.get_running_loop().create_task(self._respond(query, waiting.ask))
        waiting.queries[query.number] = task
        task.add_done_callback(lambda _: waiting.queries.pop(query.number, None))

    async def _respond(self, query: Query, ask: call.Ask) -> None:
        body: Replied | Failed
        try:
            body = Replied(await ask(query.body))
        except Unavailable as failure:
            body = Failed("unavailable", failure.reason, failure.public, failure.detail, failure.retry_after_s)
        except Exception:
            log.exception("channel %s: %s could not be asked", self._name, query.body.method)
            body = Failed("bug")
        self._write(Response(query.id, query.number, body))

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
            # Only a reply can be so large, and only past the caps that hold for results and for what agents send.
            log.error("channel %s: a frame of %d bytes is not sent", self._name, len(body))
            body = _encode(Reply(cast("Reply", frame).id, Failed("bug")))
        self._transport.writelines((len(body).to_bytes(_HEADER, "big"), body))


def _why_not(failed: Failed) -> Unavailable:
    if failed.kind == "unavailable":
        return Unavailable(
            Reason(failed.reason), failed.public, detail=failed.detail, retry_after_s=failed.retry_after_s
        )
    return _nobody(failed.kind)


def _nobody(detail: str) -> Unavailable:
    return Unavailable(Reason.UPSTREAM_TIMEOUT, "The caller cannot be asked now.", detail=detail)


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
