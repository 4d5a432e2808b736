"""Answers that become event streams, and what happens to clients that leave or do not read."""

import asyncio

import pytest
from front_harness import META, Site, call, modern, modern_headers, request, serving, text

from core.call import Inbound, Notification, Result
from core.errors import Reason, Unavailable
from data_plane.fronts.exchange import MAX_QUEUED_BYTES
from data_plane.fronts.streamable_http import FrontOptions

HEADERS = modern_headers(name="progress")


async def started(site: Site) -> None:
    async with asyncio.timeout(20):
        await site.pipeline.started.wait()


@pytest.mark.parametrize("token", [7, "tok\u00e9n", 1.5])
async def test_progress_carries_the_callers_token_and_precedes_the_result(site: Site, token: object) -> None:
    body = modern(params={"name": "progress", "arguments": {}}, id="p", progressToken=token)
    reply = await site.post(body, HEADERS)
    *progress, last = reply.messages()
    assert reply.status == 200
    assert reply.header("content-type") == "text/event-stream"
    assert (reply.header("x-accel-buffering"), reply.header("cache-control")) == ("no", "no-cache, no-transform")
    assert [message["params"] for message in progress] == [
        {"progressToken": token, "progress": step, "total": 100} for step in (0, 50, 100)
    ]
    assert (last["id"], last["result"]["resultType"]) == ("p", "complete")


async def test_nobody_who_did_not_ask_gets_progress(site: Site) -> None:
    reply = await site.post(modern(params={"name": "progress", "arguments": {}}), HEADERS)
    assert reply.header("content-type") == "application/json"


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (None, []),
        ("debug", ["debug", "warning", "emergency"]),
        ("warning", ["warning", "emergency"]),
        ("alert", ["emergency"]),
    ],
)
async def test_log_messages_come_from_the_level_asked_for(site: Site, asked: str | None, got: list[str]) -> None:
    async def log(inbound: Inbound) -> Result:
        for level in ("debug", "warning", "emergency", "unheard-of"):
            inbound.notify(Notification("notifications/message", b'{"level":"%b","data":1}' % level.encode()))
        return text("logged")

    site.pipeline.tools["log"] = log
    level = {META + "logLevel": asked} if asked else {}
    reply = await site.post(modern(params={"name": "log"}, **level), modern_headers(name="log"))
    assert [message["params"]["level"] for message in reply.messages()[:-1]] == got


async def test_a_session_gets_log_messages_and_its_result_on_one_stream(site: Site) -> None:
    async def log(inbound: Inbound) -> Result:
        inbound.notify(Notification("notifications/message", b'{"level":"info",\n"data":"a"}'))
        return text("logged")

    site.pipeline.tools["log"] = log
    reply = await site.post(call("log"), {"Mcp-Session-Id": await site.session()})
    note, last = reply.messages()
    assert note["params"] == {"level": "info", "data": "a"}
    assert "resultType" not in last["result"]


async def test_an_error_after_the_first_message_is_the_last_event(site: Site) -> None:
    async def fail(inbound: Inbound) -> Result:
        inbound.notify(Notification("notifications/progress", b"{}"))
        raise Unavailable(Reason.UPSTREAM_TIMEOUT, "too late")

    site.pipeline.tools["fail"] = fail
    reply = await site.post(modern(params={"name": "fail"}, progressToken=1), modern_headers(name="fail"))
    assert reply.status == 200
    assert [message.get("error", {}).get("code") for message in reply.messages()] == [None, 504]
    assert reply.messages()[0]["params"] == {"progressToken": 1}


async def test_silence_becomes_a_stream_with_comments() -> None:
    async with serving(FrontOptions(quiet_s=0.05)) as site:
        wire = await site.connect()
        await wire.send(request(modern(params={"name": "hang"}), modern_headers(name="hang")))
        status, headers = await wire.head()
        assert (status, dict(headers)["content-type"]) == (200, "text/event-stream")
        assert [await wire.chunk(), await wire.chunk()] == [b": ping\n\n", b": ping\n\n"]
        site.pipeline.go_on.set()
        while (data := await wire.chunk()).startswith(b": ping"):
            pass
        assert b'"waited"' in data
        await wire.close()


async def test_a_modern_client_that_leaves_cancels_its_call(site: Site) -> None:
    wire = await site.connect()
    await wire.send(request(modern(params={"name": "hang"}), modern_headers(name="hang")))
    await started(site)
    await wire.close()
    async with asyncio.timeout(20):
        await site.pipeline.cancelled.wait()
    assert (await site.post(modern(), modern_headers())).status == 200
    assert site.front.in_flight == 0


async def test_a_client_that_leaves_a_stream_cancels_its_call(site: Site) -> None:
    async def talk(inbound: Inbound) -> Result:
        inbound.notify(Notification("notifications/progress", b'{"progress":1}'))
        return await site.pipeline.hang(inbound)

    site.pipeline.tools["talk"] = talk
    wire = await site.connect()
    await wire.send(request(modern(params={"name": "talk"}, progressToken=1), modern_headers(name="talk")))
    await wire.head()
    await wire.chunk()
    await wire.close()
    async with asyncio.timeout(20):
        await site.pipeline.cancelled.wait()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_client_that_does_not_read_is_cut_off_and_its_call_cancelled(site: Site, era: str) -> None:
    flooded = asyncio.Event()
    line = b'{"progress":1,"message":"' + b"x" * 65536 + b'"}'

    async def flood(inbound: Inbound) -> Result:
        try:
            for _ in range(10_000):
                inbound.notify(Notification("notifications/progress", line))
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            flooded.set()
            raise
        return text("all of it was queued")

    site.pipeline.tools["flood"] = flood
    wire = await site.connect()
    if era == "modern":
        await wire.send(request(modern(params={"name": "flood"}, progressToken=1), modern_headers(name="flood")))
    else:
        await wire.send(request(call("flood", progressToken=1), {"Mcp-Session-Id": await site.session()}))
    async with asyncio.timeout(20):
        await flooded.wait()
    assert 10_000 * len(line) > MAX_QUEUED_BYTES
    await wire.close()


async def test_a_notification_after_the_answer_goes_nowhere(site: Site) -> None:
    await site.post(modern(progressToken=1), modern_headers())
    site.pipeline.seen[-1].notify(Notification("notifications/progress", b"{}"))
    assert (await site.post(modern(), modern_headers())).status == 200
