"""Objects as files below a folder."""

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path

from core.objects import NAME, ObjectsAway


class FileObjects:
    """An Objects. Another machine's control plane sees them where the folder is shared."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, data: bytes) -> None:
        await asyncio.to_thread(self._put, self._path(name), data)

    async def get(self, name: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self._path(name).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise ObjectsAway(f"{name}: {failure.strerror}") from failure

    async def delete(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._path(name).unlink, missing_ok=True)
        except OSError as failure:
            raise ObjectsAway(f"{name}: {failure.strerror}") from failure

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an object")
        return self._folder / name

    def _put(self, path: Path, data: bytes) -> None:
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            part.rename(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as failure:
            with suppress(OSError):
                part.unlink()
            raise ObjectsAway(f"{path.name}: {failure.strerror}") from failure
