"""The node's supervisor process: it owns what outlives a worker."""
