"""The `toolgate` command: admin client, both planes on one machine, and help for MCP clients."""
