"""A gateway and its control plane as a client that the suite's `auth/*` scenarios can drive.

    python -m tests.conformance.client URL

Both run beside, started once by the runner. Here is what people do: declare the server, follow links in a browser,
and call the tool as an agent. The suite says in the environment what its scenario wants to see.
"""

import asyncio
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from adapters.postgres.embedded import EmbeddedPostgres
from tests.harness.agent import META, Agent
from tests.harness.planes import Planes, running
from tests.harness.postgres import FAST
from tests.harness.visitor import Browser

CLIENT_ID = "https://conformance-test.local/client-metadata.json"
"""What the suite expects of clients that have a metadata document."""
TRIES = 3
"""How often a person follows a link before giving up."""
SEEN_S = 12.0
LISTED_S = 12.0
PLATFORM = """
{kind: Tenant, name: suite, spec: {}}
---
{kind: User, tenant: suite, name: person, spec: {groups: [suite]}}
---
{kind: Role, tenant: suite, name: caller, spec: {permissions: [{tools: ["*"]}]}}
---
{kind: RoleBinding, tenant: suite, name: callers, spec: {role: caller, subjects: [{kind: group, name: suite}]}}
"""
CAPABILITIES = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}

Json = dict[str, Any]


class GivenUp(Exception):
    """What a person could not get done; the suite is told by the exit code."""


