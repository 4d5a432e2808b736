"""Compiled modules by the digest of their WASM: in memory, and optionally in a local folder."""

import os
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from wasmtime import Config, Engine, Module, WasmtimeError

from core.bound import Bound

MEMORY_CAP = 64
FOLDER_CAP = 256
COMPILED_WITHIN_S = 60.0


def new_engine() -> Engine:
    """Machine code is loaded by engines made alike, and by no others."""
    config = Config()
    config.epoch_interruption = True
    return Engine(config)


class Modules:
    """Compiles each module once. Loading machine code from the folder takes 1 ms where compiling takes 150.

    With a folder a process of its own compiles: the compiler leaves 14 MiB behind in the one that runs it. The folder
    is trusted as code: it must belong to this user alone, and is never filled from the wire. A file's name carries
    the digest of its content, so a damaged one is compiled anew.
    """

    def __init__(self, engine: Engine, folder: Path | None) -> None:
        self._engine = engine
        self._folder = _private(folder) if folder is not None else None
        self._loaded: OrderedDict[str, Module] = OrderedDict()
        self._lock = threading.Lock()
        self._evicted = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._loaded), MEMORY_CAP, self._evicted)

    def get(self, wasm: bytes) -> Module:
        """Slow on a miss. Raises ValueError for what is not WASM."""
        key = _hex(wasm)
        with self._lock:
            module = self._loaded.get(key) or self._from_folder(key) or self._compile(key, wasm)
            self._loaded[key] = module
            self._loaded.move_to_end(key)
            while len(self._loaded) > MEMORY_CAP:
                self._loaded.popitem(last=False)
                self._evicted += 1
        return module

    def _compile(self, key: str, wasm: bytes) -> Module:
        # Anything that does not start like a module would be taken for its text format, or a path.
        if not wasm.startswith(b"\0asm"):
            raise ValueError("policy module: not WASM")
        machine_code = _compiled_apart(wasm) if self._folder is not None else None
        if machine_code is None or self._folder is None:
            try:
                return Module(self._engine, wasm)
            except WasmtimeError as failure:
                raise ValueError(f"policy module: {failure}") from failure
        self._keep(self._folder, key, machine_code)
        return self._from_folder(key) or Module.deserialize(self._engine, machine_code)

    def _from_folder(self, key: str) -> Module | None:
        for path in sorted(self._folder.glob(f"{_stem(key)}.*.cwasm")) if self._folder is not None else ():
            try:
                if _hex(path.read_bytes()) == path.name.split(".")[-2]:
                    return Module.deserialize_file(self._engine, str(path))
            except (OSError, WasmtimeError):
                continue
        return None

    def _keep(self, folder: Path, key: str, machine_code: bytes) -> None:
        try:
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(machine_code)
            Path(file.name).rename(folder / f"{_stem(key)}.{_hex(machine_code)}.cwasm")
            kept = sorted(folder.glob("*.cwasm"), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in kept[FOLDER_CAP:]:
                old.unlink(missing_ok=True)
        except OSError:
            return  # A full or read-only disk costs time at the next start, nothing else.


def _compiled_apart(wasm: bytes) -> bytes | None:
    """Machine code; None where there may be no more processes. Raises ValueError for no WASM, or what takes long."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "adapters.wasmtime.compile"],
            input=wasm,
            capture_output=True,
            timeout=COMPILED_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise ValueError(f"policy module: not compiled within {COMPILED_WITHIN_S:.0f} s") from late
    except OSError:
        return None
    if done.returncode:
        raise ValueError(f"policy module: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = folder.stat()
    if seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise ValueError(f"{folder}: must belong to this user and be writable by no other, it holds machine code")
    return folder


def _stem(key: str) -> str:
    # Machine code fits one version of wasmtime; dots would end the name's part.
    return f"{key}.{version('wasmtime').replace('.', '-')}"


def _hex(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()
