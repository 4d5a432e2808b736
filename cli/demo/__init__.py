"""The demo `toolgate up` applies: a tenant, who may do what in it, and a shop's MCP server."""
