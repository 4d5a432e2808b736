"""MCP transports: they move bytes; what the bytes mean is decided in `core.mcp`."""
