"""A caller's trace goes on through the gateway: to the server, and to the collector where the caller sampled it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.behaviour.conftest import settle
from tests.harness.planes import Planes, until
from tests.harness.upstream_raw import Peer, Request, scripted

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Span]]]:
    """URL of an OTLP collector, and the spans it was sent."""
    spans: list[Span] = []

    async def take(request: Request, peer: Peer) -> None:
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                spans.extend(scope.spans)
        await peer.json(b"", kind="application/x-protobuf")

    async with scripted(take) as server:
        yield server.url.replace("/mcp", "/v1/traces"), spans


async def test_a_sampled_trace_reaches_the_server_and_the_collector(planes: Planes) -> None:
    async with collector() as (url, spans), settle(planes, TOOLGATE_OTLP_ENDPOINT=url) as world:
        params = {"name": "echo", "arguments": {}}
        agent = world.agent()
        plain = {"Mcp-Name": "echo", "traceparent": f"00-{TRACE}-{PARENT}-00"}
        assert (await agent.request("tools/call", params, plain)).ok
        sampled = {"Mcp-Name": "echo", "traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
        assert (await agent.request("tools/call", params, sampled)).ok

        async def exported() -> bool:
            await asyncio.sleep(0)
            return bool(spans)

        await until(exported, "the span")
        (span,) = spans
        assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("tools/call echo", TRACE, PARENT)
        sent = world.upstream.messages("tools/call")
        assert [request.headers["traceparent"].split("-")[1] for request in sent] == [TRACE, TRACE]
        assert sent[1].headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
        assert sent[1].headers["tracestate"] == "vendor=1"
