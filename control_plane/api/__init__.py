"""The admin API: one set of handlers, served over gRPC and REST."""
