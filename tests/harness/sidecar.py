"""A real `opa run --server` on a Unix socket, and a server of signed bundles for those without a control plane."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from adapters.jose.es256 import Es256Signer
from control_plane.policies import sources
from control_plane.services.opa_bundle import bundle
from control_plane.services.opa_config import config
from core.policy import RegoModules, Revision
from core.resource import digest
from core.snapshot import PolicyData
from tests.harness import opa

TENANT = "acme"
WAIT_S = 10.0
LONG_POLLED = "application/vnd.openpolicyagent.bundles"


class OpaServer:
    """One process. `address` is what a gateway's setting takes."""

    def __init__(self, folder: Path, settings: dict[str, object], token: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.socket = folder / "opa.sock"
        self.address = f"unix://{self.socket}"
        self._folder = folder
        (folder / "opa.json").write_text(json.dumps({**settings, "persistence_directory": str(folder / "kept")}))
        self._words = [opa.program(), "run", "--server", "--addr", self.address, "--skip-version-check"]
        self._words += ["--config-file", str(folder / "opa.json")]
        self._environment = {"HOME": str(folder), "TOOLGATE_NODE_TOKEN": token}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "opa.log").open("ab") as log:
            self._process = subprocess.Popen(self._words, env=self._environment, stdout=log, stderr=log)
        give_up = time.monotonic() + WAIT_S
        while not self.socket.exists():
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise RuntimeError((self._folder / "opa.log").read_text())
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def log(self) -> str:
        return (self._folder / "opa.log").read_text()


class Bundles:
    """Serves the newest of one tenant's, to whoever waits for it."""

    def __init__(self) -> None:
        self.signer = Es256Signer(b"s" * 32)
        self.generation = 0
        self._news = threading.Condition()
        self._newest = (b"", b"")
        bundles = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                mark, content = bundles.after(self.headers.get("If-None-Match", "").encode())
                self.send_response(200 if content else 304)
                self.send_header("ETag", mark.decode())
                self.send_header("Content-Type", LONG_POLLED)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """An OPA that was killed listens no more."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, rego: dict[str, str], data: bytes, *, shipped: bool = True, number: int | None = None) -> Revision:
        """Rego by file name, beside the shipped policy."""
        self.generation += 1
        revision = Revision(number if number is not None else self.generation, digest(repr((rego, data)).encode())[:16])
        modules = RegoModules({**(sources() if shipped else {}), **rego})
        self.serve(bundle(TENANT, revision, modules, PolicyData(data=data), self.signer))
        return revision

    def serve(self, content: bytes) -> None:
        with self._news:
            self._newest = (b'"%d"' % time.monotonic_ns(), content)
            self._news.notify_all()

    def after(self, mark: bytes) -> tuple[bytes, bytes]:
        """What is newer than `mark`; nothing after a while."""
        with self._news:
            self._news.wait_for(lambda: self._newest[0] not in (b"", mark), timeout=5.0)
            return (mark, b"") if self._newest[0] in (b"", mark) else self._newest

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def sidecar(folder: Path) -> Iterator[tuple[OpaServer, Bundles]]:
    """Both, started."""
    bundles = Bundles()
    server = OpaServer(folder, config(TENANT, bundles.url, bundles.signer))
    server.start()
    try:
        yield server, bundles
    finally:
        server.stop()
        bundles.close()
