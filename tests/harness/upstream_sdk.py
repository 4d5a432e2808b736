"""A Streamable HTTP server made with the official SDK, on uvicorn in this process: both eras on one URL."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import TextContent


class Seen:
    """What the server noticed: tests wait for it instead of sleeping."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls = 0
        self.traceparents: list[str] = []


def make(seen: Seen) -> MCPServer:
    server = MCPServer("harness", instructions="Use with care.")

    @server.tool(description="Says it back.")
    def echo(text: str) -> str:
        seen.calls += 1
        return text

    @server.tool(description="Never answers.")
    async def hang() -> str:
        seen.calls += 1
        seen.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise
        return ""

    @server.tool(description="Answers once a call of hang is under way.")
    async def until_started() -> str:
        await seen.started.wait()
        return "started"

    @server.tool(description="Answers once a call of hang was cancelled.")
    async def until_cancelled() -> str:
        await seen.cancelled.wait()
        return "cancelled"

    @server.tool(description="Reports as it goes.")
    async def steps(ctx: Context) -> str:
        for done in (1, 2, 3):
            await ctx.report_progress(done, 3, f"step {done}")
        return "done"

    @server.tool(description="Fails.")
    def fails() -> str:
        raise ToolError("this tool fails on purpose")

    @server.tool(description="As many characters as asked for.", structured_output=False)
    def big(size: int) -> TextContent:
        return TextContent(type="text", text="x" * size)

    return server


@asynccontextmanager
async def serving(seen: Seen, *, json_response: bool = False) -> AsyncIterator[str]:
    """The URL of a running server."""
    app = make(seen).streamable_http_app(json_response=json_response)
    async with on_uvicorn(app) as origin:
        yield f"{origin}/mcp"


@asynccontextmanager
async def on_uvicorn(app: object, port: int = 0) -> AsyncIterator[str]:
    """The origin. `port` 0: a free one."""
    # Named as TCP, or asyncio leaves TCP_NODELAY off and every answer in two writes takes 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, lifespan="on", ws="none")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        async with asyncio.timeout(20):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        sock.close()
