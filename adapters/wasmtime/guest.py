"""One instance of a compiled policy: a host of OPA's WASM ABI 1.

https://www.openpolicyagent.org/docs/wasm: the host brings memory, `opa_abort` and dispatchers for the builtins WASM
lacks; data is parsed once into the guest's heap, and each evaluation starts over above it, so memory does not grow.
"""

import ctypes
import weakref

import msgspec
from wasmtime import (
    Engine,
    Func,
    FuncType,
    Instance,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    Trap,
    ValType,
    WasmtimeError,
)

# The public `Func.__call__` looks the function's type up and boxes every value anew: 10 us for a call of one argument,
# 40 for opa_eval. Filling the argument array in place brings the call itself below 2. The same C function is called.
from wasmtime import _ffi as ffi

from adapters.wasmtime import builtins

PAGE_BYTES = 65536
LOAD_TICKS = 500
"""Deadline of instantiation and of parsing data: 5 s. Slow, but off the event loop, and data is the control plane's."""
INPUT_CAP = 1024 * 1024
RESULT_CAP = 4 * 1024 * 1024

_CHUNKS = tuple((size, ctypes.c_char * size) for size in (1024, 65536, RESULT_CAP))
_ADDRESS = 0xFFFFFFFF
_FAULTS = (WasmtimeError, Trap)


class GuestFailed(Exception):
    """The guest trapped, ran out of time or memory, aborted, or is no OPA policy. It must not be used again."""


