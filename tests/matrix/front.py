"""A client of any revision over any transport, without an SDK: what it sends is what the revision says."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Json = dict[str, Any]
MODERN = "2026-07-28"
ANSWER_S = 10.0
"""Longest wait for an answer: what hangs is a failure, not a pause."""
MOST_ROUNDS = 8
CAPABILITIES: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods that `Mcp-Name` says of what they are about, and the param it repeats."""


class RpcError(Exception):
    """An answer that is an error."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = error.get("code")
        self.data = error.get("data")


class Lost(Exception):
    """The transport gave no answer; the text says what it gave."""


class Pipe(Protocol):
    """A way to a server. Whatever comes is given to `deliver`; a request that can have no answer to `lose`."""

    deliver: Callable[[Json], None]
    lose: Callable[[object, str], None]

    async def open(self) -> None: ...

    async def send(self, message: Json | list[Json], headers: dict[str, str]) -> None: ...

    async def abandon(self, request_id: object) -> bool:
        """Stop listening for an answer; True where that is how the revision cancels."""
        ...

    async def greeted(self) -> None:
        """The handshake is done: whatever may only be opened now."""
        ...

    async def close(self) -> None: ...


class Front:
    """One client of one server. Use `async with`: it says hello as its revision does."""

    def __init__(self, revision: str, pipe: Pipe, capabilities: Json | None = None) -> None:
        self.revision = revision
        self.modern = revision >= MODERN
        self.capabilities = CAPABILITIES if capabilities is None else capabilities
        self.answers: dict[str, Callable[[Json], Awaitable[Json]]] = {
            "elicitation/create": filled_in,
            "sampling/createMessage": sampled,
            "roots/list": rooted,
        }
        self.asked: list[Json] = []
        """Every question, in order."""
        self.heard: list[Json] = []
        self._waiting: list[tuple[str, asyncio.Future[Json]]] = []
        self._pending: dict[object, asyncio.Future[Json]] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.pipe = pipe
        pipe.deliver, pipe.lose = self._deliver, self._lose

    async def __aenter__(self) -> "Front":
        try:
            await self.pipe.open()
            if not self.modern:
                await self._shake_hands()
        except BaseException:
            await self.pipe.close()
            raise
        return self

    async def _shake_hands(self) -> None:
        hello = {"protocolVersion": self.revision, "capabilities": self.known_capabilities()}
        result = await self.request("initialize", {**hello, "clientInfo": {"name": "matrix", "version": "1"}})
        if result["protocolVersion"] != self.revision:
            raise Lost(f"asked for {self.revision}, was given {result['protocolVersion']}")
        await self.notify("notifications/initialized")
        await self.pipe.greeted()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pipe.close()

    def known_capabilities(self) -> Json:
        """What a client of this revision can declare of all it is able to."""
        declared = dict(self.capabilities)
        if self.revision < "2025-06-18":
            declared.pop("elicitation", None)
        elif self.revision < "2025-11-25" and "elicitation" in declared:
            declared["elicitation"] = {}
        return declared

    async def request(self, method: str, params: Json | None = None) -> Json:
        """The result. Raises RpcError, Lost."""
        return await self.answer(await self.begin(method, params))

    async def begin(self, method: str, params: Json | None = None) -> object:
        """The id of a request under way."""
        number = next(self._ids)
        self._pending[number] = asyncio.get_running_loop().create_future()
        await self.pipe.send(self.message(number, method, params or {}), self.headers(method, params or {}))
        return number

    def message(self, number: int, method: str, params: Json) -> Json:
        if self.modern:
            meta = {
                "io.modelcontextprotocol/protocolVersion": self.revision,
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
                "io.modelcontextprotocol/clientInfo": {"name": "matrix", "version": "1"},
            }
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

    def headers(self, method: str, params: Json) -> dict[str, str]:
        """What Streamable HTTP has besides the body."""
        if self.modern:
            named = {"Mcp-Name": str(params[NAMED[method]])} if method in NAMED else {}
            return {"MCP-Protocol-Version": self.revision, "Mcp-Method": method, **named}
        if method != "initialize" and self.revision >= "2025-06-18":
            return {"MCP-Protocol-Version": self.revision}
        return {}

    async def answer(self, number: object) -> Json:
        """Of a request begun. Raises RpcError, Lost."""
        try:
            async with asyncio.timeout(ANSWER_S):
                message = await self._pending[number]
        except TimeoutError:
            raise Lost(f"no answer within {ANSWER_S:g} s") from None
        finally:
            self._pending.pop(number, None)
        if "error" in message:
            raise RpcError(message["error"])
        return dict(message["result"])

    async def batch(self, *requests: tuple[str, Json]) -> list[Json]:
        """Of revision 2025-03-26: several at once, their results in the order they were asked for."""
        numbers = [next(self._ids) for _ in requests]
        for number in numbers:
            self._pending[number] = asyncio.get_running_loop().create_future()
        sent = [self.message(number, *request) for number, request in zip(numbers, requests, strict=True)]
        await self.pipe.send(sent, {})
        return [await self.answer(number) for number in numbers]

    async def notify(self, method: str, params: Json | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
        await self.pipe.send(message, self.headers(method, params or {}))

    async def cancel(self, number: object) -> None:
        """As the revision cancels over this transport."""
        self._pending.pop(number, None)
        if not await self.pipe.abandon(number):
            await self.notify("notifications/cancelled", {"requestId": number, "reason": "no longer wanted"})

    async def call(self, tool: str, arguments: Json | None = None, meta: Json | None = None) -> Json:
        """A tool's result, however often it asks on the way. Raises RpcError, Lost."""
        return await self.rounds("tools/call", {"name": tool, "arguments": arguments or {}}, meta)

    async def rounds(self, method: str, params: Json, meta: Json | None = None) -> Json:
        sent = {**params, **({"_meta": meta} if meta else {})}
        for _ in range(MOST_ROUNDS):
            result = await self.request(method, sent)
            if result.get("resultType") != "input_required":
                return result
            asked = result.get("inputRequests") or {}
            given = {key: await self._answered(question) for key, question in asked.items()}
            state = {"requestState": result["requestState"]} if "requestState" in result else {}
            sent = {**params, "inputResponses": given, **state, **({"_meta": meta} if meta else {})}
        raise Lost(f"asked {MOST_ROUNDS} times in a row")

    async def next(self, method: str, of: object = None) -> Json:
        """The params of the next notification of a method; `of`: on the stream of this request. Raises Lost."""
        return await self.expect(method, of)

    def expect(self, method: str, of: object = None) -> Awaitable[Json]:
        """As `next`, but of those that come from this moment on, however late it is awaited."""
        coming: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting.append((method, coming))
        return self._come(method, coming, self._pending.get(of))

    async def _come(self, method: str, coming: "asyncio.Future[Json]", request: "asyncio.Future[Json] | None") -> Json:
        watched = {coming} if request is None else {coming, request}
        await asyncio.wait(watched, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            return coming.result()
        coming.cancel()
        if request is not None and request.done():
            raise Lost(f"no {method}, but {request.exception() or request.result()}")
        raise Lost(f"no {method} within {ANSWER_S:g} s")

    def _deliver(self, message: Json) -> None:
        if "method" not in message:
            pending = self._pending.get(message.get("id"))
            if pending is not None and not pending.done():
                pending.set_result(message)
        elif "id" in message:
            self._start(self._reply(message))
        else:
            self.heard.append(message)
            for method, coming in list(self._waiting):
                if method == message["method"] and not coming.done():
                    coming.set_result(message.get("params", {}))
                    self._waiting.remove((method, coming))

    def _lose(self, number: object, why: str) -> None:
        pending = self._pending.get(number)
        if pending is not None and not pending.done():
            pending.set_exception(Lost(why))

    async def _reply(self, request: Json) -> None:
        result = {} if request["method"] == "ping" else await self._answered(request)
        await self.pipe.send({"jsonrpc": "2.0", "id": request["id"], "result": result}, self.headers("", {}))

    async def _answered(self, question: Json) -> Json:
        self.asked.append(question)
        return await self.answers[question["method"]](question.get("params") or {})

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def filled_in(params: Json) -> Json:
    """Accepts, with a value of the right type for every field."""
    fields = params.get("requestedSchema", {}).get("properties", {})
    values = {"integer": 7, "number": 7.5, "boolean": True, "array": []}
    content = {name: values.get(field.get("type"), "seven") for name, field in fields.items()}
    return {"action": "accept", **({"content": content} if params.get("mode", "form") == "form" else {})}


async def sampled(_: Json) -> Json:
    return {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "none", "stopReason": "endTurn"}


async def rooted(_: Json) -> Json:
    return {"roots": [{"uri": "file:///work", "name": "work"}]}
