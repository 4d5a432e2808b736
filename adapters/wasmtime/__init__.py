"""Rego compiled to WASM, evaluated in this process by wasmtime."""
