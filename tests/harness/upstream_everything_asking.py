"""The suite's tools that ask the client something."""

import json

from tests.harness.upstream_matrix_server import Call, Fixture, Json, covers, form, needs, roots, sample, text

NAME = form("What is your name?", {"name": {"type": "string"}}, ["name"])
OPTIONS = ["option1", "option2", "option3"]


def titled(*titles: str) -> list[Json]:
    return [{"const": f"value{number}", "title": title} for number, title in enumerate(titles, 1)]


DEFAULTS = {
    "name": {"type": "string", "description": "A name.", "default": "John Doe"},
    "age": {"type": "integer", "description": "An age.", "default": 30},
    "score": {"type": "number", "description": "A score.", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "description": "Whether verified.", "default": True},
}
ENUMS = {
    "untitledSingle": {"type": "string", "enum": OPTIONS},
    "titledSingle": {"type": "string", "oneOf": titled("First Option", "Second Option", "Third Option")},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": titled("First Choice", "Second Choice", "Third Choice")}},
}


def add(fixture: Fixture) -> None:
    legacy(fixture)
    rounds(fixture)
    refusals(fixture)


def legacy(fixture: Fixture) -> None:
    @fixture.tool("Samples.", {"type": "object", "properties": {"prompt": {"type": "string"}}})
    async def test_sampling(call: Call) -> Json:
        answered = await call.ask(sample=sample(str(call.arguments.get("prompt"))))
        return text(f"LLM response: {answered['sample'].get('content', {}).get('text')}")

    @fixture.tool("Elicits.", {"type": "object", "properties": {"message": {"type": "string"}}})
    async def test_elicitation(call: Call) -> Json:
        asked = {"username": {"type": "string"}, "email": {"type": "string"}}
        answered = await call.ask(user=form(str(call.arguments.get("message")), asked, list(asked)))
        return text(f"User response: {spoken(answered['user'])}")

    @fixture.tool("Elicits with defaults.")
    async def test_elicitation_sep1034_defaults(call: Call) -> Json:
        answered = await call.ask(form=form("Please review the defaults.", DEFAULTS))
        return text(f"Elicitation completed: {spoken(answered['form'])}")

    @fixture.tool("Elicits every kind of choice.")
    async def test_elicitation_sep1330_enums(call: Call) -> Json:
        answered = await call.ask(form=form("Please choose.", ENUMS))
        return text(f"Elicitation completed: {spoken(answered['form'])}")


def spoken(answer: Json) -> str:
    return f"action={answer.get('action')}, content={json.dumps(answer.get('content') or {})}"


def rounds(fixture: Fixture) -> None:
    @fixture.tool("Asks for a name.")
    async def test_input_required_result_elicitation(call: Call) -> Json:
        answered = await call.ask(user_name=NAME)
        return text(f"Hello, {(answered['user_name'].get('content') or {}).get('name')}!")

    @fixture.tool("Asks for a sample.")
    async def test_input_required_result_sampling(call: Call) -> Json:
        answered = await call.ask(capital_question=sample("What is the capital of France?"))
        return text(f"The model said: {answered['capital_question'].get('content', {}).get('text')}")

    @fixture.tool("Asks for the roots.")
    async def test_input_required_result_list_roots(call: Call) -> Json:
        answered = await call.ask(client_roots=roots())
        return text(f"Roots: {json.dumps(answered['client_roots'].get('roots'))}")

    @fixture.tool("Asks, and checks its state.")
    async def test_input_required_result_request_state(call: Call) -> Json:
        await call.ask(confirm=form("Please confirm", {"ok": {"type": "boolean"}}, ["ok"]))
        return text("state-ok" if call.state is not None or not call.modern else "the state is missing")

    @fixture.tool("Asks, and minds what becomes of its state.")
    async def test_input_required_result_tampered_state(call: Call) -> Json:
        await call.ask(confirm=form("Please confirm", {"ok": {"type": "boolean"}}, ["ok"]))
        return text("the state is as it was")

    @fixture.tool("Asks three things at once.")
    async def test_input_required_result_multiple_inputs(call: Call) -> Json:
        await call.ask(user_name=NAME, greeting=sample("Generate a greeting", 50), client_roots=roots())
        return text("all three answered")

    @fixture.tool("Asks twice.")
    async def test_input_required_result_multi_round(call: Call) -> Json:
        first = form("Step 1: What is your name?", {"name": {"type": "string"}}, ["name"])
        second = form("Step 2: What is your favorite color?", {"color": {"type": "string"}}, ["color"])
        answers = await call.ask(step1=first) | await call.ask(step2=second)
        said = [next(iter((answer.get("content") or {"": None}).values())) for answer in answers.values()]
        return text(f"{said[0]} likes {said[1]}")

    @fixture.tool("Asks what its caller can be asked.")
    async def test_input_required_result_capabilities(call: Call) -> Json:
        questions = {"user_name": NAME, "greeting": sample("Generate a greeting", 50), "client_roots": roots()}
        possible = {key: question for key, question in questions.items() if covers(call.capabilities, needs(question))}
        if not possible:
            return text("the client can be asked nothing")
        return text(f"answered: {', '.join(await call.ask(**possible))}")

    @fixture.prompt("A prompt that asks for its context.")
    async def test_input_required_result_prompt(call: Call) -> Json:
        asked = form("What context should the prompt use?", {"context": {"type": "string"}}, ["context"])
        answered = await call.ask(user_context=asked)
        said = f"Use this context: {(answered['user_context'].get('content') or {}).get('context')}"
        return {"messages": [{"role": "user", "content": {"type": "text", "text": said}}]}


def refusals(fixture: Fixture) -> None:
    @fixture.tool("Needs a client that can sample.")
    async def test_missing_capability(call: Call) -> Json:
        call.require(sample(""))
        return text("the client can sample")

    @fixture.tool("Asks on its stream in the handshake era, in its result in the other.")
    async def test_streaming_elicitation(call: Call) -> Json:
        await call.progress(1, 2, "about to ask")
        answered = await call.ask(user_name=NAME)
        return text(f"Hello, {(answered['user_name'].get('content') or {}).get('name')}!")
