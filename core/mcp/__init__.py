"""The MCP wire, sans-I/O: parse, classify, validate, translate. Fronts and upstreams only move bytes."""
