"""The gateway: serves MCP to agents from compiled snapshots."""
