"""Clients that wait for a list to change, and when they heard of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Literal

from tests.clients.programs import HERE, NODE
from tests.clients.python_sdk import connected
from tests.clients.tour import Place
from tests.clients.typescript import Version, request

What = Literal["tools", "prompts", "resources", "updated"]
"""The list, or `updated`: the resource WATCHED."""
WATCHED = "matrix://watched"
READY_S = 20.0


class Watch:
    """One client's ear."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._heard_at = 0.0
        self._heard = asyncio.Event()

    def hear(self) -> None:
        if not self._heard.is_set():
            self._heard_at = monotonic()
            self._heard.set()

    def forget(self) -> None:
        """What is heard from now on counts."""
        self._heard.clear()

    async def after(self, began: float, limit_s: float) -> float | None:
        """Seconds from `began` until it heard; None where it did not."""
        try:
            async with asyncio.timeout(limit_s):
                await self._heard.wait()
        except TimeoutError:
            return None
        return self._heard_at - began


@asynccontextmanager
async def python(place: Place, mode: str, watch: Watch, what: What = "tools") -> AsyncIterator[Watch]:
    method = "notifications/resources/updated" if what == "updated" else f"notifications/{what}/list_changed"

    async def told(message: Any) -> None:
        if getattr(message, "method", "") == method:
            watch.hear()

    async with connected(place, mode, message_handler=told) as client:
        if mode == "legacy":
            if what == "updated":
                await client.subscribe_resource(WATCHED)
            yield watch
            return
        filters: Any = {"resource_subscriptions": [WATCHED]} if what == "updated" else {f"{what}_list_changed": True}
        async with client.listen(**filters) as stream:
            listening = asyncio.ensure_future(_listen(stream, watch))
            try:
                yield watch
            finally:
                listening.cancel()
                await asyncio.wait([listening])


async def _listen(stream: Any, watch: Watch) -> None:
    async for _ in stream:
        watch.hear()


@asynccontextmanager
async def typescript(place: Place, version: Version, mode: str, watch: Watch) -> AsyncIterator[Watch]:
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(HERE / f"tour-{version}.mjs"),
        json.dumps({**request(place, mode), "watch": True}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            assert await process.stdout.readline() == b"ready\n", f"{watch.name} did not come up"
        listening = asyncio.ensure_future(_lines(process.stdout, watch))
        yield watch
        process.stdin.close()
        async with asyncio.timeout(READY_S):
            await listening
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _lines(output: asyncio.StreamReader, watch: Watch) -> None:
    while await output.readline():
        watch.hear()
