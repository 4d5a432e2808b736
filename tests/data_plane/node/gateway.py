"""A gateway node as an operator runs it: real processes, fed from a folder, its records in a file."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from adapters.crypto.sealing import X25519NodeKey, wrap_for_node
from core.identity import KEY_PREFIX, key_hash
from core.resource import encode
from core.server import HttpTransport, Transport
from core.snapshot import (
    Backend,
    Backends,
    Identity,
    KeyEntry,
    KeyShard,
    PolicyData,
    Principal,
    TenantUpdate,
)
from data_plane.parts import node_key
from tests.data_plane.node import snapshots

ROOT = Path(__file__).parents[3]
WITHIN_S = 15.0
PLATFORM = ROOT / "control_plane" / "policies" / "platform.wasm"
EVERYTHING = {"allow": {"exact": {}, "globs": [{"who": [], "what": []}]}, "deny": {"exact": {}, "globs": []}}


def key(tenant: str) -> bytes:
    return f"{KEY_PREFIX}_{tenant}_k1_s3cret".encode()


def served(
    tenant: str,
    generation: int = 1,
    upstream: str = "http://127.0.0.1:9/mcp",
    *,
    tool_count: int = 2,
    transport: Transport | None = None,
    **parts: bytes,
) -> TenantUpdate:
    """A snapshot the real worker serves: the shipped policy, one user with one role that may do everything."""
    transport = transport or HttpTransport(url=upstream, allow_private=True)
    backend = Backend(server="srv", transport=transport, era="modern", protocol_version="2026-07-28")
    hashed = key_hash(b"p" * 32, key(tenant))
    own = {
        "backends": encode(Backends({"srv": backend})),
        "identity": encode(Identity(users={"ann": Principal(roles=("all",))}, agents={})),
        "keys": msgspec.msgpack.encode(KeyShard({hashed: KeyEntry(name="k1", user="ann")})),
        "policy_module": PLATFORM.read_bytes(),
        "policy_data": encode(PolicyData(data=json.dumps({"roles": {"all": EVERYTHING}}).encode())),
    }
    return snapshots.update(tenant, generation, snapshots.parts_of(tenant, tool_count, str(generation), **own | parts))


class Node:
    """One node in a folder of its own. `start` it as often as you like."""

    def __init__(self, home: Path, workers: int = 1, *flags: str) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.data_dir = home / "gateway"
        self.folder = home / "snapshots"
        self.records_file = home / "records.jsonl"
        self.call_log = home / "calls.jsonl"
        self.log = home / "node.log"
        for name in ("tenants", "parts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.data_dir.mkdir(exist_ok=True, mode=0o700)
        self.public_key = X25519NodeKey(node_key(self.data_dir)).public_key
        self._workers = workers
        self._flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.mcp_port = self.ops_port = 0

    def publish(self, update: TenantUpdate) -> None:
        """As the folder's owner would: parts first, then the tenant's file by renaming."""
        for part, data in update.parts.items():
            (self.folder / "parts" / part.hex()).write_bytes(data)
        tenant = snapshots.manifest_of(update).tenant
        sealed = wrap_for_node(snapshots.DATA_KEY, self.public_key)
        temporary = self.folder / "tenants" / f"{tenant}.tmp"
        temporary.write_bytes(msgspec.json.encode({"signed": update.signed, "sealed_key": sealed}))
        temporary.rename(temporary.with_suffix(".json"))

    def start(self) -> "Node":
        ready = self.home / "ready.json"
        ready.unlink(missing_ok=True)
        flags = {
            "data-dir": self.data_dir,
            "mcp-port": 0,
            "ops-port": 0,
            "workers": self._workers,
            "node-name": "node-1",
            "snapshot-dir": self.folder,
            "records-file": self.records_file,
            "call-log": self.call_log,
            "ready-file": ready,
        }
        command = [sys.executable, "-c", "import sys; from data_plane.main import main; sys.exit(main(sys.argv[1:]))"]
        for name, value in flags.items():
            command += [f"--{name}", str(value)]
        environment = {**os.environ, "TOOLGATE_TRUSTED_KEYS": snapshots.SIGNER.public_key.hex()}
        environment["TOOLGATE_CONTROL_PLANE"] = ""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment
            )
        self.until(ready.exists, "the node serves")
        about = json.loads(ready.read_bytes())
        self.mcp_port, self.ops_port = about["mcp_port"], about["ops_port"]
        return self

    def workers(self) -> list[int]:
        """Pids of the workers, from the process table."""
        assert self.process is not None
        return [pid for pid in children(self.process.pid) if b"worker_main" in cmdline(pid)]

    def until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not holds():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not in {WITHIN_S} s: {what}\n{self.log.read_text()[-6000:]}")
            time.sleep(0.01)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ops_port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def metric(self, line: str) -> float:
        """The value of the series whose line starts so; 0 if there is none."""
        for found in self.get("/metrics")[1].decode().splitlines():
            if found.startswith(line):
                return float(found.rsplit(" ", 1)[1])
        return 0.0

    def page(self) -> str:
        """What a scraper sees."""
        return self.get("/metrics")[1].decode()

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S + 15)

    def records(self) -> list[dict[str, object]]:
        if not self.records_file.exists():
            return []
        return [json.loads(line) for line in self.records_file.read_text().splitlines()]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@contextlib.contextmanager
def node(home: Path, workers: int = 1, *flags: str) -> Iterator[Node]:
    made = Node(home, workers, *flags)
    try:
        yield made
    finally:
        made.close()


def request(
    port: int,
    tenant: str,
    method: str,
    params: dict[str, object] | None = None,
    *,
    connection: http.client.HTTPConnection | None = None,
) -> tuple[int, dict[str, object]]:
    """One request of revision 2026-07-28 with the tenant's key."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": meta}}
    headers = {
        "authorization": f"Bearer {key(tenant).decode()}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": method,
    }
    if params and "name" in params:
        headers["mcp-name"] = str(params["name"])
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        own.request("POST", "/mcp", json.dumps(body), headers)
        response = own.getresponse()
        return response.status, json.loads(response.read())
    finally:
        if connection is None:
            own.close()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Load(threading.Thread):
    """Calls without pause on its own connection until told to stop; keeps every answer that is no success."""

    def __init__(self, port: int, tenant: str, method: str, params: dict[str, object] | None = None) -> None:
        super().__init__()
        self._arguments = (tenant, method, params)
        self._port = port
        self._over = threading.Event()
        self.answered = 0
        self.refused_connections = 0
        self.failures: list[object] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        tenant, method, params = self._arguments
        while not self._over.is_set():
            try:
                status, body = request(self._port, tenant, method, params, connection=connection)
            except ConnectionRefusedError:
                self.refused_connections += 1
                return
            except (OSError, http.client.HTTPException) as failure:
                self.failures.append(failure)
                connection.close()
                continue
            if status == 200 and "result" in body:
                self.answered += 1
            else:
                self.failures.append((status, body))
        connection.close()

    def stop(self) -> None:
        self._over.set()
        self.join(30)


class Upstream:
    """A modern MCP server in this process, in which a call can be held until it is let go."""

    def __init__(self) -> None:
        self.held = threading.Semaphore(0)
        """Released once for each call that has arrived and waits."""
        self.let_go = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if message["method"] == "tools/call" and message["params"].get("arguments", {}).get("hold"):
                    outer.held.release()
                    outer.let_go.wait(20)
                result = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
                body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/mcp"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    try:
        yield made
    finally:
        made.close()
