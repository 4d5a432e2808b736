"""The Inspector through both planes, authenticated: its CLI asks once, its connections can be asked."""

import asyncio
import json

import pytest

from tests.clients.programs import ERAS, ClientFailed, Era, connected, inspect
from tests.clients.tour import ENDPOINTS, Json, Side, expected, missing
from tests.clients.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTS = ("prompts", "resources", "resources/templates")
FORM: Json = {"name": "Ada", "age": 36}


async def called(served: World, endpoint: str, era: Era, side: Side) -> str:
    words = ["--tool-name", f"{side.tools}echo", "--tool-arg", "text=hi"]
    result = await inspect(served.place(endpoint).url, served.key, era, "tools/call", *words)
    return str(result["content"][0]["text"])


@pytest.mark.parametrize("endpoint", ["legacy", "modern"])
@pytest.mark.parametrize("era", ERAS)
async def test_its_cli_lists_and_calls_a_server_alone(served: World, era: Era, endpoint: str) -> None:
    listed, said = await asyncio.gather(
        inspect(served.place(endpoint).url, served.key, era, "tools/list"),
        called(served, endpoint, era, ENDPOINTS[endpoint][0]),
    )
    assert "echo" in {tool["name"] for tool in listed["tools"]}
    assert said == "hi"


@pytest.mark.parametrize("era", ERAS)
async def test_its_cli_lists_everything_and_finds_no_schema_that_is_not_portable(served: World, era: Era) -> None:
    url = served.place("both").url
    listed = await inspect(url, served.key, era, "tools/list", "--strict")
    for found in await asyncio.gather(*(inspect(url, served.key, era, f"{kind}/list") for kind in LISTS)):
        listed |= found
    assert not missing("both", listed)


@pytest.mark.parametrize("side", ENDPOINTS["both"], ids=lambda side: side.server)
@pytest.mark.parametrize("era", ERAS)
async def test_its_cli_calls_reads_and_gets(served: World, era: Era, side: Side) -> None:
    url = served.place("both").url
    prompt = ["--prompt-name", f"{side.tools}about", "--prompt-args", "city=Bern"]
    said, read, got = await asyncio.gather(
        called(served, "both", era, side),
        inspect(url, served.key, era, "resources/read", "--uri", f"{side.uris}matrix://items/7"),
        inspect(url, served.key, era, "prompts/get", *prompt),
    )
    assert said == "hi"
    assert json.loads(read["contents"][0]["text"]) == {"item": 7}
    assert got["messages"][0]["content"]["text"] == "tell of Bern"


async def test_its_cli_says_what_the_gateway_refused(served: World) -> None:
    url = served.place("both").url
    with pytest.raises(ClientFailed, match="legacy__unknown"):
        await inspect(url, served.key, "auto", "tools/call", "--tool-name", "legacy__unknown")
    with pytest.raises(ClientFailed, match="auth"):
        await inspect(url, "tgk_acme_0_0", "auto", "tools/list")


@pytest.mark.parametrize("side", ENDPOINTS["both"], ids=lambda side: side.server)
@pytest.mark.parametrize("era", ERAS)
async def test_its_connections_answer_forms_visit_pages_and_complete(served: World, era: Era, side: Side) -> None:
    complete = ["--complete-ref-type", "ref/prompt", "--complete-ref", f"{side.tools}about"]
    complete += ["--complete-arg-name", "city", "--complete-arg-value", "be"]
    outcomes: Json = {}
    async with connected(served.place("both").url, served.key, era) as connection:
        for tool in ("ask_twice", "ask_url"):
            result = await connection.call(f"{side.tools}{tool}", FORM)
            outcomes[f"{side.server} {tool}"] = json.loads(result["content"][0]["text"])
        completed = await connection.run("prompts/complete", *complete)
        outcomes[f"{side.server} cities"] = completed["values"]
    wanted = expected("both")
    assert outcomes == {key: wanted[key] for key in outcomes}
