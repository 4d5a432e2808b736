"""The MCP wire, sans-I/O: classify, validate, translate between revisions, seal. Fronts and upstreams only move bytes."""