class Guest:
    """Used by one thread at a time. Freed when it is garbage: nothing in wasmtime's tables refers to it."""

    def __init__(self, engine: Engine, module: Module, data: bytes, memory_bytes: int) -> None:
        """Raises GuestFailed."""
        self._failure = ""
        self._store = store = Store(engine)
        store.set_limits(memory_size=memory_bytes, instances=1, memories=1, tables=4)
        store.set_epoch_deadline(LOAD_TICKS)
        try:
            self._memory = Memory(store, MemoryType(Limits(_least_pages(module), memory_bytes // PAGE_BYTES)))
            exports = Instance(store, module, _imports(self, store, module, self._memory)).exports(store)
            self._exports = {name: item for name, item in exports.items() if isinstance(item, Func)}
            self._host = {number: name for name, number in self._names("builtins").items()}
            self.entrypoints = self._names("entrypoints")
            self._data = self._parse(store, data)
            self._heap = self._call("opa_heap_ptr_get")
        except (*_FAULTS, KeyError, msgspec.DecodeError) as failure:
            raise GuestFailed(self._failure or str(failure)) from failure
        self._check()
        self._eval = _Eval(store, self._exports["opa_eval"], self._data, self._heap)

    @property
    def memory_bytes(self) -> int:
        return self._memory.data_len(self._store)

    def builtins(self) -> set[str]:
        """Host builtins the policy uses."""
        return set(self._host.values())

    def evaluate(self, entrypoint: int, input_json: bytes, ticks: int) -> bytes:
        """JSON of OPA's result set. `ticks` until it is cut off. Raises GuestFailed."""
        length = len(input_json)
        if length > INPUT_CAP:
            raise GuestFailed("the input is too large")
        missing = self._heap + length - self.memory_bytes
        try:
            if missing > 0:
                self._memory.grow(self._store, missing // PAGE_BYTES + 1)
            self._store.set_epoch_deadline(ticks)
            ctypes.memmove(self._base() + self._heap, input_json, length)
            address = self._eval(entrypoint, length)
        except _FAULTS as failure:
            raise GuestFailed(self._failure or str(failure)) from failure
        self._check()
        return self._text(address)

    def host_call(self, number: int, arguments: tuple[int, ...]) -> int:
        """A builtin the guest asks for; addresses in, address out. Never raises: a failure fails the evaluation."""
        try:
            name = self._host[number]
            values = [msgspec.json.decode(self._text(self._call("opa_json_dump", at))) for at in arguments]
            return self._parse(self._store, msgspec.json.encode(builtins.call(name, values)))
        except builtins.Undefined:
            return 0
        except Exception as failure:  # noqa: BLE001 - this is called from machine code, and fails closed
            self._failure = f"builtin {self._host.get(number, number)}: {failure!r}"
            return 0

    def aborted(self, address: int) -> None:
        """The guest gives up; it traps right after."""
        self._failure = "aborted"
        self._failure = f"aborted: {self._text(address)[:200]!r}"

    def _check(self) -> None:
        if self._failure:
            raise GuestFailed(self._failure)

    def _names(self, export: str) -> dict[str, int]:
        text = self._text(self._call("opa_json_dump", self._call(export)))
        return msgspec.json.decode(text, type=dict[str, int])

    def _call(self, export: str, *arguments: int) -> int:
        return int(self._exports[export](self._store, *arguments)) & _ADDRESS

    def _parse(self, store: Store, json: bytes) -> int:
        """Address of the value; the text's room is given back."""
        address = self._call("opa_malloc", len(json))
        if not 0 < address <= self.memory_bytes - len(json):
            raise GuestFailed("out of memory")
        ctypes.memmove(self._base() + address, json, len(json))
        value = self._call("opa_json_parse", address, len(json))
        self._exports["opa_free"](store, address)
        if value == 0:
            raise GuestFailed("the policy's data or a builtin's result is not JSON the guest can read")
        return value

    def _base(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)

    def _text(self, address: int) -> bytes:
        """The NUL-terminated text at `address`, never read past the guest's memory."""
        room = self.memory_bytes - address
        for size, chunk in _CHUNKS:
            length = min(size, max(room, 0))
            window = chunk if length == size else ctypes.c_char * length
            text = window.from_address(self._base() + address).value
            if len(text) < length:
                return text
        raise GuestFailed("a result without end")


def _imports(guest: Guest, store: Store, module: Module, memory: Memory) -> list[Func | Memory]:
    """What the module asks of its host, in its order. Raises KeyError for what OPA's ABI does not have."""
    host = weakref.ref(guest)  # wasmtime keeps callbacks in a global table: a strong reference would never be freed
    i32 = ValType.i32()

    def abort(address: int) -> None:
        alive = host()
        if alive is not None:
            alive.aborted(address)

    def call(number: int, _context: int, *arguments: int) -> int:
        alive = host()
        return alive.host_call(number, arguments) if alive is not None else 0

    known: dict[str, Func | Memory] = {"memory": memory, "opa_abort": Func(store, FuncType([i32], []), abort)}
    for arity in range(5):
        known[f"opa_builtin{arity}"] = Func(store, FuncType([i32] * (arity + 2), [i32]), call)
    return [known[wanted.name or ""] for wanted in module.imports]


def _least_pages(module: Module) -> int:
    """Of the memory the module wants to be given."""
    wanted = (wanted.type for wanted in module.imports)
    return next((kind.limits.min for kind in wanted if isinstance(kind, MemoryType)), 1)


class _Eval:
    """`opa_eval(reserved, entrypoint, data, input, input_len, heap, format)` with its arguments kept in place."""

    def __init__(self, store: Store, function: Func, data: int, heap: int) -> None:
        self._store = store
        self._function = function._func  # noqa: SLF001 - see the import of _ffi
        self._arguments = (ffi.wasmtime_val_t * 7)()
        self._result = (ffi.wasmtime_val_t * 1)()
        self._heap = heap
        for value in self._arguments:
            value.kind = ffi.WASMTIME_I32
        self._arguments[2].of.i32 = data
        self._arguments[3].of.i32 = heap

    def __call__(self, entrypoint: int, length: int) -> int:
        """Address of the result's JSON. Raises WasmtimeError or its kin, Trap."""
        arguments = self._arguments
        arguments[1].of.i32 = entrypoint
        arguments[4].of.i32 = length
        arguments[5].of.i32 = (self._heap + length + 7) & ~7
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_func_call(
            self._store._context(),  # noqa: SLF001 - see the import of _ffi
            ctypes.byref(self._function),
            arguments,
            7,
            self._result,
            1,
            ctypes.byref(trap),
        )
        if error:
            raise WasmtimeError._from_ptr(error)  # noqa: SLF001 - see the import of _ffi
        if trap:
            raise Trap._from_ptr(trap)  # noqa: SLF001 - see the import of _ffi
        return int(self._result[0].of.i32) & _ADDRESS
