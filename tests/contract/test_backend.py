"""What every `ToolBackend` keeps, on servers made with the official SDK: HTTP in both eras and forms, HTTP+SSE,
WebSocket and stdio.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from core.call import Notification, Outgoing, Raw, Route, ToolBackend
from core.errors import Reason, Unavailable
from core.server import SseTransport, Transport, WebSocketTransport
from data_plane.supervisor.stdio import StdioServers
from data_plane.upstreams import sse_channel, websocket
from data_plane.upstreams.channels import ChannelBackend
from data_plane.upstreams.mcp_http import HttpBackend
from data_plane.upstreams.probe import observe
from tests.harness import upstream_matrix_transport as matrix
from tests.harness.across import across
from tests.harness.timing import beside
from tests.harness.upstream_route import ECHO, as_program, over_http, route_to
from tests.harness.upstream_sdk import Seen, make, serving

ROOT = Path(__file__).parents[2]
KINDS = (
    "http-modern",
    "http-legacy-sse",
    "http-legacy-json",
    "sse-legacy",
    "websocket-modern",
    "websocket-legacy",
    "stdio-modern",
    "stdio-legacy",
    "stdio-modern-remote",
    "stdio-legacy-remote",
)
TOOLS = ["echo", "hang", "until_started", "until_cancelled", "steps", "fails", "big"]
NONE = Outgoing(arguments=b"{}")


class Under:
    """The backend under test, and how its routes are made."""

    def __init__(
        self, backend: HttpBackend | ChannelBackend | StdioServers, route: Callable[..., Route], *, reports: bool = True
    ) -> None:
        self.backend: ToolBackend = backend
        self.respondent = backend
        self.route = route
        self.reports = reports

    async def call(self, tool: str, outgoing: Outgoing = NONE, **changes: object) -> Raw:
        return await self.backend.call(self.route(tool, **changes), outgoing, lambda _: None)


@asynccontextmanager
async def http(era: str, *, json_response: bool) -> AsyncIterator[Under]:
    async with serving(Seen(), json_response=json_response) as url:
        backend = HttpBackend()
        try:
            yield Under(
                backend,
                lambda tool, **c: route_to(over_http(url), tool, era=era, **c),  # type: ignore[arg-type]
                reports=not json_response,
            )
        finally:
            await backend.close()


@asynccontextmanager
async def channel(transport: str, era: str) -> AsyncIterator[Under]:
    modern = transport == "websocket"
    app = matrix.app(make(Seen())._lowlevel_server, "both" if modern else "legacy", transport)  # type: ignore[arg-type]
    async with matrix.listening(app) as port:
        there = f"127.0.0.1:{port}{matrix.PATHS[transport]}"
        if modern:
            reach: Transport = WebSocketTransport(url=f"ws://{there}", allow_private=True)
            backend = ChannelBackend(WebSocketTransport, websocket.connect, modern=True)
        else:
            reach = SseTransport(url=f"http://{there}", allow_private=True)
            backend = ChannelBackend(SseTransport, sse_channel.connect, modern=False)
        try:
            yield Under(backend, lambda tool, **c: route_to(reach, tool, era=era, **c))  # type: ignore[arg-type]
        finally:
            await backend.close()


@asynccontextmanager
async def stdio(era: str, *, remote: bool) -> AsyncIterator[Under]:
    """`remote`: called by a worker, over its channel."""
    servers = StdioServers()
    program = as_program(sys.executable, "-m", "tests.harness.upstream_stdio", cwd=str(ROOT))
    try:
        async with across(servers) as backend:
            under = Under(servers, lambda tool, **c: route_to(program, tool, era=era, **c))  # type: ignore[arg-type]
            under.backend = backend if remote else servers
            yield under
    finally:
        await servers.close()


@pytest.fixture(params=KINDS)
async def under(request: pytest.FixtureRequest) -> AsyncIterator[Under]:
    transport, era, *form = request.param.split("-")
    if transport == "http":
        opened = http(era, json_response=form == ["json"])
    else:
        opened = stdio(era, remote=form == ["remote"]) if transport == "stdio" else channel(transport, era)
    async with opened as under:
        yield under


def text_of(raw: Raw) -> str:
    return msgspec.json.decode(raw.result)["content"][0]["text"]


async def test_an_answer_comes_back_as_the_server_wrote_it(under: Under) -> None:
    raw = await under.call("echo", Outgoing(arguments=b'{"text": "h\xc3\xa9llo"}'))
    assert text_of(raw) == "héllo"
    assert raw.error == b""
    assert raw.size_bytes >= len(raw.result)


async def test_a_tool_that_fails_is_an_answer(under: Under) -> None:
    raw = await under.call("fails")
    assert msgspec.json.decode(raw.result)["isError"] is True
    assert "on purpose" in text_of(raw)


async def test_progress_comes_before_the_answer_without_the_token(under: Under) -> None:
    notes: list[Notification] = []
    outgoing = Outgoing(arguments=b"{}", wants_progress=True)
    raw = await under.backend.call(under.route("steps"), outgoing, notes.append)
    assert text_of(raw) == "done"
    # A server that answers in JSON has nowhere to put progress.
    expected = (1, 2, 3) if under.reports else ()
    for note, step in zip(notes, expected, strict=True):
        assert note.method == "notifications/progress"
        assert msgspec.json.decode(note.params) == {"progress": step, "total": 3, "message": f"step {step}"}


async def test_nobody_hears_of_progress_who_did_not_ask(under: Under) -> None:
    notes: list[Notification] = []
    await under.backend.call(under.route("steps"), NONE, notes.append)
    assert notes == []


async def test_the_deadline_holds_within_100_ms(under: Under) -> None:
    await under.call("echo", ECHO)  # Opened and warm: the deadline is what is measured.
    async with beside(0.4) as timer:
        with pytest.raises(Unavailable) as caught:
            await under.call("hang", deadline_s=0.4)
    assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
    assert -0.01 <= timer.behind_s <= 0.1
    assert text_of(await under.call("echo", ECHO)) == "hello"


async def test_cancelling_the_caller_cancels_at_the_server(under: Under) -> None:
    call = asyncio.ensure_future(under.call("hang"))
    assert text_of(await under.call("until_started")) == "started"
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert text_of(await under.call("until_cancelled")) == "cancelled"


async def test_output_beyond_the_cap_is_refused_and_the_next_call_works(under: Under) -> None:
    big = Outgoing(arguments=b'{"size": 300000}')
    with pytest.raises(Unavailable) as caught:
        await under.call("big", big, max_result_bytes=200_000)
    assert caught.value.reason is Reason.UPSTREAM_TOO_LARGE
    assert len(text_of(await under.call("big", big, max_result_bytes=400_000))) == 300_000


async def test_a_thousand_calls_at_once_all_get_their_own_answer(under: Under) -> None:
    await under.call("echo", ECHO)
    tasks_before = len(asyncio.all_tasks())

    async def one(number: int) -> bool:
        raw = await under.call("echo", Outgoing(arguments=b'{"text":"%d"}' % number), deadline_s=60)
        return text_of(raw) == str(number)

    assert all(await asyncio.gather(*(one(n) for n in range(1000))))
    if isinstance(under.respondent, HttpBackend):
        in_use, idle = next(iter(under.respondent.connections().values()))
        assert in_use == 0
        assert idle <= 256
    elif isinstance(under.respondent, StdioServers):
        assert [child.in_flight for child in under.respondent.children()] == [0]
        assert len(asyncio.all_tasks()) <= tasks_before


async def test_an_unknown_tool_is_answered_by_the_server_itself(under: Under) -> None:
    raw = await under.call("no such tool: ünknown")
    assert raw.error or msgspec.json.decode(raw.result)["isError"] is True


async def test_looking_at_the_server_shows_its_tools_byte_for_byte(under: Under) -> None:
    seen = await observe(under.route(""), under.respondent)
    assert seen.error == ""
    assert [tool.name for tool in seen.tools] == TOOLS
    assert seen.server_info["name"] == "harness"
    assert seen.instructions == "Use with care."
    for tool in seen.tools:
        definition = msgspec.json.decode(tool.definition)
        assert definition["name"] == tool.name
        assert definition["inputSchema"]["type"] == "object"


async def test_a_declared_era_is_honoured(under: Under) -> None:
    for era, revision in (("modern", "2026-07-28"), ("legacy", "2025-11-25")):
        if era == "modern" and isinstance(under.respondent, StdioServers) and under.route("").backend.era == "legacy":
            continue  # Its snapshot says legacy already, and a child has one era.
        if era == "modern" and isinstance(under.route("").backend.transport, SseTransport):
            continue  # It went with the handshake.
        backend = msgspec.structs.replace(under.route("").backend, declared=era)
        seen = await observe(msgspec.structs.replace(under.route(""), backend=backend), under.respondent)
        assert (seen.era, seen.protocol_version, seen.error) == (era, revision, "")
        assert [tool.name for tool in seen.tools] == TOOLS


def repository(folder: Path) -> str:
    """One with a commit in it, ours whoever owns the clone the tests run in."""
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "the first"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return str(folder)


@pytest.mark.parametrize(
    ("program", "tool", "arguments", "expected"),
    [
        (["mcp-server-time"], "get_current_time", {"timezone": "UTC"}, "is_dst"),
        (["mcp-server-git", "--repository", "{repo}"], "git_log", {"repo_path": "{repo}"}, "the first"),
    ],
)
async def test_servers_no_one_here_wrote_answer_over_stdio(
    program: list[str], tool: str, arguments: dict[str, str], expected: str, tmp_path: Path
) -> None:
    repo = repository(tmp_path)
    arguments = {name: value.format(repo=repo) for name, value in arguments.items()}
    command = [str(Path(sys.executable).with_name(program[0])), *(word.format(repo=repo) for word in program[1:])]
    route = route_to(as_program(*command), tool, era=None, deadline_s=20)
    servers = StdioServers()
    try:
        seen = await observe(route, servers)
        assert tool in [offered.name for offered in seen.tools]
        raw = await servers.call(route, Outgoing(arguments=msgspec.json.encode(arguments)), lambda _: None)
        assert expected in text_of(raw)
    finally:
        await servers.close()
