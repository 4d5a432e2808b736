"""Running `opa`: found where it may be, and kept within bounds of time, memory and output."""

import asyncio
import os
import resource
import shutil
import signal
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from core.policy import PolicyCompilerMissing

HOW_TO_INSTALL = (
    "no `opa` binary to compile Rego with: put one on PATH or name it in TOOLGATE_OPA "
    "(`make run` gets .tools/opa beside the start and tells how that went in .tools/opa.log; "
    "`go install github.com/open-policy-agent/opa@v1.20.2` also does)"
)
OUTPUT_BYTES = 8 * 1024 * 1024
MEMORY_BYTES = 4 * 1024**3
"""Address space; Go reserves far more than it uses. A policy's tests are programs of a tenant's."""


class Finished(NamedTuple):
    code: int
    out: bytes
    err: bytes


class OpaOverran(Exception):
    """It took too long or said too much, and was killed."""


def find(named: str | None) -> str:
    """`named`, else TOOLGATE_OPA, .tools/opa under the working directory, or PATH. Raises PolicyCompilerMissing."""
    asked = named or os.environ.get("TOOLGATE_OPA")
    found = shutil.which(asked) if asked else shutil.which(str(Path(".tools/opa").absolute())) or shutil.which("opa")
    if found is None:
        raise PolicyCompilerMissing(f"{asked} is no program; {HOW_TO_INSTALL}" if asked else HOW_TO_INSTALL)
    return found


async def run(opa: str, words: list[str], folder: Path, deadline_s: float) -> Finished:
    """`opa` with `words`, in `folder` and in a process group of its own. Raises OpaOverran, PolicyCompilerMissing."""
    child = await _started(opa, words, folder)
    try:
        _confine(child)
        async with asyncio.timeout(deadline_s):
            out, err = await asyncio.gather(_capped(child, child.stdout), _capped(child, child.stderr))
            code = await child.wait()
    except TimeoutError:
        raise OpaOverran(f"opa {words[0]} took longer than {deadline_s:g} s") from None
    finally:
        await _reap(child)
    if max(len(out), len(err)) > OUTPUT_BYTES:
        raise OpaOverran(f"opa {words[0]} said more than {OUTPUT_BYTES} bytes")
    return Finished(code, out, err)


async def _started(opa: str, words: list[str], folder: Path) -> Process:
    """Cancelled, it is started all the same, and then ended: asyncio, cancelled in between, may wait for ever."""
    begun = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            opa, *words, cwd=folder, env={"HOME": str(folder)}, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    )
    try:
        return await asyncio.shield(begun)
    except OSError as failure:
        raise PolicyCompilerMissing(f"{opa} does not run ({failure.strerror}); {HOW_TO_INSTALL}") from failure
    except asyncio.CancelledError:
        with suppress(OSError):
            await _reap(await begun)
        raise


def _confine(child: Process) -> None:
    with suppress(ProcessLookupError):  # It may have ended already.
        resource.prlimit(child.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


async def _capped(child: Process, stream: StreamReader | None) -> bytes:
    """All it says; more than OUTPUT_BYTES is its end."""
    read = bytearray()
    while stream is not None and (chunk := await stream.read(65536)):
        read += chunk
        if len(read) > OUTPUT_BYTES:
            _kill(child)
            break
    return bytes(read)


async def _reap(child: Process) -> None:
    if child.returncode is None:
        _kill(child)
    # What is left in the pipes is read, and so they close: it is at most what they hold.
    await child.communicate()


def _kill(child: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
