"""MCP over gRPC, for agents: `toolgate.v1.Agent`. Imported only where a port is set for it."""
