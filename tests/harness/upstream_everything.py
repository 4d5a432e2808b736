"""A server that exposes all that the official conformance suite asks for, in both eras.

    python -m tests.harness.upstream_everything [--port N] [--transport http|sse|websocket|stdio]
        [--era both|legacy|modern]

Prints its URL once it listens; port 0 takes a free one.
"""

import argparse
import asyncio
import json

from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.types import CompleteRequestParams

from tests.harness import upstream_everything_asking, upstream_everything_tasks
from tests.harness.upstream_matrix import until_told
from tests.harness.upstream_matrix_server import Call, Fixture, Json, Serving, message, text
from tests.harness.upstream_matrix_tools import PIXEL, SILENCE
from tests.harness.upstream_matrix_transport import on_stdio

IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
PAUSE_S = 0.05
"""Between two notifications of one call, for a client to see them one by one."""
KEYWORDS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def make() -> Serving:
    fixture = Fixture("everything", instructions="One tool for each thing the suite looks at.")
    contents(fixture)
    streams(fixture)
    upstream_everything_asking.add(fixture)
    resources(fixture)
    prompts(fixture)
    fixture.complete = completions
    serving = fixture.server()
    upstream_everything_tasks.add(upstream_everything_tasks.Tasks(serving))
    return serving


def contents(fixture: Fixture) -> None:
    @fixture.tool("Answers with text.")
    async def test_simple_text(call: Call) -> Json:
        return text("This is a simple text response for testing.")

    @fixture.tool("Answers with an image.")
    async def test_image_content(call: Call) -> Json:
        return {"content": [IMAGE]}

    @fixture.tool("Answers with sound.")
    async def test_audio_content(call: Call) -> Json:
        return {"content": [{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}]}

    @fixture.tool("Answers with a resource.")
    async def test_embedded_resource(call: Call) -> Json:
        embedded = {"uri": "test://embedded-resource", "mimeType": "text/plain"}
        embedded["text"] = "This is an embedded resource content."
        return {"content": [{"type": "resource", "resource": embedded}]}

    @fixture.tool("Answers with three kinds of content.")
    async def test_multiple_content_types(call: Call) -> Json:
        embedded = {"uri": "test://mixed-content-resource", "mimeType": "application/json"}
        embedded["text"] = json.dumps({"test": "data", "value": 123})
        said = {"type": "text", "text": "Multiple content types test:"}
        return {"content": [said, IMAGE, {"type": "resource", "resource": embedded}]}

    @fixture.tool("Fails.")
    async def test_error_handling(call: Call) -> Json:
        return text("This tool intentionally returns an error for testing", isError=True)

    @fixture.tool("Has a schema of many keywords.", KEYWORDS)
    async def json_schema_2020_12_tool(call: Call) -> Json:
        return text(json.dumps(call.arguments))

    @fixture.tool(
        "Has an argument that travels in a header too.",
        {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    )
    async def test_x_mcp_header(call: Call) -> Json:
        return text(f"region: {call.arguments.get('region')}")


def streams(fixture: Fixture) -> None:
    @fixture.tool("Logs as it goes.")
    async def test_tool_with_logging(call: Call) -> Json:
        for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await call.log("info", said)
            await asyncio.sleep(PAUSE_S)
        return text("logged three times")

    @fixture.tool("Logs where its caller wants it to.")
    async def test_logging_tool(call: Call) -> Json:
        await call.log("info", "the tool was called")
        return text("done")

    @fixture.tool("Reports progress.")
    async def test_tool_with_progress(call: Call) -> Json:
        for done in (0, 50, 100):
            await call.progress(done, 100, f"{done} of 100")
            await asyncio.sleep(PAUSE_S)
        return text("done")

    @fixture.tool("Closes its stream and answers when the client has come back for it.")
    async def test_reconnection(call: Call) -> Json:
        if call.ctx.close_sse_stream is not None:
            await call.ctx.close_sse_stream()
        await asyncio.sleep(PAUSE_S)
        return text("Reconnection test completed successfully")

    @fixture.tool("Adds a tool, or takes it away again.")
    async def test_trigger_tool_change(call: Call) -> Json:
        async def present(call: Call) -> Json:
            return text("here")

        if fixture.tools.pop("comes_and_goes", None) is None:
            fixture.add_tool("comes_and_goes", present, "Is not always here.")
        await fixture.broadcast(ToolsListChanged(), lambda session: session.send_tool_list_changed())
        return text("the tools changed")

    @fixture.tool("Adds a prompt, or takes it away again.")
    async def test_trigger_prompt_change(call: Call) -> Json:
        shown, handler = fixture.prompts["test_simple_prompt"]
        if fixture.prompts.pop("comes_and_goes", None) is None:
            fixture.prompts["comes_and_goes"] = ({**shown, "name": "comes_and_goes"}, handler)
        await fixture.broadcast(PromptsListChanged(), lambda session: session.send_prompt_list_changed())
        return text("the prompts changed")


def resources(fixture: Fixture) -> None:
    @fixture.resource("test://static-text", "static-text", "text/plain", "Text that stays.")
    async def static_text(call: Call) -> Json:
        said = "This is the content of the static text resource."
        return {"contents": [{"uri": "test://static-text", "mimeType": "text/plain", "text": said}]}

    @fixture.resource("test://static-binary", "static-binary", "image/png", "Bytes that stay.")
    async def static_binary(call: Call) -> Json:
        return {"contents": [{"uri": "test://static-binary", "mimeType": "image/png", "blob": PIXEL}]}

    @fixture.resource("test://watched-resource", "watched-resource", "text/plain", "Can be subscribed to.")
    async def watched(call: Call) -> Json:
        return {"contents": [{"uri": "test://watched-resource", "mimeType": "text/plain", "text": "watched"}]}

    async def data(call: Call, uri: str) -> Json | None:
        number = uri.removeprefix("test://template/").removesuffix("/data")
        if uri != f"test://template/{number}/data" or "/" in number:
            return None
        body = {"id": number, "templateTest": True, "data": f"Data for ID: {number}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(body)}

    fixture.templates["data"] = (
        {
            "uriTemplate": "test://template/{id}/data",
            "name": "template-data",
            "mimeType": "application/json",
            "description": "Data by id.",
        },
        data,
    )


def prompts(fixture: Fixture) -> None:
    @fixture.prompt("A prompt without arguments.")
    async def test_simple_prompt(call: Call) -> Json:
        return {"messages": [message({"type": "text", "text": "This is a simple prompt for testing."})]}

    @fixture.prompt("A prompt with two arguments.", "arg1", "arg2")
    async def test_prompt_with_arguments(call: Call) -> Json:
        first, second = call.arguments["arg1"], call.arguments["arg2"]
        said = f"Prompt with arguments: arg1='{first}', arg2='{second}'"
        return {"messages": [message({"type": "text", "text": said})]}

    @fixture.prompt("A prompt with a resource in it.", "resourceUri")
    async def test_prompt_with_embedded_resource(call: Call) -> Json:
        embedded = {"uri": call.arguments["resourceUri"], "mimeType": "text/plain"}
        embedded["text"] = "Embedded resource content for testing."
        asked = message({"type": "text", "text": "Please process the embedded resource above."})
        return {"messages": [message({"type": "resource", "resource": embedded}), asked]}

    @fixture.prompt("A prompt with an image in it.")
    async def test_prompt_with_image(call: Call) -> Json:
        return {"messages": [message(IMAGE), message({"type": "text", "text": "Please analyze the image above."})]}


def completions(params: CompleteRequestParams) -> list[str]:
    return [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--transport", choices=["http", "sse", "websocket", "stdio"], default="http")
    parser.add_argument("--era", choices=["both", "legacy", "modern"], default="both")
    chosen = parser.parse_args()
    if chosen.transport == "stdio":
        asyncio.run(on_stdio(make(), chosen.era))
    else:
        asyncio.run(until_told(make(), chosen.era, chosen.transport, chosen.port))


if __name__ == "__main__":
    main()
