"""What every client is made to do, and what must come of it: the same for all of them."""

import json
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Literal

Json = dict[str, Any]
Way = Literal["http", "sse", "stdio"]
Step = list[Any]
"""`call` name arguments; `held` or `dropped` name arguments and what to call when it reports progress, or after it was
given up then; `read` uri; `prompt` name arguments; `complete` ref argument."""

NAME = {"action": "accept", "content": {"name": "Ada"}}
AGE = {"action": "accept", "content": {"age": 36}}


@dataclass(frozen=True)
class Place:
    """Where a client is to go: a URL, or over stdio a program."""

    way: Way
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """A server as an endpoint shows it."""

    server: str
    tools: str = ""
    """What its tools and prompts begin with."""
    uris: str = ""
    """What its resources begin with."""

    def steps(self) -> dict[str, Step]:
        return {f"{self.server} {key}": step for key, step in {**self._plain(), **self._asking()}.items()}

    def _plain(self) -> dict[str, Step]:
        tools, uris = self.tools, self.uris
        name = {"name": token_hex(8)}
        return {
            "echo": ["call", f"{tools}echo", {"text": "hi"}],
            "steps": ["call", f"{tools}steps", {"steps": 3}],
            "reconnects": ["call", f"{tools}reconnects", {}],
            "slow": ["held", f"{tools}slow", name, f"{tools}release"],
            "cancelled": ["dropped", f"{tools}slow", {"name": token_hex(8)}, f"{tools}until_cancelled"],
            "structured": ["call", f"{tools}structured", {}],
            "fails": ["call", f"{tools}fails", {}],
            "unknown": ["call", f"{tools}unknown", {}],
            "text": ["read", f"{uris}matrix://text"],
            "item": ["read", f"{uris}matrix://items/7"],
            "about": ["prompt", f"{tools}about", {"city": "Bern"}],
            "cities": ["complete", {"type": "ref/prompt", "name": f"{tools}about"}, {"name": "city", "value": "be"}],
            "numbers": [
                "complete",
                {"type": "ref/resource", "uri": f"{uris}matrix://items/{{number}}"},
                {"name": "number", "value": "11"},
            ],
        }

    def _asking(self) -> dict[str, Step]:
        tools = self.tools
        asking = ("ask_form", "ask_aside", "ask_url", "ask_sampling", "ask_roots", "ask_many", "ask_twice")
        return {
            **{tool: ["call", f"{tools}{tool}", {}] for tool in asking},
            "prompt asks": ["prompt", f"{tools}asks", {}],
            "resource asks": ["read", f"{self.uris}matrix://asks"],
        }

    def facts(self) -> Json:
        """What comes of each step."""
        page, rooted = {"action": "accept"}, {"roots": [{"uri": "file:///work", "name": "work"}]}
        facts = {
            "echo": "hi",
            "steps": "3 steps",
            "reconnects": "came back",
            "slow": "released",
            "cancelled": "cancelled",
            "structured": {"celsius": 21.5},
            "fails": "failed: this tool fails on purpose",
            "unknown": "error -32602",
            "text": [f"{self.uris}matrix://text", "some text"],
            "item": [f"{self.uris}matrix://items/7", {"item": 7}],
            "about": "tell of Bern",
            "cities": ["berlin", "bern"],
            "numbers": ["11", *map(str, range(110, 120))],
            "ask_form": {"who": NAME},
            "ask_aside": {"who": NAME},
            "ask_url": {"page": page},
            "ask_sampling": {"sample": "Paris"},
            "ask_roots": {"roots": rooted},
            "ask_many": {"who": NAME, "sample": "Paris", "roots": rooted},
            "ask_twice": {"who": NAME, "age": AGE},
            "prompt asks": {"tone": {"action": "accept", "content": {"tone": "warm"}}},
            "resource asks": [
                f"{self.uris}matrix://asks",
                {"reason": {"action": "accept", "content": {"reason": "because"}}},
            ],
        }
        return {f"{self.server} {key}": fact for key, fact in facts.items()}

    def listed(self, toured: Json) -> Json:
        """What the lists lack, by kind."""
        wanted = {
            "tools": {f"{self.tools}{name}" for name in ("echo", "ask_form", "with_view", "big")},
            "prompts": {f"{self.tools}{name}" for name in ("plain", "about", "asks", "illustrated")},
            "resources": {f"{self.uris}matrix://{name}" for name in ("text", "blob", "watched", "asks")},
            "resourceTemplates": {f"{self.uris}matrix://items/{{number}}"},
        }
        keys = {"resources": "uri", "resourceTemplates": "uriTemplate"}
        found = {kind: {one[keys.get(kind, "name")] for one in toured[kind]} for kind in wanted}
        return {kind: sorted(names - found[kind]) for kind, names in wanted.items() if names - found[kind]}


ENDPOINTS = {
    "legacy": [Side("legacy")],
    "modern": [Side("modern")],
    "both": [Side("legacy", "legacy__"), Side("modern", "modern__", "modern+")],
}
"""By name of the endpoint."""


def steps(endpoint: str) -> dict[str, Step]:
    return {key: step for side in ENDPOINTS[endpoint] for key, step in side.steps().items()}


def expected(endpoint: str) -> Json:
    return {key: fact for side in ENDPOINTS[endpoint] for key, fact in side.facts().items()}


def missing(endpoint: str, toured: Json) -> list[Json]:
    """What is not in the client's lists."""
    return [lacking for side in ENDPOINTS[endpoint] if (lacking := side.listed(toured))]


def reports(endpoint: str, toured: Json) -> bool:
    """Whether all progress was heard: over some transports TypeScript clients drop what comes at once with a result."""
    return all(toured["outcomes"][f"{side.server} steps"]["heard"] == [1, 2, 3] for side in ENDPOINTS[endpoint])


def facts(toured: Json) -> Json:
    """What a client made of its steps, in few words."""
    return {key: fact(outcome) for key, outcome in toured["outcomes"].items()}


def fact(outcome: Json) -> Any:
    if "error" in outcome:
        error = outcome["error"]
        return (
            f"error {error['code']}" if "nknown" in error["message"] else f"error {error['code']}: {error['message']}"
        )
    result = outcome["result"]
    if "completion" in result:
        return result["completion"]["values"]
    if "contents" in result:
        return [result["contents"][0]["uri"], simple(result["contents"][0]["text"])]
    if "messages" in result:
        return simple(result["messages"][0]["content"]["text"])
    said = simple(result["content"][0]["text"])
    if result.get("isError"):
        return f"failed: {said}"
    return result.get("structuredContent", said)


def simple(text: str) -> Any:
    """The text, or what it is the JSON of; of a sample only what was said."""
    try:
        said = json.loads(text)
    except ValueError:
        return text
    if isinstance(said, dict) and "sample" in said:
        said["sample"] = said["sample"]["content"]["text"]
    return said
