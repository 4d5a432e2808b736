"""The TypeScript SDKs' clients on the tour: v1 of the handshake revisions, v2 of either era."""

import json
from typing import Literal

from tests.clients.programs import HERE, ClientFailed, node
from tests.clients.tour import Json, Place, Step

Version = Literal[1, 2]


def request(place: Place, mode: str) -> Json:
    """What the scripts are told of a server."""
    asked: Json = {"transport": place.way, "mode": mode, "steps": {}}
    if place.way == "stdio":
        return {**asked, "command": place.command, "environment": place.environment}
    return {**asked, "url": place.url, "headers": place.headers}


async def toured(place: Place, version: Version, mode: str, steps: dict[str, Step]) -> Json:
    """What it lists, and what came of each step. Raises ClientFailed."""
    asked = {**request(place, mode), "steps": steps}
    said = await node(HERE / f"tour-{version}.mjs", json.dumps(asked))
    if not said.startswith("{"):
        raise ClientFailed(0, f"it said {said[:200]!r}")
    return dict(json.loads(said))
