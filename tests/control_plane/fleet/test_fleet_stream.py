"""The fleet over real gRPC and a real database."""

from tests.harness.fleet import HoldingNode, connected, control_plane

DEFINITION = b'{"name": "now", "description": "the time", "inputSchema": {"type": "object"}}'


async def test_a_change_reaches_a_connected_node(dsn: str) -> None:
    node = HoldingNode("node-1")
    async with control_plane(dsn) as plane, connected(node, plane.target):
        await plane.tenant("acme", "clock")
        await node.until(lambda: node.tools("acme") == {} and "acme" in node.manifests)
        await plane.approve("acme", "clock", {"now": DEFINITION})
        await node.until(lambda: node.tools("acme") == {"now": DEFINITION})
