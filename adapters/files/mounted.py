"""`core.secret.SecretFiles` in a folder: below it one for each tenant, where the operator mounts what it may have.

Kubernetes mounts a Secret as links: `password` to `..data/password`, and `..data` to a folder with the time in its
name, which is replaced as a whole when the Secret changes. Links are followed, and must end in the tenant's own folder.
"""

import errno
import os
import stat
from pathlib import Path

from core.secret import MAX_CHARS, NoValue

_MOST_BYTES = 4 * MAX_CHARS


class MountedFiles:
    def __init__(self, folder: Path | None) -> None:
        """None: no files are mounted here."""
        self._folder = folder

    def read(self, tenant: str, path: str) -> bytes:
        if self._folder is None:
            raise NoValue("this control plane reads no files: set TOOLGATE_SECRET_FILES")
        try:
            home = Path(os.path.realpath(self._folder, strict=True)) / tenant
            found = Path(os.path.realpath(home / path, strict=True))
            # The tenant's folder itself may be no link: it would lead out, and everything in it would be within.
            if os.path.realpath(home) != str(home) or not found.is_relative_to(home):
                raise NoValue(f"{path} leads out of the tenant's folder")
            return _content(found, path)
        except FileNotFoundError as failure:
            raise NoValue(f"there is no file {path} in the tenant's folder") from failure
        except OSError as failure:
            raise NoValue(f"{path} cannot be read: {failure.strerror}") from failure


def _content(found: Path, path: str) -> bytes:
    """Nothing that waits (a pipe) or never ends (a device); nothing that became a link since it was looked at."""
    try:
        handle = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failure:
        if failure.errno == errno.ELOOP:
            raise NoValue(f"{path} changes while it is read") from failure
        raise
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NoValue(f"{path} is no file")
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise NoValue(f"{path} is larger than a value may be")
    return data
