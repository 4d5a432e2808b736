"""The catalogue of the matrix: what a call, a stream, a question and a change can be, each as one tool."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.types import CompleteRequestParams

from tests.harness.upstream_matrix_server import Call, Fixture, Json, form, message, roots, sample, text, visit

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
WAIT_S = 20.0
"""Longest a tool waits for what another call does."""
NAME = {"name": {"type": "string", "description": "Who asks."}}
CITIES = ["amsterdam", "athens", "berlin", "bern"]


def schema(**properties: object) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


@dataclass
class Slow:
    """A call of `slow`: set by what happens to it."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


def make(name: str = "matrix", page: int = 12, revision: str | None = None) -> Fixture:
    """Everything below. Lists come in pages of `page`; in the handshake era `revision` is the latest it knows."""
    fixture = Fixture(name, page, revision, instructions="Everything a protocol can do, a tool for each.")
    plain(fixture)
    slow(fixture)
    asking(fixture)
    changing(fixture)
    resources(fixture)
    prompts(fixture)
    return fixture


def plain(fixture: Fixture) -> None:
    @fixture.tool(
        "Says it back.", schema(text={"type": "string"}), title="Echo", annotations={"readOnlyHint": True, "title": "E"}
    )
    async def echo(call: Call) -> Json:
        return text(str(call.arguments.get("text")), _meta={"matrix.test/kept": 1})

    @fixture.tool("Reports progress in so many steps.", schema(steps={"type": "integer"}))
    async def steps(call: Call) -> Json:
        total = int(call.arguments.get("steps", 3))
        for done in range(1, total + 1):
            await call.progress(done, total, f"step {done}")
        return text(f"{total} steps")

    @fixture.tool("Logs a message at each level.")
    async def logs(call: Call) -> Json:
        for level in ("debug", "info", "warning", "error"):
            await call.log(level, {"said": f"at {level}"})
        return text("logged")

    @fixture.tool("Fails, as a tool does.")
    async def fails(call: Call) -> Json:
        return text("this tool fails on purpose", isError=True)

    @fixture.tool("Fails, as a protocol does.", schema(code={"type": "integer"}))
    async def errors(call: Call) -> Json:
        raise MCPError(int(call.arguments.get("code", -32050)), "this error is on purpose", {"detail": "kept"})

    @fixture.tool("Structured output.", outputSchema=schema(celsius={"type": "number"}))
    async def structured(call: Call) -> Json:
        return text('{"celsius": 21.5}', structuredContent={"celsius": 21.5})

    @fixture.tool("Every kind of content.", icons=[{"src": "https://example.com/icon.png", "mimeType": "image/png"}])
    async def media(call: Call) -> Json:
        embedded = {"uri": "matrix://text", "mimeType": "text/plain", "text": "embedded"}
        content = [
            {"type": "text", "text": "text", "annotations": {"audience": ["user"], "priority": 0.5}},
            {"type": "image", "data": PIXEL, "mimeType": "image/png"},
            {"type": "audio", "data": SILENCE, "mimeType": "audio/wav"},
            {"type": "resource", "resource": embedded},
            {"type": "resource_link", "uri": "matrix://text", "name": "text", "description": "a link"},
        ]
        return {"content": content}

    @fixture.tool(
        "Has an argument that travels in a header too.",
        {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    )
    async def with_header(call: Call) -> Json:
        request = call.ctx.request
        header = None if request is None else request.headers.get("mcp-param-region")
        return text(json.dumps({"argument": call.arguments.get("region"), "header": header}))

    @fixture.tool("What the server was told of its caller.")
    async def whoami(call: Call) -> Json:
        request, client = call.ctx.request, call.ctx.session.client_params
        told = {
            "version": call.ctx.protocol_version,
            "client": None if client is None else client.client_info.name,
            "capabilities": call.capabilities,
            "meta": dict(call.ctx.meta or {}),
            "headers": {} if request is None else dict(request.headers),
        }
        return text(json.dumps(told))

    @fixture.tool("How often each method was received.")
    async def counts(call: Call) -> Json:
        return text(json.dumps(Counter(fixture.requests)))

    @fixture.tool("Closes its stream half way and goes on when the client has come back for it.")
    async def reconnects(call: Call) -> Json:
        await call.progress(1, 2)
        if call.ctx.close_sse_stream is not None:
            await call.ctx.close_sse_stream()
        await asyncio.sleep(0.05)
        await call.progress(2, 2)
        return text("came back")

    @fixture.tool("As many characters as asked for.", schema(size={"type": "integer"}))
    async def big(call: Call) -> Json:
        return text("x" * int(call.arguments["size"]))


def slow(fixture: Fixture) -> None:
    calls: dict[str, Slow] = {}

    def of(call: Call) -> Slow:
        return calls.setdefault(str(call.arguments.get("name", "")), Slow())

    async def seen(event: asyncio.Event, what: str) -> Json:
        try:
            async with asyncio.timeout(WAIT_S):
                await event.wait()
        except TimeoutError:
            return text(f"not {what}", isError=True)
        return text(what)

    @fixture.tool("Answers when it is released. Knows when it was cancelled.", schema(**NAME))
    async def slow(call: Call) -> Json:
        one = of(call)
        one.started.set()
        try:
            while not one.released.is_set():
                await call.progress(len(calls), None, "waiting")
                await one.released.wait()
        except asyncio.CancelledError:
            one.cancelled.set()
            raise
        return text("released")

    @fixture.tool("Lets a call of slow end.", schema(**NAME))
    async def release(call: Call) -> Json:
        of(call).released.set()
        return text("let go")

    @fixture.tool("Answers once that call of slow is under way.", schema(**NAME))
    async def until_started(call: Call) -> Json:
        return await seen(of(call).started, "started")

    @fixture.tool("Answers once that call of slow was cancelled.", schema(**NAME))
    async def until_cancelled(call: Call) -> Json:
        return await seen(of(call).cancelled, "cancelled")


def asking(fixture: Fixture) -> None:
    """Each answers with what the client answered, as JSON by the question's key."""
    who = form("What is your name?", {"name": {"type": "string", "title": "Name"}}, ["name"])

    @fixture.tool("Asks for a form.")
    async def ask_form(call: Call) -> Json:
        return text(json.dumps(await call.ask(who=who)))

    @fixture.tool("Asks for a form beside its own stream, where the era has such a place.")
    async def ask_aside(call: Call) -> Json:
        return text(json.dumps(await call.ask_aside(who=who)))

    @fixture.tool("Sends the user to a page.")
    async def ask_url(call: Call) -> Json:
        return text(json.dumps(await call.ask(page=visit("Please connect.", "https://example.com/connect", "page-1"))))

    @fixture.tool("Sends the user to a page, and says on the call's own stream that they are done there.")
    async def ask_url_done(call: Call) -> Json:
        answer = await call.ask(page=visit("Please connect.", "https://example.com/connect", "page-3"))
        if not call.modern:
            await call.ctx.session.send_elicit_complete("page-3", call.ctx.request_id)
        return text(json.dumps(answer))

    @fixture.tool("Says of a page, on the stream of nobody's call, that its user is done there.", schema(**NAME))
    async def page_done(call: Call) -> Json:
        if not call.modern:
            await call.ctx.session.send_elicit_complete(str(call.arguments["name"]))
        return text("said")

    @fixture.tool("Asks for a sample.")
    async def ask_sampling(call: Call) -> Json:
        return text(json.dumps(await call.ask(sample=sample("What is the capital of France?"))))

    @fixture.tool("Asks for the roots.")
    async def ask_roots(call: Call) -> Json:
        return text(json.dumps(await call.ask(roots=roots())))

    @fixture.tool("Asks three things at once.")
    async def ask_many(call: Call) -> Json:
        return text(json.dumps(await call.ask(who=who, sample=sample("Greet them."), roots=roots())))

    @fixture.tool("Asks a second thing when it has the answer to the first.")
    async def ask_twice(call: Call) -> Json:
        first = await call.ask(who=who)
        name = (first["who"].get("content") or {}).get("name", "nobody")
        await call.progress(1, 2, "half way")
        second = await call.ask(**(first and {"age": form(f"How old are you, {name}?", {"age": {"type": "integer"}})}))
        return text(json.dumps(first | second))

    @fixture.tool("Needs a page visited: an error of its own in revision 2025-11-25.")
    async def needs_page(call: Call) -> Json:
        question = visit("Please connect first.", "https://example.com/first", "page-2")
        if call.modern or call.arguments.get("connected"):
            return text(json.dumps(await call.ask(page=question) if call.modern else {}))
        raise MCPError(-32042, "a page must be visited", {"elicitations": [question["params"]]})


def changing(fixture: Fixture) -> None:
    async def tools_changed() -> None:
        await fixture.broadcast(ToolsListChanged(), lambda session: session.send_tool_list_changed())

    @fixture.tool("Adds a tool.", schema(**NAME))
    async def add_tool(call: Call) -> Json:
        async def added(call: Call) -> Json:
            return text("I was added")

        fixture.add_tool(str(call.arguments["name"]), added, "Was added.")
        await tools_changed()
        return text("added")

    @fixture.tool("Takes a tool away.", schema(**NAME))
    async def remove_tool(call: Call) -> Json:
        fixture.tools.pop(str(call.arguments["name"]), None)
        await tools_changed()
        return text("removed")

    @fixture.tool("Adds a prompt.", schema(**NAME))
    async def add_prompt(call: Call) -> Json:
        name = str(call.arguments["name"])
        fixture.prompts[name] = ({**fixture.prompts["plain"][0], "name": name}, fixture.prompts["plain"][1])
        await fixture.broadcast(PromptsListChanged(), lambda session: session.send_prompt_list_changed())
        return text("added")

    @fixture.tool("Adds a resource.", schema(uri={"type": "string"}))
    async def add_resource(call: Call) -> Json:
        uri = str(call.arguments["uri"])
        shown, read = fixture.resources["matrix://text"]
        fixture.resources[uri] = ({**shown, "uri": uri, "name": uri}, read)
        await fixture.broadcast(ResourcesListChanged(), lambda session: session.send_resource_list_changed())
        return text("added")

    @fixture.tool("Says that a resource was updated, to those who subscribed.", schema(uri={"type": "string"}))
    async def touch(call: Call) -> Json:
        uri = str(call.arguments["uri"])
        await fixture.bus.publish(ResourceUpdated(uri=uri))
        for session in fixture.subscribed.get(uri, []):
            async with asyncio.timeout(1):
                await session.send_resource_updated(uri)
        return text(f"{len(fixture.subscribed.get(uri, []))} legacy subscribers")


def resources(fixture: Fixture) -> None:
    @fixture.resource("matrix://text", "text", "text/plain", "Text.")
    async def plain_text(call: Call) -> Json:
        return {"contents": [{"uri": "matrix://text", "mimeType": "text/plain", "text": "some text"}]}

    @fixture.resource("matrix://blob", "blob", "image/png", "Bytes.")
    async def blob(call: Call) -> Json:
        return {"contents": [{"uri": "matrix://blob", "mimeType": "image/png", "blob": PIXEL}]}

    @fixture.resource("matrix://watched", "watched", "text/plain", "Changes when touched.")
    async def watched(call: Call) -> Json:
        return {"contents": [{"uri": "matrix://watched", "mimeType": "text/plain", "text": "watched"}]}

    @fixture.resource("matrix://asks", "asks", "text/plain", "Asks before it can be read.")
    async def asks(call: Call) -> Json:
        answered = await call.ask(reason=form("Why?", {"reason": {"type": "string"}}))
        return {"contents": [{"uri": "matrix://asks", "mimeType": "text/plain", "text": json.dumps(answered)}]}

    @fixture.resource("ui://matrix/view", "view", "text/html;profile=mcp-app", "An app.")
    async def view(call: Call) -> Json:
        return {"contents": [{"uri": "ui://matrix/view", "mimeType": "text/html;profile=mcp-app", "text": "<p>hi</p>"}]}

    @fixture.tool("Has a view.", _meta={"ui": {"resourceUri": "ui://matrix/view"}})
    async def with_view(call: Call) -> Json:
        return text("see the view")

    async def item(call: Call, uri: str) -> Json | None:
        number = uri.removeprefix("matrix://items/")
        if number == uri or not number.isdecimal():
            return None
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps({"item": int(number)})}

    template = {"uriTemplate": "matrix://items/{number}", "name": "item", "mimeType": "application/json"}
    fixture.templates["item"] = (template, item)


