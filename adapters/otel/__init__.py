"""OpenTelemetry: spans of sampled calls, over OTLP."""
