"""One child process speaking MCP on its standard streams: a `Duplex` over its pipes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from core.bound import Hits
from core.call import Ask, Interest, Notify, Outgoing, Raw, Route
from core.server import StdioTransport
from data_plane.supervisor import stdio_reaper
from data_plane.supervisor.stdio_launch import CANNOT_RUN
from data_plane.supervisor.stdio_lines import LineReader, Overlong
from data_plane.supervisor.stdio_log import StderrLog
from data_plane.upstreams import duplex_watch, jsonrpc, params
from data_plane.upstreams.duplex import Duplex
from data_plane.upstreams.failure import overloaded, unavailable
from data_plane.upstreams.greeting import Greeting, from_discover, from_initialize
from data_plane.upstreams.jsonrpc import NotMcpError
from data_plane.upstreams.questions import Clock

_LAUNCHER: Final = str(Path(__file__).with_name("stdio_launch.py"))
_ENVELOPE_BYTES = 64 * 1024
UNREAD_BYTES = 16 * 1024 * 1024
"""A child that leaves more than this unread on its standard input is stuck."""
_ABANDONED_BYTES = 2 * UNREAD_BYTES
IN_FLIGHT = 4096
_DECLARED: Final = b'{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{}}'
"""To a child of the handshake era, once for all who will call it; what a caller lacks is refused it then."""
_LAST_WORDS_S = 0.2
"""After the process ended, its pipe may still hold answers; a grandchild may hold the pipe open for ever."""


_KILLED_S = 5.0


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
        self._duplex = Duplex(self._write)
        self.down = self._duplex.down
        self._leaving = asyncio.Event()
        """Nobody is to listen to it any more."""
        self.gone = asyncio.Event()
        self.exited = asyncio.Event()
        self._end = ""
        """How it ended, once it has."""
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        self._process = process
        self._log = log
        self._on_down = on_down
        self._lines = LineReader(_ENVELOPE_BYTES)
        self._stdin: asyncio.WriteTransport | None = None
        self._pipes: list[asyncio.BaseTransport] = []
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._ended)

    @property
    def greeting(self) -> Greeting | None:
        return self._duplex.greeting

    @property
    def last_used(self) -> float:
        return self._duplex.last_used

    @property
    def in_flight(self) -> int:
        """Calls. Of the modern era, whoever listens has a request under way as well."""
        listening = len(self._duplex.ears) if self.greeting is not None and self.greeting.era == "modern" else 0
        return max(0, self._duplex.in_flight - listening)

    @property
    def is_watched(self) -> bool:
        return bool(self._duplex.ears)

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
        discover, found = None, None
        if not legacy_first:
            discover = self._duplex.begin("server/discover", params.own("modern", b""))
            await asyncio.wait({discover}, timeout=discover_s)
            found = from_discover(discover.result()) if discover.done() else None
        self._duplex.greeting = greeting = found or await self._initialize(discover)
        if greeting.era == "legacy":
            self._duplex.tell(jsonrpc.notification("notifications/initialized"))
        return greeting

    async def _initialize(self, discover: "asyncio.Future[Raw] | None") -> Greeting:
        initialize = self._duplex.begin("initialize", jsonrpc.initialize_params(_DECLARED))
        if discover is not None and not discover.done():
            await asyncio.wait({discover, initialize}, return_when=asyncio.FIRST_COMPLETED)
            refused = initialize.done() and initialize.exception() is None and bool(initialize.result().error)
            if discover.done() or refused:
                found = from_discover(await discover)
                if found is not None:
                    initialize.cancel()
                    return found
            discover.cancel()
        return from_initialize(await initialize)

    async def call(
        self, route: Route, outgoing: Outgoing, notify: Notify, ask: Ask | None = None, clock: Clock | None = None
    ) -> Raw:
        """Cancelled, it tells the child. `clock`: the call's deadline. Raises Unavailable, NotSentError."""
        if self.in_flight >= IN_FLIGHT:
            self._hits.calls.count += 1
            raise overloaded(f"{IN_FLIGHT} calls are under way in its process")
        return await self._duplex.call(route, outgoing, notify, ask, clock)

    async def ask(self, method: str, members: bytes, max_bytes: int) -> Raw:
        """The gateway's own question. `members`: of params besides `_meta`, each with a comma after it. Raises
        Unavailable.
        """
        return await self._duplex.request(method, members, max_bytes)

    async def watch(self, interest: Interest, tell: Notify, began: Callable[[], None]) -> None:
        """`Watchable.watch` at this child, without a deadline for `began`. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        watching = loop.create_task(duplex_watch.watch(self._duplex, interest, tell, began))
        leaving = loop.create_task(self._leaving.wait())
        try:
            await asyncio.wait({watching, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
            raise unavailable("its process is being replaced")
        finally:
            for task in (watching, leaving):
                task.cancel()
            await asyncio.gather(watching, leaving, return_exceptions=True)

    async def idle(self, wait_s: float) -> None:
        """Until no call is under way, or for so long. Whoever listens is sent away at once."""
        self._leaving.set()
        try:
            async with asyncio.timeout(wait_s):
                await self._duplex.idle.wait()
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

    def _write(self, message: bytes, request_id: int | None = None) -> None:
        """A `duplex.Write`."""
        if request_id is not None and self.unread_bytes > UNREAD_BYTES:
            self._hits.unread.count += 1
            raise overloaded("its process does not read its input")
        self._lines.max_bytes = max(self._lines.max_bytes, self._duplex.max_bytes + _ENVELOPE_BYTES)
        if self._stdin is None or self._stdin.is_closing():
            return
        if self.unread_bytes > _ABANDONED_BYTES:
            return  # Answers and notifications of ours, that it asks for faster than it reads them.
        # Arguments come as their sender wrote them: between tokens there may be line ends, inside strings never.
        if b"\n" in message or b"\r" in message:
            message = message.replace(b"\n", b" ").replace(b"\r", b" ")
        self._stdin.write(message + b"\n")

    # What it says.

    def _read(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            if isinstance(line, Overlong):
                self._duplex.overlong(line.id)
                continue
            try:
                self._duplex.heard(line)
            except NotMcpError as failure:
                # Stray prints are common, and whose call they disturb cannot be told: they go where the others go.
                self._complained(b"not JSON-RPC on standard output: %b\n" % str(failure).encode())

    def _complained(self, data: bytes) -> None:
        self._log.feed(data, asyncio.get_running_loop().time())

    # Its end.

    def _ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exited.set()
        self._end = self._how_it_ended()
        loop.call_later(_LAST_WORDS_S, self._fail, self._end)

    def _closed_output(self) -> None:
        """Most often because it ends, which takes a moment longer and says more."""
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._silent)

    def _silent(self) -> None:
        self._fail(self._end or self._how_it_ended() or "its process has closed its output")

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
        self._duplex.fail(why)
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