def prompts(fixture: Fixture) -> None:
    @fixture.prompt("A prompt.")
    async def plain(call: Call) -> Json:
        return {"messages": [message({"type": "text", "text": "do it"})]}

    @fixture.prompt("A prompt about a city.", "city", title="City")
    async def about(call: Call) -> Json:
        return {"messages": [message({"type": "text", "text": f"tell of {call.arguments['city']}"})]}

    @fixture.prompt("A prompt that asks first.")
    async def asks(call: Call) -> Json:
        answered = await call.ask(tone=form("Which tone?", {"tone": {"type": "string"}}))
        return {"messages": [message({"type": "text", "text": json.dumps(answered)})]}

    @fixture.prompt("A prompt with content other than text.")
    async def illustrated(call: Call) -> Json:
        embedded = {"uri": "matrix://text", "mimeType": "text/plain", "text": "embedded"}
        image = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
        return {"messages": [message(image), message({"type": "resource", "resource": embedded})]}

    fixture.complete = cities


def cities(params: CompleteRequestParams) -> list[str]:
    """Cities for the prompt `about`, of one country where the context names it; numbers for the template."""
    reference: Any = params.ref
    if getattr(reference, "uri", None) == "matrix://items/{number}":
        return [str(number) for number in range(1, 120) if str(number).startswith(params.argument.value)]
    if getattr(reference, "name", None) != "about":
        return []
    context = (params.context.arguments or {}) if params.context else {}
    return [city for city in CITIES if city.startswith(params.argument.value) and city not in context.values()]
