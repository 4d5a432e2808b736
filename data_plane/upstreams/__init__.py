"""Ways to reach MCP servers: an HTTP/1.1 client of our own, and MCP in both eras on top of it."""
