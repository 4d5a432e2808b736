"""Secrets on disk: files only their owner reads, made once, whole or not at all."""

import os
import secrets
from pathlib import Path

from core import options


class KeyFileRefused(Exception):
    """A key file cannot be used; the message names it and says why."""


def key(given: bytes | None, file: Path | None, made: Path) -> bytes:
    """The key given, or that of `file`, or that of `made`, which is made if it is not there. Raises KeyFileRefused."""
    if given is not None:
        return given
    if file is None and not made.exists():
        write(made, secrets.token_bytes(options.KEY_BYTES).hex() + "\n")
    path = file or made
    try:
        return options.key(read(path))
    except ValueError as failure:
        raise KeyFileRefused(f"{path}: {failure}") from failure


def read(path: Path) -> str:
    """The text of a file nobody else may read. Raises KeyFileRefused."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise KeyFileRefused(f"{path}: others may read it (mode {mode & 0o777:o}); make it 0600")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise KeyFileRefused(f"{path}: cannot be read: {failure}") from failure


def write(path: Path, text: str) -> None:
    """Replace `path`, mode 0600. Raises KeyFileRefused."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fsync(descriptor)
        scratch.replace(path)
    except OSError as failure:
        raise KeyFileRefused(f"{path}: cannot be written: {failure}") from failure
