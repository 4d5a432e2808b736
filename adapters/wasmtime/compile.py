"""WASM on standard input to machine code on standard output; exit code 1, and why, for what is not WASM."""

import sys

from wasmtime import Module, WasmtimeError

from adapters.wasmtime.modules import new_engine


def main() -> None:
    try:
        module = Module(new_engine(), sys.stdin.buffer.read())
    except WasmtimeError as failure:
        sys.exit(str(failure))
    sys.stdout.buffer.write(bytes(module.serialize()))


if __name__ == "__main__":
    main()