@asynccontextmanager
async def platform(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Both planes; gives the environment by which `main` finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    postgres = EmbeddedPostgres(folder / "postgres", settings=FAST)
    await postgres.start()
    try:
        async with running(folder, postgres.dsn("postgres"), TOOLGATE_OAUTH_CLIENT_ID=CLIENT_ID) as planes:
            await planes.apply(PLATFORM)
            key = await planes.key("suite", "person", user="person")
            node = await planes.node()
            yield {
                "SUITE_ADMIN": f"http://127.0.0.1:{planes.admin_port}",
                "SUITE_TOKEN": _token(planes),
                "SUITE_GATEWAY": str(node.port),
                "SUITE_KEY": key,
            }
    finally:
        await postgres.stop()


def _token(planes: Planes) -> str:
    return (planes.folder / "admin.token").read_text().strip()


class Person:
    """An administrator, and whoever sits before the browser."""

    def __init__(self, environment: dict[str, str], name: str, url: str) -> None:
        self.admin, self._token = environment["SUITE_ADMIN"], environment["SUITE_TOKEN"]
        self._gateway, self._key = int(environment["SUITE_GATEWAY"]), environment["SUITE_KEY"]
        self.name, self.url = name, url

    def api(self, method: str, path: str, body: Json | None = None) -> Json:
        request = urllib.request.Request(self.admin + path, method=method)
        request.add_header("authorization", f"Bearer {self._token}")
        request.add_header("content-type", "application/json")
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(request, data, timeout=10) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as refused:
            raise GivenUp(f"{method} {path}: {refused.read().decode()}") from refused

    def apply(self, kind: str, name: str, spec: Json) -> None:
        self.api("PUT", f"/v1/tenants/suite/{kind}/{name}", {"spec": spec})

    def status(self) -> Json:
        return dict(self.api("GET", f"/v1/tenants/suite/servers/{self.name}").get("status", {}))

    def secret(self, what: str, value: str) -> str:
        self.apply("secrets", f"{self.name}-{what}", {"value": value})
        return f"{self.name}-{what}"

    async def browse(self, url: str) -> None:
        """Open a link, agree, and go wherever one is sent. Raises GivenUp for a page that says no."""
        status, text = await Browser().connect(url)
        if status != 200:
            raise GivenUp(f"the browser shows {status}: {text}")

    def link(self) -> str:
        path = f"/v1/tenants/suite/servers/{self.name}/connections:link"
        return str(self.api("POST", path, {"subject": "user/person"})["url"])

    def agent(self) -> Agent:
        return Agent(self._gateway, self._key, f"/suite/{self.name}/mcp")

    async def listed(self) -> bool:
        agent = self.agent()
        try:
            reply = await agent.request("tools/list", {})
            return bool(reply.status == 200 and reply.message["result"]["tools"])  # type: ignore[index]
        finally:
            await agent.close()

    async def known(self) -> None:
        """Until the gateway has heard of all that was done before: of an endpoint that was made after it."""
        mark = f"{self.name[:40]}-{uuid4().hex[:8]}"
        await asyncio.to_thread(self.apply, "endpoints", mark, {"prefix": "never", "members": []})

        async def served() -> bool:
            agent = Agent(self._gateway, self._key, f"/suite/{mark}/mcp")
            try:
                return (await agent.request("tools/list", {})).status == 200
            finally:
                await agent.close()

        if not await until(served, SEEN_S):
            raise GivenUp("the gateway hears of nothing")

    async def call(self) -> str:
        """A link that must be followed first, or nothing. Raises GivenUp for a call that fails."""
        agent = self.agent()
        try:
            params = {"name": "test-tool", "arguments": {}, "_meta": {**META, **CAPABILITIES}}
            reply = await agent.request("tools/call", params, {"Mcp-Name": "test-tool"})
        finally:
            await agent.close()
        result = reply.message.get("result")
        if isinstance(result, dict) and result.get("resultType") == "input_required":
            return str(next(iter(result["inputRequests"].values()))["params"]["url"])
        if not isinstance(result, dict) or result.get("isError"):
            raise GivenUp(f"the call failed: {reply.message}")
        return ""


def declared(person: Person, scenario: str, context: Json) -> Json:
    """`auth` as an administrator would write it who has read the scenario's papers."""
    if scenario == "auth/client-credentials-jwt":
        key = person.secret("key", context["private_key_pem"])
        algorithm = context["signing_algorithm"]
        return {**_named(person, context, "client_credentials"), "private_key": key, "algorithm": algorithm}
    if scenario == "auth/client-credentials-basic":
        secret = person.secret("secret", context["client_secret"])
        return {**_named(person, context, "client_credentials"), "client_secret": secret}
    if scenario == "auth/wif-jwt-bearer":
        return {**_named(person, context, "jwt"), "assertion": person.secret("jwt", context["valid_jwt"])}
    if scenario == "auth/enterprise-managed-authorization":
        return {
            **_named(person, context, "id_jag"),
            "client_secret": person.secret("secret", context["client_secret"]),
            "idp_issuer": context["idp_issuer"],
            "idp_client_id": context["idp_client_id"],
            "subject_token": person.secret("id", context["idp_id_token"]),
        }
    auth: Json = {"type": "oauth", "look_as": "person", "unproven_people": True}
    if "client_id" in context:
        secret = person.secret("secret", context["client_secret"])
        auth |= {"client_id": context["client_id"], "client_secret": secret, "issuer": context["issuer"]}
    return auth


def _named(person: Person, context: Json, kind: str) -> Json:
    """With the authorization server's name, which the papers leave out: as the server itself publishes it."""
    origin, _, path = person.url.partition("/mcp")
    with urllib.request.urlopen(f"{origin}/.well-known/oauth-protected-resource/mcp{path}", timeout=10) as answer:
        issuer = json.loads(answer.read())["authorization_servers"][0]
    return {"type": kind, "issuer": issuer, "client_id": context["client_id"]}


async def until(condition: Callable[[], Any], limit_s: float) -> bool:
    """Whether it came true in time."""
    for _ in range(int(limit_s / 0.1)):
        if await condition():
            return True
        await asyncio.sleep(0.1)
    return False


async def main(url: str) -> None:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    name = f"{scenario.removeprefix('auth/')[:40]}-{uuid4().hex[:8]}"
    person = Person(dict(os.environ), name, url)
    auth = await asyncio.to_thread(declared, person, scenario, context)
    spec = {"transport": {"type": "http", "url": url, "allow_private": True}, "auth": auth, "timeout_s": 10}
    await asyncio.to_thread(person.apply, "servers", name, spec)
    await asyncio.to_thread(person.apply, "endpoints", name, {"prefix": "never", "members": [{"server": name}]})
    await _connected(person, auth)
    for _ in range(TRIES):
        link = await person.call()
        if not link:
            return
        await person.browse(link)
        await person.known()
    raise GivenUp("the server is never content")


async def _connected(person: Person, auth: Json) -> None:
    """Until the server's tools are there to be called."""
    if auth["type"] != "oauth":
        if not await until(person.listed, SEEN_S):
            raise GivenUp(f"its tools are not listed: {await asyncio.to_thread(person.status)}")
        return
    for _ in range(TRIES - 1):
        if not await until(partial(_refused, person), SEEN_S):
            raise GivenUp(f"nobody was asked to sign in: {await asyncio.to_thread(person.status)}")
        await person.browse(await asyncio.to_thread(person.link))
        if await until(person.listed, LISTED_S):
            return
    raise GivenUp(f"its tools are not listed: {await asyncio.to_thread(person.status)}")


async def _refused(person: Person) -> bool:
    """Whether a look was answered with a challenge."""
    status = await asyncio.to_thread(person.status)
    return "refuses" in str(status.get("error", ""))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[-1]))
    except GivenUp as given_up:
        sys.exit(str(given_up))
