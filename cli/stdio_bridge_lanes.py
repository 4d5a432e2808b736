"""The two ways through the bridge: each request a POST of its own, and what the server says by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from cli.stdio_bridge_http import Answer, Away, Http
from cli.stdio_bridge_messages import (
    AWAY,
    BROKEN,
    HEADER_MISMATCH,
    PARSE_ERROR,
    Era,
    Message,
    NotJson,
    agreed_version,
    declared_headers,
    envelope_headers,
    error,
    notification,
    one_line,
    read,
    with_id,
    wrong_era,
)
from core.mcp.errors import INTERNAL_ERROR, INVALID_REQUEST
from core.mcp.revisions import META_PREFIX
from data_plane.upstreams.sse import EventParser, TooLongError

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
MAX_IN_FLIGHT: Final = 256
MAX_TOOLS: Final = 4096
"""Whose header arguments are remembered."""
RETRY_S: Final = (0.5, 15.0)
"""Between two attempts to have a stream again; doubling."""
ATTEMPTS: Final = 5
"""To take up the answer of one request again."""
SESSION: Final = "Mcp-Session-Id"
_LISTEN: Final = "subscriptions/listen"
_INITIALIZED: Final = "notifications/initialized"
_KINDS: Final = ("tools", "prompts", "resources")


class Lanes:
    """One client's conversation with one endpoint."""

    def __init__(
        self, http: Http, key: str, write: Callable[[bytes], Awaitable[None]], say: Callable[[str], None]
    ) -> None:
        """`write`: a line to the client. `say`: a line for people."""
        self._http = http
        self._key = key
        self._write = write
        self._say = say
        self._era: Era | None = None
        self._version = ""
        self._session = ""
        self._hello: Message | None = None
        """The client's own `initialize`, to say again."""
        self._settings: dict[str, Message] = {}
        """What the session was told that a new one has to be told again: log level and subscriptions."""
        self._renewing = asyncio.Lock()
        self._declared: dict[str, dict[str, str]] = {}
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._events: asyncio.Task[None] | None = None

    # === what the client says ===

    async def heard(self, line: bytes) -> None:
        """One line of the client. Returns once it is under way."""
        try:
            message = read(line)
        except NotJson as failure:
            await self._write(error(b"", PARSE_ERROR, f"Parse error: {failure}"))
            return
        if self._era is None and message.is_request:
            self._era = "modern" if message.version else "legacy"
        if message.is_request:
            await self._request(message)
        elif self._era == "modern":
            # HTTP has no messages of this era that are not requests: a cancelled request's POST is closed.
            if message.method == "notifications/cancelled":
                self._cancel(bytes(message.params.request_id))
        elif message.method == _INITIALIZED:
            await self._tell(message)
            self._follow()
        else:
            self._run(self._tell(message))

    async def _request(self, message: Message) -> None:
        if message.version if self._era == "legacy" else message.method == "initialize":
            await self._write(wrong_era(message))
        elif message.id in self._running:
            await self._write(error(message.id, INVALID_REQUEST, "this id is in use"))
        elif len(self._running) >= MAX_IN_FLIGHT:
            await self._write(error(message.id, AWAY, f"more than {MAX_IN_FLIGHT} requests at once"))
        else:
            work = self._listen(message) if message.method == _LISTEN else self._ask(message)
            task = asyncio.get_running_loop().create_task(work)
            self._running[message.id] = task
            task.add_done_callback(lambda done: self._over(message.id, done))
            if message.method == "initialize":
                # Whatever follows needs the session, also of a client that does not wait for it.
                await asyncio.wait({task})

    def _over(self, id_: bytes, done: "asyncio.Task[None]") -> None:
        if self._running.get(id_) is done:
            del self._running[id_]
        if self._noted(done):
            self._run(self._write(error(id_, INTERNAL_ERROR, "a fault of toolgate stdio")))

    def _noted(self, done: "asyncio.Task[None]") -> bool:
        """Whether it failed: which is a fault of ours, all else being answered."""
        self._errands.discard(done)
        failure = None if done.cancelled() else done.exception()
        if failure is not None:
            self._say(f"a fault of this command itself: {type(failure).__name__}: {failure}")
        return failure is not None

    def _run(self, errand: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_awaited(errand))
        self._errands.add(task)
        task.add_done_callback(self._noted)

    def _cancel(self, id_: bytes) -> None:
        task = self._running.pop(id_, None)
        if task is not None:
            self._errands.add(task)
            task.cancel()

    async def idle(self) -> None:
        """Until every request is answered but those that never end."""
        while waiting := {*self._running.values(), *self._errands} - self._endless:
            await asyncio.wait(waiting)

    @property
    def _endless(self) -> set["asyncio.Task[None]"]:
        return {task for task in self._running.values() if task.get_name() == _LISTEN}

    async def close(self) -> None:
        tasks = {*self._running.values(), *self._errands, *([self._events] if self._events else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def farewell(self) -> None:
        """Ends the session. Raises Away."""
        if self._session:
            async with self._http.exchange("DELETE", self._headers(stream=False)) as answer:
                await answer.body(MAX_ANSWER_BYTES)

    # === requests ===

    async def _ask(self, message: Message) -> None:
        """One request, to its answer, whatever becomes of it."""
        try:
            await self._answered(message)
        except Away as failure:
            self._say(str(failure))
            await self._write(error(message.id, AWAY, f"the gateway cannot be reached: {failure}"))

    async def _answered(self, message: Message) -> None:
        session = self._session
        last = await self._posted(message)
        if last is None and self._era == "legacy" and session and message.method != "initialize":
            await self._renewed(session)
            last = await self._posted(message)
        if last is not None and last.error_code == HEADER_MISMATCH and message.method == "tools/call":
            await self._learn(message)
            last = await self._posted(message)
        if last is None:
            await self._write(error(message.id, 404, "the gateway knows no such session"))
            return
        await self._write(with_id(last, message.id))
        self._learnt(message, last)

    async def _posted(self, message: Message) -> Message | None:
        """The answer to a POST, everything before it written. None: no such session. Raises Away."""
        headers = self._headers()
        if self._era == "modern":
            headers |= envelope_headers(message, self._declared)
        elif message.method == "initialize":
            headers.pop(SESSION, None)
            headers.pop("MCP-Protocol-Version", None)
        async with self._http.exchange("POST", headers, message.line) as answer:
            if message.method == "initialize":
                self._session = answer.headers.get("mcp-session-id", "")
            if answer.media == "text/event-stream":
                found, parser = await self._read_events(answer, message.id)
                if found is not None or self._era == "modern" or not parser.last_id:
                    return found or read(error(message.id, BROKEN, "the gateway's answer broke off"))
            else:
                if answer.status == 404 and SESSION in headers:
                    await answer.body(MAX_ANSWER_BYTES)
                    return None
                return _whole(answer, await answer.body(MAX_ANSWER_BYTES), message)
        return await self._resumed(message, parser)

    async def _resumed(self, message: Message, parser: EventParser) -> Message:
        """The rest of an answer whose stream ended early (2025-11-25, Streamable HTTP, "Resumability")."""
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(_pause_s(parser, attempt))
            try:
                headers = self._headers(accept="text/event-stream") | {"Last-Event-ID": parser.last_id}
                async with self._http.exchange("GET", headers) as answer:
                    if answer.media != "text/event-stream":
                        break
                    found, parser = await self._read_events(answer, message.id, parser.last_id)
                    if found is not None:
                        return found
            except Away as failure:
                self._say(f"{failure}; trying again")
        return read(error(message.id, BROKEN, "the gateway's answer broke off"))

    async def _read_events(self, answer: Answer, id_: bytes, last_id: str = "") -> tuple[Message | None, EventParser]:
        """The response to `id_`, everything before it written; None where the stream ends without."""
        parser = EventParser(MAX_ANSWER_BYTES, last_id)
        found: Message | None = None
        try:
            async for message in _messages(answer, parser):
                if message.is_answer and message.id in (id_, b""):
                    found = message
                    if not message.id:
                        continue
                    break
                await self._write(message.line)
        except Away as failure:
            if not parser.last_id:
                raise
            self._say(str(failure))
        return found, parser

    async def _tell(self, message: Message) -> None:
        """A notification, an answer to the server, or a batch."""
        try:
            session = self._session
            if not await self._told(message) and session and not message.is_answer:
                await self._renewed(session)
                await self._told(message)
        except Away as failure:
            self._say(f"{failure}: a message to it is lost")

    async def _told(self, message: Message) -> bool:
        """False: no such session."""
        async with self._http.exchange("POST", self._headers(), message.line) as answer:
            if answer.media == "text/event-stream":
                async for one in _messages(answer, EventParser(MAX_ANSWER_BYTES)):
                    await self._write(one.line)
                return True
            body = await answer.body(MAX_ANSWER_BYTES)
            if answer.status == 404 and self._session:
                return False
            if message.batch and body and answer.media == "application/json":
                await self._write(one_line(body))
            elif answer.status >= 400:
                said = body[:200].decode(errors="replace")
                self._say(f"HTTP {answer.status} to {message.method or 'an answer'}: {said}")
            return True

    # === sessions of the handshake era ===

    def _learnt(self, message: Message, last: Message) -> None:
        """What an answer settles for what comes after it."""
        if last.error:
            return
        if message.method == "initialize":
            self._version, self._hello = agreed_version(last.result), message
        elif message.method == "tools/list" and self._era == "modern":
            self._remember(last.result)
        elif message.method == "logging/setLevel":
            self._settings["level"] = message
        elif message.method == "resources/subscribe":
            self._settings[bytes(message.params.uri).decode()] = message
        elif message.method == "resources/unsubscribe":
            self._settings.pop(bytes(message.params.uri).decode(), None)

    async def _renewed(self, lost: str) -> None:
        """A session in place of one that the gateway does not know any more. Raises Away."""
        async with self._renewing:
            if self._session != lost or self._hello is None:
                return
            self._say("the session is gone; beginning another")
            answer = await self._posted(self._hello)
            if answer is None or answer.error:
                # Not now: the next request tries again.
                self._session = lost
                return
            self._version = agreed_version(answer.result)
            for message in (read(notification(_INITIALIZED)), *self._settings.values()):
                await self._told(message)
            self._follow()

    def _follow(self) -> None:
        """Hears what the server says by itself, from here on in this session."""
        if self._events is not None and self._events is not asyncio.current_task():
            self._events.cancel()
        if self._session:
            self._events = asyncio.get_running_loop().create_task(self._hear(self._session))
            self._events.add_done_callback(self._noted)

    async def _hear(self, session: str) -> None:
        """The session's GET stream, again whenever it ends, until another session takes its place."""
        parser, attempt = EventParser(MAX_ANSWER_BYTES), 0
        while self._session == session:
            headers = self._headers(accept="text/event-stream")
            if parser.last_id:
                headers["Last-Event-ID"] = parser.last_id
            try:
                async with self._http.exchange("GET", headers) as answer:
                    if answer.status == 404:
                        self._run(self._again(session))
                        return
                    if answer.media != "text/event-stream":
                        if 400 <= answer.status < 500 and answer.status not in (408, 429):
                            return  # It offers none.
                        raise Away(f"HTTP {answer.status}")  # noqa: TRY301 - as every other way it may be away
                    attempt, parser = 0, EventParser(MAX_ANSWER_BYTES, parser.last_id)
                    async for message in _messages(answer, parser):
                        await self._write(message.line)
            except Away as failure:
                if not attempt:
                    self._say(f"{failure}; trying again")
            await asyncio.sleep(_pause_s(parser, attempt))
            attempt += 1

    async def _again(self, session: str) -> None:
        try:
            await self._renewed(session)
        except Away as failure:
            self._say(str(failure))

    # === the modern era ===

    async def _listen(self, message: Message) -> None:
        """A subscription. One that breaks off is had again: what changed meanwhile is unknown, so all of it is told."""
        task = asyncio.current_task()
        assert task is not None
        task.set_name(_LISTEN)
        honoured: Message | None = None
        attempt = 0
        while True:
            try:
                headers = self._headers() | envelope_headers(message, {})
                async with self._http.exchange("POST", headers, message.line) as answer:
                    if answer.media != "text/event-stream":
                        last = _whole(answer, await answer.body(MAX_ANSWER_BYTES), message)
                        if honoured is None or answer.status < 500:
                            await self._write(with_id(last, message.id))
                            return
                        raise Away(f"HTTP {answer.status}")  # noqa: TRY301 - as above
                    async for one in _messages(answer, EventParser(MAX_ANSWER_BYTES)):
                        if one.is_answer:
                            if honoured is None or one.error:
                                await self._write(with_id(one, message.id))
                                return
                            break
                        if one.method == "notifications/subscriptions/acknowledged" and honoured is not None:
                            await self._say_all_changed(message, one)
                        else:
                            await self._write(one.line)
                        if one.method == "notifications/subscriptions/acknowledged":
                            honoured, attempt = one, 0
            except Away as failure:
                if honoured is None:
                    await self._write(error(message.id, AWAY, f"the gateway cannot be reached: {failure}"))
                    return
                if not attempt:
                    self._say(f"{failure}; listening again")
            await asyncio.sleep(min(RETRY_S[0] * 2**attempt, RETRY_S[1]))
            attempt = min(attempt + 1, 10)

    async def _say_all_changed(self, message: Message, acknowledged: Message) -> None:
        tag = b'{"io.modelcontextprotocol/subscriptionId":%b}' % message.id
        for kind in _KINDS:
            if b'"%bListChanged":true' % kind.encode() in acknowledged.line.replace(b" ", b""):
                await self._write(
                    b'{"jsonrpc":"2.0","method":"notifications/%b/list_changed","params":{"_meta":%b}}'
                    % (kind.encode(), tag)
                )

    async def _learn(self, message: Message) -> None:
        """All tools, for the arguments of theirs that travel in headers: the client called one it did not list here."""
        cursor = ""
        for _ in range(100):
            asked = _tools_list(message.version, cursor)
            answer = await self._posted(asked)
            if answer is None or not answer.result:
                return
            cursor = self._remember(answer.result)
            if not cursor:
                return

    def _remember(self, result: bytes) -> str:
        found, cursor = declared_headers(result)
        self._declared.update(found)
        while len(self._declared) > MAX_TOOLS:
            del self._declared[next(iter(self._declared))]
        return cursor

    def _headers(self, *, accept: str = "application/json, text/event-stream", stream: bool = True) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "toolgate-stdio"}
        if stream:
            headers |= {"Accept": accept, "Content-Type": "application/json"}
        if self._session:
            headers[SESSION] = self._session
        if self._version:
            headers["MCP-Protocol-Version"] = self._version
        return headers


async def _awaited(errand: Awaitable[None]) -> None:
    await errand


async def _messages(answer: Answer, parser: EventParser) -> AsyncIterator[Message]:
    """Of an event stream. Raises Away."""
    try:
        async for chunk in answer.chunks():
            for event in parser.feed(chunk):
                if event.event == b"message" and event.data:  # One without data only primes resumption.
                    yield read(event.data)
    except (TooLongError, NotJson) as failure:
        raise Away(f"it says what is no MCP: {failure or 'too long'}") from failure


def _whole(answer: Answer, body: bytes, message: Message) -> Message:
    """The response in a body, or what HTTP says instead of one."""
    if answer.media == "application/json" and body:
        try:
            found = read(body)
        except NotJson:
            found = None
        if found is not None and found.is_answer and (found.result or found.error):
            return found
    said = f"HTTP {answer.status}, and no MCP answer: is it an endpoint's URL?"
    return read(error(message.id, answer.status if answer.status >= 400 else BROKEN, said))


def _pause_s(parser: EventParser, attempt: int) -> float:
    wanted_s = RETRY_S[0] if parser.retry_ms is None else parser.retry_ms / 1000
    return min(max(wanted_s, 0.01) * 2**attempt, max(RETRY_S[1], wanted_s)) if attempt < 10 else RETRY_S[1]


def _tools_list(revision: str, cursor: str) -> Message:
    meta = {META_PREFIX + "protocolVersion": revision, META_PREFIX + "clientCapabilities": {}}
    params = {"_meta": meta, **({"cursor": cursor} if cursor else {})}
    asked = {"jsonrpc": "2.0", "id": "toolgate-stdio", "method": "tools/list", "params": params}
    return read(msgspec.json.encode(asked))
