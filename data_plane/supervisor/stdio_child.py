"""One child process speaking MCP on its standard streams: many calls at once, told apart by id."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, cast

from core.bound import Hits
from core.call import Notify, Outgoing, Raw, Route
from core.server import StdioTransport
from data_plane.supervisor import stdio_reaper
from data_plane.supervisor.stdio_launch import CANNOT_RUN
from data_plane.supervisor.stdio_lines import LineReader, Overlong
from data_plane.supervisor.stdio_log import StderrLog
from data_plane.upstreams import jsonrpc
from data_plane.upstreams.failure import overloaded, too_large, unavailable
from data_plane.upstreams.greeting import Greeting, from_discover, from_initialize
from data_plane.upstreams.jsonrpc import Listener, Message, NotMcpError

_LAUNCHER: Final = str(Path(__file__).with_name("stdio_launch.py"))
_ENVELOPE_BYTES = 64 * 1024
UNREAD_BYTES = 16 * 1024 * 1024
"""A child that leaves more than this unread on its standard input is stuck."""
IN_FLIGHT = 4096
_LAST_WORDS_S = 0.2
"""After the process ended, its pipe may still hold answers; a grandchild may hold the pipe open for ever."""


_KILLED_S = 5.0


class _Pending(NamedTuple):
    answer: asyncio.Future[Raw]
    listener: Listener
    notify: Notify
    max_bytes: int


def spawn(transport: StdioTransport, environment: Mapping[str, str], mark: str) -> "subprocess.Popen[bytes]":
    """Start the program in its own session, through the launcher. `mark`: see `stdio_reaper`. Raises Unavailable."""
    words = (
        os.getpid(),
        transport.cpu_seconds,
        transport.memory_mib,
        transport.max_files,
        int("LC_CTYPE" in environment),
    )
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", _LAUNCHER, *map(str, words), *transport.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, stdio_reaper.MARK: mark},
            cwd=transport.cwd or None,
            start_new_session=True,
        )
    except (OSError, ValueError) as failure:
        raise unavailable(f"its program cannot be started: {failure}") from failure


class ChildHits:
    """Caps met by the calls of all children, over their lives."""

    def __init__(self) -> None:
        self.calls, self.unread, self.lines = Hits(), Hits(), Hits()


class Child:
    """From spawn to burial. `down` is set once it serves no more; `gone` once nothing of it is left."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        mark: str,
        log: StderrLog,
        on_down: Callable[["Child"], None],
        hits: "ChildHits",
    ) -> None:
        self.pid = process.pid
        self.mark = mark
        self._hits = hits
        self.greeting: Greeting | None = None
        self.log_level = ""
        self.down = asyncio.Event()
        self._why_down = ""
        self.gone = asyncio.Event()
        self.exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.started_at = self.last_used = loop.time()
        self._process = process
        self._log = log
        self._on_down = on_down
        self._ids = count(1)
        self._pending: dict[int, _Pending] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._lines = LineReader(_ENVELOPE_BYTES)
        self._stdin: asyncio.WriteTransport | None = None
        self._pipes: list[asyncio.BaseTransport] = []
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._ended)

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    @property
    def unread_bytes(self) -> int:
        """What it has not read from its standard input."""
        return self._stdin.get_write_buffer_size() if self._stdin is not None else 0

    async def open(self) -> None:
        """Connect the pipes. Call once, before anything is asked."""
        loop = asyncio.get_running_loop()
        process = self._process
        self._stdin, _ = await loop.connect_write_pipe(asyncio.Protocol, process.stdin)
        self._pipes.append(self._stdin)
        out, _ = await loop.connect_read_pipe(lambda: _Pipe(self._read, self._closed_output), process.stdout)
        self._pipes.append(out)
        err, _ = await loop.connect_read_pipe(lambda: _Pipe(self._complained, lambda: None), process.stderr)
        self._pipes.append(err)

    async def greet(self, *, legacy_first: bool, discover_s: float) -> Greeting:
        """Find out the era: on stdio the first request fixes it. Raises Unavailable.

        A server that is slow to start has not refused `server/discover`: it stays asked while `initialize` is sent, and
        the first useful answer decides.
        """
        discover = None
        if not legacy_first:
            discover = self._ask("server/discover", b'{"_meta":%b}' % jsonrpc.meta(jsonrpc.MODERN, b"{}"))
            await asyncio.wait({discover}, timeout=discover_s)
            if discover.done():
                found = from_discover(discover.result())
                if found is not None:
                    self.greeting = found
                    return found
        self.greeting = await self._initialize(discover)
        return self.greeting

    async def _initialize(self, discover: asyncio.Future[Raw] | None) -> Greeting:
        initialize = self._ask("initialize", jsonrpc.initialize_params(b"{}"))
        if discover is not None and not discover.done():
            await asyncio.wait({discover, initialize}, return_when=asyncio.FIRST_COMPLETED)
            refused = initialize.done() and initialize.exception() is None and bool(initialize.result().error)
            if discover.done() or refused:
                found = from_discover(await discover)
                if found is not None:
                    initialize.cancel()
                    return found
            discover.cancel()
        greeting = from_initialize(await initialize)
        self._write(jsonrpc.notification("notifications/initialized"))
        return greeting

    async def call(self, route: Route, outgoing: Outgoing, notify: Notify) -> Raw:
        """tools/call. Cancelled, it tells the child. Raises Unavailable."""
        greeting = cast("Greeting", self.greeting)
        await self._listen_from(outgoing.log_level)
        request_id = next(self._ids)
        token = request_id if outgoing.wants_progress else None
        modern = greeting.era == "modern"
        meta = jsonrpc.meta(
            greeting.revision if modern else None,
            outgoing.capabilities,
            token=token,
            log_level=outgoing.log_level,
            trace=jsonrpc.trace_members(outgoing.traceparent, outgoing.tracestate),
        )
        params = b'{"name":%b,"arguments":%b%b}' % (
            jsonrpc.encode(route.tool),
            outgoing.arguments or b"{}",
            b',"_meta":' + meta if len(meta) > 2 else b"",
        )
        waiting = _Pending(
            asyncio.get_running_loop().create_future(),
            Listener(token, outgoing.log_level),
            notify,
            route.backend.max_result_bytes,
        )
        return await self._answered(request_id, "tools/call", params, waiting)

    async def ask(self, method: str, members: bytes, max_bytes: int) -> Raw:
        """Any other method. `members`: of params besides `_meta`, each with a comma after it. Raises Unavailable."""
        greeting = cast("Greeting", self.greeting)
        if greeting.era == "modern":
            params = b'{%b"_meta":%b}' % (members, jsonrpc.meta(greeting.revision, b"{}"))
        else:
            params = b"{%b}" % members.rstrip(b",")
        waiting = _Pending(asyncio.get_running_loop().create_future(), Listener(None, ""), lambda _: None, max_bytes)
        return await self._answered(next(self._ids), method, params, waiting)

    async def idle(self, wait_s: float) -> None:
        """Until no call is under way, or for so long."""
        try:
            async with asyncio.timeout(wait_s):
                await self._idle.wait()
        except TimeoutError:
            return

    def give_up(self) -> None:
        """Fail the calls under way, take no more."""
        self._fail("is being stopped")

    async def stop(self, *, eof_s: float, term_s: float) -> None:
        """End it and all it started: end of input, then SIGTERM, then SIGKILL to the whole group. Returns once gone."""
        self.give_up()
        if self.exited.is_set():
            await self.bury()
            return
        loop = asyncio.get_running_loop()
        # Taken while it lives: a process that has left the group, without the mark, is known by its ancestors only.
        family = await loop.run_in_executor(None, stdio_reaper.members, {self.pid: self.mark})
        if self._stdin is not None:
            self._stdin.close()
        if not await _within(self.exited, eof_s):
            self._signal(signal.SIGTERM)
            await _within(self.exited, term_s)
        self._signal(signal.SIGKILL)
        await loop.run_in_executor(None, stdio_reaper.kill, family)
        await self.bury()

    async def bury(self) -> None:
        """Kill what is left of its group and reap it; until then its number cannot become another's."""
        self._signal(signal.SIGKILL)
        await asyncio.get_running_loop().run_in_executor(None, stdio_reaper.kill_all, {self.pid: self.mark})
        # One stuck in the kernel cannot be waited for: it stays a zombie of ours.
        if await _within(self.exited, _KILLED_S) and not self.gone.is_set():
            self._process.wait()
            for pipe in self._pipes or (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
            self._log.close(asyncio.get_running_loop().time())
            self.gone.set()

    # Requests.

    async def _listen_from(self, level: str) -> None:
        """A legacy level is the session's, so it is only ever lowered."""
        greeting = cast("Greeting", self.greeting)
        if level and greeting.logs and jsonrpc.more_verbose(level, self.log_level):
            self.log_level = level
            await self.ask("logging/setLevel", b'"level":%b,' % jsonrpc.encode(level), _ENVELOPE_BYTES)

    async def _answered(self, request_id: int, method: str, params: bytes, waiting: _Pending) -> Raw:
        self._post(request_id, method, params, waiting)
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            if self._pending.pop(request_id, None) is not None:
                self._write(jsonrpc.cancelled(request_id, "the caller went away or its time is over"))
            raise
        finally:
            self._finished(request_id)

    def _ask(self, method: str, params: bytes) -> asyncio.Future[Raw]:
        """For the greeting, which waits for two answers at once."""
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        request_id = next(self._ids)
        self._post(request_id, method, params, _Pending(answer, Listener(None, ""), lambda _: None, 1 << 20))
        answer.add_done_callback(lambda _: self._finished(request_id))
        # Retrieved here, because of two answers only one may be looked at.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    def _post(self, request_id: int, method: str, params: bytes, waiting: _Pending) -> None:
        if self.down.is_set():
            raise unavailable(self._why_down)
        if len(self._pending) >= IN_FLIGHT:
            self._hits.calls.count += 1
            raise overloaded(f"{IN_FLIGHT} calls are under way in its process")
        if self.unread_bytes > UNREAD_BYTES:
            self._hits.unread.count += 1
            raise overloaded("its process does not read its input")
        self._lines.max_bytes = max(self._lines.max_bytes, waiting.max_bytes + _ENVELOPE_BYTES)
        self._pending[request_id] = waiting
        self._idle.clear()
        self._write(jsonrpc.request(request_id, method, params))

    def _finished(self, request_id: int) -> None:
        self._pending.pop(request_id, None)
        self.last_used = asyncio.get_running_loop().time()
        if not self._pending:
            self._idle.set()

    def _write(self, message: bytes) -> None:
        if self._stdin is None or self._stdin.is_closing():
            return
        # Arguments come as their sender wrote them: between tokens there may be line ends, inside strings never.
        if b"\n" in message or b"\r" in message:
            message = message.replace(b"\n", b" ").replace(b"\r", b" ")
        self._stdin.write(message + b"\n")

    # What it says.

    def _read(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            if isinstance(line, Overlong):
                self._overlong(line.id)
            else:
                self._heard(line)

    def _heard(self, line: bytes) -> None:
        try:
            message = jsonrpc.decode(line)
            if message.method is None:
                self._answer(message, len(line))
            elif message.id is None:
                self._note(message)
            else:
                self._write(jsonrpc.reply_to(message))
        except NotMcpError as failure:
            # Stray prints are common, and whose call they disturb cannot be told: they go where the others go.
            self._complained(b"not JSON-RPC on standard output: %b\n" % str(failure).encode())

    def _answer(self, message: Message, size_bytes: int) -> None:
        pending = self._pending.get(message.id) if type(message.id) is int else None
        if pending is None or pending.answer.done():
            return  # Of a call that was cancelled, or of none at all.
        try:
            raw = jsonrpc.answer_of(message, size_bytes)
        except NotMcpError as failure:
            pending.answer.set_exception(unavailable(str(failure)))
            return
        if len(raw.result) + len(raw.error) > pending.max_bytes:
            pending.answer.set_exception(too_large(pending.max_bytes))
        else:
            pending.answer.set_result(raw)

    def _note(self, message: Message) -> None:
        """There is one stream for all calls. Progress says by its token whose it is; a log message does not, and is
        passed on only while there is but one call it can belong to.
        """
        if message.method == "notifications/progress":
            token = bytes(jsonrpc.members(message.params).get("progressToken", b""))
            pending = self._pending.get(int(token)) if token.isdigit() else None
        else:
            pending = next(iter(self._pending.values())) if len(self._pending) == 1 else None
        note = pending.listener.heard(message) if pending is not None else None
        if pending is not None and note is not None:
            pending.notify(note)

    def _overlong(self, request_id: int | None) -> None:
        """An answer beyond the cap fails its call; if it cannot be told whose it is, all that are under way."""
        failing = list(self._pending.values()) if request_id is None else [self._pending.get(request_id)]
        for pending in failing:
            if pending is not None and not pending.answer.done():
                pending.answer.set_exception(too_large(pending.max_bytes))

    def _complained(self, data: bytes) -> None:
        self._log.feed(data, asyncio.get_running_loop().time())

    # Its end.

    def _ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exited.set()
        loop.call_later(_LAST_WORDS_S, self._fail, self._how_it_ended())

    def _closed_output(self) -> None:
        self._fail(self._how_it_ended() or "its process has closed its output")

    def _how_it_ended(self) -> str:
        """Empty: it runs, as far as can be told. Asks without reaping, so that its number stays its own."""
        if self.gone.is_set():
            return "its process has ended"
        try:
            state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # Somebody in this process reaps what is not theirs.
            return "its process has ended"
        if state is None:
            return ""
        if state.si_code == os.CLD_EXITED:
            hint = ": is its command in the gateway's PATH?" if state.si_status == CANNOT_RUN else ""
            return f"its process has ended with exit code {state.si_status}{hint}"
        return f"its process has ended by signal {state.si_status}"

    def _fail(self, why: str) -> None:
        if self.down.is_set():
            return
        self.down.set()
        self._why_down = why
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(unavailable(why))
        self._on_down(self)

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group, while the leader is not reaped."""
        if not self.gone.is_set():
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return


class _Pipe(asyncio.Protocol):
    """Hands bytes and their end to whoever owns the pipe."""

    def __init__(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_end = on_end

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's
        self._on_end()


async def _within(event: asyncio.Event, wait_s: float) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
