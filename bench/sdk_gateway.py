"""A gateway as Python gateways commonly are: for each call, a client of the official SDK towards the upstream.

`python bench/sdk_gateway.py PORT UPSTREAM_URL`. It governs nothing; it is here for comparison.
"""

import json
import sys

import uvicorn
from mcp import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(upstream: str) -> Starlette:
    async def call(request: Request) -> Response:
        message = await request.json()
        async with Client(upstream) as client:
            result = await client.call_tool(message["params"]["name"], message["params"].get("arguments", {}))
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result.model_dump(by_alias=True, exclude_none=True)}
        return Response(json.dumps(answer), media_type="application/json")

    return Starlette(routes=[Route("/mcp", call, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
