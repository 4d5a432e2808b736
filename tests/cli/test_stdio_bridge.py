"""`toolgate stdio` before servers made with the official SDK: what a client on a pipe sees, in both eras."""

import asyncio
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import CreateMessageResult, ElicitRequestParams, ElicitResult, TextContent

from tests.harness.stdio_bridge import ANSWER_S, TOOLGATE, Bridge, bridge, parameters
from tests.harness.upstream_matrix import serving

ERAS = [("legacy", "legacy"), ("modern", "2026-07-28")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def text(message: dict) -> str:
    return str(message["result"]["content"][0]["text"])


@pytest.mark.parametrize(("era", "mode"), [*ERAS, ("both", "auto")])
async def test_the_official_client_does_over_a_pipe_what_it_does_over_http(era: str, mode: str) -> None:
    steps: list[float] = []
    logs: list[object] = []

    async def progress(done: float, _total: float | None, _message: str | None) -> None:
        steps.append(done)

    async def asked(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def sampled(_context: object, _params: object) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", model="m", content=TextContent(type="text", text="Paris"))

    async def logged(params: object) -> None:
        logs.append(params)

    async with (
        serving(era, "http") as server,  # type: ignore[arg-type]
        Client(
            parameters(server.url),
            mode=mode,  # type: ignore[arg-type]
            elicitation_callback=asked,
            sampling_callback=sampled,
            logging_callback=logged,
            log_level="debug" if mode != "legacy" else None,
        ) as client,
    ):
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "echo" in names
        echoed = await asyncio.gather(*(client.call_tool("echo", {"text": f"{n} ümlaut\n"}) for n in range(20)))
        assert [one.content[0].text for one in echoed] == [f"{n} ümlaut\n" for n in range(20)]
        await client.call_tool("steps", {"steps": 3}, progress_callback=progress)
        assert steps == [1, 2, 3]
        await client.call_tool("logs", {})
        assert logs
        assert "Ada" in (await client.call_tool("ask_form", {})).content[0].text
        assert "Paris" in (await client.call_tool("ask_sampling", {})).content[0].text
        header = json.loads((await client.call_tool("with_header", {"region": "eu"})).content[0].text)
        assert header == {"argument": "eu", "header": "eu" if era != "legacy" else None}
        big = await client.call_tool("big", {"size": 3_000_000})
        assert len(big.content[0].text) == 3_000_000
        assert (await client.call_tool("fails", {})).is_error


@pytest.mark.parametrize("source", ["</dev/null", "<&-"])
def test_input_that_is_no_pipe_is_read_to_its_end(source: str) -> None:
    given = ["sh", "-c", f'exec "$0" stdio --endpoint http://127.0.0.1:1/mcp --key k {source}', str(TOOLGATE)]
    done = subprocess.run(given, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("modern", [False, True])
async def test_a_cancelled_request_is_cancelled_at_the_server_and_others_go_on(modern: bool) -> None:
    async with serving("both", "http") as server, bridge(server.url) as client:
        if not modern:
            await client.hello()
        slow = await client.begin("tools/call", {"name": "slow", "arguments": {"name": "x"}}, modern=modern)
        assert text(await client.call("until_started", {"name": "x"}, modern=modern)) == "started"
        params = {"requestId": slow, "reason": "enough"}
        await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        assert text(await client.call("until_cancelled", {"name": "x"}, modern=modern)) == "cancelled"
        if modern:
            assert not [message for message in client.seen if message.get("id") == slow]


async def test_a_listener_of_the_modern_era_hears_until_it_has_enough() -> None:
    async with serving("modern", "http") as server, bridge(server.url) as client:
        wanted = {"notifications": {"toolsListChanged": True}}
        listen = await client.begin("subscriptions/listen", wanted, modern=True)
        began = await client.until("notifications/subscriptions/acknowledged")
        assert began["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == listen
        await client.call("add_tool", {"name": "new"}, modern=True)
        if not [one for one in client.seen if one.get("method") == "notifications/tools/list_changed"]:
            await client.until("notifications/tools/list_changed")
        await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": listen}})
        code, said = await client.close()
        assert (code, said) == (0, "")


async def test_what_a_server_says_by_itself_comes_by_the_sessions_stream() -> None:
    async with serving("legacy", "http") as server, bridge(server.url) as client:
        await client.hello()
        await client.request("resources/subscribe", {"uri": "matrix://watched"})
        await heard(client, "notifications/resources/updated", "touch", {"uri": "matrix://watched"})


async def heard(client: Bridge, method: str, tool: str, arguments: dict) -> None:
    """The tool tells of a change; again where the stream was not open yet."""
    async with asyncio.timeout(ANSWER_S):
        while not [one for one in client.seen if one.get("method") == method]:
            await client.call(tool, arguments)


async def test_a_session_the_server_forgot_is_begun_again_with_all_it_was_told() -> None:
    port = free_port()
    async with serving("legacy", "http", port) as server:
        started = bridge(server.url)
        client = await started.__aenter__()
        await client.hello()
        await client.request("resources/subscribe", {"uri": "matrix://watched"})
        assert text(await client.call("echo", {"text": "before"})) == "before"
    away = await client.call("echo", {"text": "meanwhile"})
    assert away["error"]["code"] == 503
    async with serving("legacy", "http", port):
        assert text(await client.call("echo", {"text": "after"})) == "after"
        await heard(client, "notifications/resources/updated", "touch", {"uri": "matrix://watched"})
        hellos = [one for one in client.seen if "serverInfo" in one.get("result", {})]
        assert len(hellos) == 1
        code, said = await client.close()
        assert code == 0
        assert "beginning another" in said
    await started.__aexit__(None, None, None)


async def test_an_argument_in_a_header_is_found_out_where_the_client_listed_nothing() -> None:
    async with serving("modern", "http") as server, bridge(server.url) as client:
        answer = await client.call("with_header", {"region": "eu"}, modern=True)
        assert json.loads(text(answer)) == {"argument": "eu", "header": "eu"}


async def test_a_server_that_cannot_be_reached_is_an_error_of_each_request() -> None:
    async with bridge(f"http://127.0.0.1:{free_port()}/mcp") as client:
        for _ in range(2):
            answer = await client.request("server/discover", modern=True)
            assert answer["error"]["code"] == 503
        assert (await client.close())[0] == 0


async def test_what_is_no_message_is_answered_and_another_era_is_refused() -> None:
    async with serving("both", "http") as server, bridge(server.url) as client:
        await client.send(b"{nonsense")
        assert (await client.line())["error"]["code"] == -32700
        assert "result" in await client.request("server/discover", modern=True)
        refused = await client.request("initialize", {"protocolVersion": "2025-11-25"})
        assert (refused["error"]["code"], refused["error"]["data"]["requested"]) == (-32022, "2025-11-25")
    async with serving("both", "http") as server, bridge(server.url) as client:
        await client.hello()
        assert (await client.request("tools/list", modern=True))["error"]["code"] == -32600


@pytest.mark.parametrize(
    "first", [b"[]", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","method":"notifications/cancelled"}']
)
async def test_what_is_no_request_settles_no_era(first: bytes) -> None:
    async with serving("both", "http") as server, bridge(server.url) as client:
        await client.send(first)
        assert "result" in await client.request("server/discover", modern=True)


async def test_the_end_of_the_input_ends_the_session_and_a_signal_ends_it_at_once() -> None:
    async with serving("legacy", "http") as server:
        async with bridge(server.url) as client:
            await client.hello()
            await client.begin("tools/call", {"name": "echo", "arguments": {"text": "last"}})
            assert (await client.close())[0] == 0
            assert client.process.stdout is not None
            assert b'"last"' in await client.process.stdout.read()
        async with bridge(server.url) as client:
            await client.hello()
            await client.begin("tools/call", {"name": "slow", "arguments": {"name": "y"}})
            assert text(await client.call("until_started", {"name": "y"})) == "started"
            client.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(3):
                assert await client.process.wait() == 0


async def test_a_client_that_does_not_wait_for_its_session_has_one_all_the_same() -> None:
    async with serving("legacy", "http") as server, bridge(server.url) as client:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        await client.begin("initialize", params)
        await client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        await client.begin("tools/call", {"name": "echo", "arguments": {"text": "at once"}})
        assert (await client.close())[0] == 0
        assert client.process.stdout is not None
        assert "at once" in (await client.process.stdout.read()).decode()


async def test_a_client_that_does_not_read_holds_up_only_itself() -> None:
    async with serving("modern", "http") as server, bridge(server.url) as client:
        ids = [
            await client.begin("tools/call", {"name": "big", "arguments": {"size": 2_000_000}}, modern=True)
            for _ in range(8)
        ]
        rest = set(ids)
        while rest:
            rest.discard((await client.line())["id"])
        status = Path(f"/proc/{client.process.pid}/status").read_text()
        peak_kib = int(status.split("VmHWM:")[1].split()[0])
        assert peak_kib < 120 * 1024


async def test_files_do_for_pipes(tmp_path: Path) -> None:
    async with serving("modern", "http") as server:
        envelope = {"protocolVersion": "2026-07-28", "clientCapabilities": {}}
        meta = {f"io.modelcontextprotocol/{name}": value for name, value in envelope.items()}
        asked = {"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {"_meta": meta}}
        (tmp_path / "in").write_text(json.dumps(asked))
        with (tmp_path / "in").open() as given, (tmp_path / "out").open("w") as taken:
            process = await asyncio.create_subprocess_exec(
                *(parameters(server.url).command, "stdio", "--endpoint", server.url, "--key", "k"),
                stdin=given,
                stdout=taken,
            )
            async with asyncio.timeout(ANSWER_S):
                assert await process.wait() == 0
        (line,) = (tmp_path / "out").read_text().splitlines()
        assert json.loads(line)["id"] == 7


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--endpoint", "ftp://x"], "must be an http"),
        (["--endpoint", "http://127.0.0.1:1/mcp", "--key", "k", "--key-file", "f"], "give one"),
        (["--endpoint", "http://127.0.0.1:1/mcp", "--key-file", "not-there"], "cannot be read"),
        (["--endpoint", "http://127.0.0.1:1/other", "--key", "k", "--server", "x"], "ends in /mcp"),
        (["--endpoint", "https://127.0.0.1:1/mcp", "--key", "k", "--ca-file", "not-there"], "cannot be used"),
    ],
)
async def test_wrong_usage_is_said_before_anything_is_read(flags: list[str], what: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        parameters("").command,
        "stdio",
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": "", "TOOLGATE_API_KEY": "k" if "ftp://x" in flags else ""},
    )
    out, said = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert what in said.decode()


async def test_it_answers_soon_after_it_is_started() -> None:
    async with serving("modern", "http") as server:
        spent = []
        for _ in range(5):
            began = time.monotonic()
            async with bridge(server.url) as client:
                await client.request("server/discover", modern=True)
                spent.append(time.monotonic() - began)
        # A tenth of a second where nothing else runs; several tests do.
        assert min(spent) < 0.8, spent
