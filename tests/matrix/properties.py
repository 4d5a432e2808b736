"""What every cell of the matrix is asked to do. Each raises AssertionError, RpcError or Lost where it does not."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable

import pytest

from tests.matrix.front import Front, Json, RpcError

Property = Callable[[Front], Awaitable[None]]


def said(result: Json) -> str:
    return str(result["content"][0]["text"])


async def _names(front: Front) -> list[str]:
    """Of all tools, on however many pages."""
    names: list[str] = []
    cursor: Json = {}
    while True:
        page = await front.request("tools/list", cursor)
        names += [tool["name"] for tool in page["tools"]]
        if "nextCursor" not in page:
            return names
        cursor = {"cursor": page["nextCursor"]}


async def call(front: Front) -> None:
    assert said(await front.call("echo", {"text": "hi"})) == "hi"
    names = await _names(front)
    assert {"echo", "ask_form", "slow"} <= set(names)
    assert len(names) == len(set(names)), "a tool is listed twice"


async def progress(front: Front) -> None:
    front.heard.clear()
    assert said(await front.call("steps", {"steps": 3}, {"progressToken": "mine"})) == "3 steps"
    reports = [one["params"] for one in front.heard if one["method"] == "notifications/progress"]
    assert [(one["progressToken"], one["progress"]) for one in reports] == [("mine", 1), ("mine", 2), ("mine", 3)]
    front.heard.clear()
    await front.call("steps", {"steps": 2})
    assert not any(one["method"] == "notifications/progress" for one in front.heard), "progress nobody asked for"


async def cancel(front: Front) -> None:
    name = {"name": uuid.uuid4().hex}
    number = await front.begin("tools/call", {"name": "slow", "arguments": name})
    assert said(await front.call("until_started", name)) == "started"
    await front.cancel(number)
    assert said(await front.call("until_cancelled", name)) == "cancelled"


async def error(front: Front) -> None:
    failed = await front.call("fails")
    assert failed["isError"] is True
    with pytest.raises(RpcError) as raised:
        await front.call("errors", {"code": -31050})
    assert raised.value.code == -31050, f"the server's code became {raised.value.code}"
    assert raised.value.data == {"detail": "kept"}
    assert said(await front.call("echo", {"text": "still here"})) == "still here"


async def elicitation(front: Front) -> None:
    """Both modes, at once and one after the other. Revisions without it are refused in so many words."""
    if front.revision < "2025-06-18":
        await refused(front, "ask_form")
        return
    assert json.loads(said(await front.call("ask_form")))["who"] == {"action": "accept", "content": {"name": "seven"}}
    assert set(json.loads(said(await front.call("ask_twice")))) == {"who", "age"}
    if front.revision >= "2025-11-25":
        assert json.loads(said(await front.call("ask_url")))["page"]["action"] == "accept"
    else:
        await refused(front, "ask_url")


async def sampling(front: Front) -> None:
    """And roots, which are asked the same way."""
    answered = json.loads(said(await front.call("ask_sampling")))
    assert answered["sample"]["content"]["text"] == "Paris"
    rooted = json.loads(said(await front.call("ask_roots")))
    assert [root["name"] for root in rooted["roots"]["roots"]] == ["work"]
    if front.revision >= "2025-06-18":
        assert set(json.loads(said(await front.call("ask_many")))) == {"who", "sample", "roots"}


async def refused(front: Front, tool: str) -> None:
    """A client that cannot be asked is not, and is told so rather than kept waiting."""
    before = len(front.asked)
    try:
        result = await front.call(tool)
    except RpcError:
        pass
    else:
        assert result.get("isError"), f"{tool} went through without its question"
    assert len(front.asked) == before, "was asked what it cannot be asked"


async def list_changed(front: Front) -> None:
    name = f"added_{uuid.uuid4().hex[:8]}"
    if front.modern:
        listening = await front.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        granted = await front.next("notifications/subscriptions/acknowledged", listening)
        assert granted["notifications"] == {"toolsListChanged": True}
    changed = asyncio.ensure_future(front.expect("notifications/tools/list_changed"))
    try:
        await front.call("add_tool", {"name": name})
        params = await changed
        while name not in await _names(front):
            # What is told first may be what an earlier client took away: the next one is about this.
            changed = asyncio.ensure_future(front.expect("notifications/tools/list_changed"))
            if name not in await _names(front):
                params = await changed
    finally:
        changed.cancel()
    if front.modern:
        assert params["_meta"]["io.modelcontextprotocol/subscriptionId"] == listening
        await front.cancel(listening)
    assert said(await front.call(name)) == "I was added"
    await front.call("remove_tool", {"name": name})


async def batch(front: Front) -> None:
    """Of revision 2025-03-26 alone."""
    results = await front.batch(
        ("tools/call", {"name": "echo", "arguments": {"text": "one"}}),
        ("ping", {}),
        ("tools/call", {"name": "echo", "arguments": {"text": "two"}}),
    )
    assert [said(results[0]), results[1], said(results[2])] == ["one", {}, "two"]


PROPERTIES: dict[str, Property] = {
    "call": call,
    "progress": progress,
    "cancel": cancel,
    "error": error,
    "elicitation": elicitation,
    "sampling": sampling,
    "list_changed": list_changed,
}
