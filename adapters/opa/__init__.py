"""The `opa` binary: checks, tests and compiles Rego."""
