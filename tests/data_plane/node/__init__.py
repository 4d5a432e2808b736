"""The gateway node: supervisor, workers and what lies between them."""
