"""The gateway's way to its servers as a client that the suite can drive: looks at the server, then uses all it offers.

    python -m tests.conformance.client URL

The suite says in the environment what its scenario wants to see.
"""

import asyncio
import json
import os
import sys
from typing import Any

import msgspec

from control_plane.compiler.definition import HeaderRefused, header_params
from core.call import Notification, Outgoing, Question, Raw, Reply, Route
from core.mcp import rounds
from core.mcp.headers import param_headers
from core.server import HttpTransport, Observation
from core.snapshot import Backend
from data_plane.upstreams.mcp_http import HttpBackend
from data_plane.upstreams.probe import observe
from tests.conformance import client_auth

CAPABILITIES = b'{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{}}'
MOST_ROUNDS = 10
EXAMPLES: dict[str, object] = {"string": "text", "integer": 2, "number": 3, "boolean": True, "array": [], "object": {}}

Json = dict[str, Any]


class ClientError(Exception):
    """What the connector could not do; the suite is told by the exit code."""


class Client:
    """A server as a snapshot would know it once it was looked at."""

    def __init__(self, http: HttpBackend, url: str) -> None:
        self._http = http
        transport = HttpTransport(url=url, allow_private=True)
        self._backend = Backend(server="suite", transport=transport, timeout_s=20)

    async def look(self) -> Observation:
        seen = await observe(self.route(""), self._http)
        if seen.error:
            raise ClientError(f"the look failed: {seen.error}")
        self._backend = msgspec.structs.replace(
            self._backend,
            era="modern" if seen.era == "modern" else "legacy",
            protocol_version=seen.protocol_version,
        )
        return seen

    def route(self, name: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Route:
        return Route(tenant="suite", backend=self._backend, tool=name, header_params=headers, deadline_s=20)

    async def call(self, name: str, arguments: Json, headers: dict[str, str]) -> Raw:
        """As often as the server asks, in its result, for something more."""
        sent = json.dumps(arguments).encode()
        route = self.route(name, param_headers(headers, sent))
        members = b""
        for _ in range(MOST_ROUNDS):
            outgoing = Outgoing(arguments=sent, members=members, capabilities=CAPABILITIES, wants_progress=True)
            answer = await self._http.call(route, outgoing, heard, answered)
            asked = rounds.read(answer.result) if answer.result else None
            if asked is None:
                return answer
            given = {key: await answered(question) for key, question in asked.questions.items()}
            members = rounds.answered(asked, given)
        raise ClientError(f"{name} asked {MOST_ROUNDS} times")

    async def get(self, method: str, name: str, members: Json) -> Raw:
        """`prompts/get` or `resources/read`."""
        rendered = b"".join(b"%b:%b," % (json.dumps(k).encode(), json.dumps(v).encode()) for k, v in members.items())
        outgoing = Outgoing(arguments=b"{}", method=method, members=rendered, capabilities=CAPABILITIES)
        return await self._http.call(self.route(name), outgoing, heard, answered)


def heard(_: Notification) -> None:
    """Progress and logs: the suite watches what is sent, not what is made of it."""


async def answered(question: Question) -> Reply:
    """As a client would that takes every default."""
    params = json.loads(question.params or b"{}")
    if question.method == "elicitation/create":
        asked = params.get("requestedSchema", {}).get("properties", {})
        content = {name: one.get("default", example(one)) for name, one in asked.items()}
        return Reply(result=json.dumps({"action": "accept", "content": content}).encode())
    if question.method == "roots/list":
        return Reply(result=b'{"roots":[]}')
    said = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "none", "stopReason": "endTurn"}
    return Reply(result=json.dumps(said).encode())


def example(schema: Json) -> object:
    return schema["enum"][0] if schema.get("enum") else EXAMPLES.get(str(schema.get("type", "string")), "text")


async def use(client: Client, seen: Observation, wanted: list[Json]) -> None:
    """Every tool, at once as many callers would; prompts and resources after them."""
    given = {one["name"]: one.get("arguments", {}) for one in wanted}
    definitions = {tool.name: json.loads(tool.definition) for tool in seen.tools}
    calls = []
    for tool in seen.tools:
        try:
            headers = header_params(tool.definition)
        except HeaderRefused:
            continue  # As the compiler: such a tool is not offered.
        arguments = given.get(tool.name, arguments_for(definitions, tool.name))
        calls.append(client.call(tool.name, arguments, headers))
    await asyncio.gather(*calls)
    for prompt in seen.prompts:
        await client.get("prompts/get", prompt.name, {"name": prompt.name})
    for resource in seen.resources:
        await client.get("resources/read", resource.name, {"uri": resource.name})


def arguments_for(definitions: dict[str, Json], name: str) -> Json:
    """An example for each property; where a schema is asked for, that of the first tool as it was listed."""
    properties = definitions[name]["inputSchema"].get("properties", {})
    arguments = {key: example(one) for key, one in properties.items()}
    if "schema" in arguments:
        arguments["schema"] = next(iter(definitions.values()))["inputSchema"]
    return arguments


async def main(url: str) -> None:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    http = HttpBackend()
    try:
        client = Client(http, url)
        await use(client, await client.look(), context.get("toolCalls", []))
    finally:
        await http.close()


if __name__ == "__main__":
    try:
        signs_in = os.environ["MCP_CONFORMANCE_SCENARIO"].startswith("auth/")
        asyncio.run(client_auth.main(sys.argv[-1]) if signs_in else main(sys.argv[-1]))
    except (ClientError, client_auth.GivenUp) as failed:
        sys.exit(str(failed))
