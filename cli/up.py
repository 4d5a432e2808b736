"""`toolgate up`: both planes and a demo on this machine, as two processes that talk as they do in production."""

import argparse
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from cli import demonstration
from cli.admin import AdminApi
from cli.child import Child, Keep, await_end, await_ready
from cli.connection import AdminConnection, McpConnection
from cli.failure import INTERRUPTED, OK, USAGE, Failure
from cli.output import progress
from control_plane.settings import OPTIONS as CONTROL_PLANE
from core.options import Option
from data_plane.settings import OPTIONS as GATEWAY

HOST = "127.0.0.1"
START_S = 90.0
LEARN_S = 90.0
STOP_S = 30.0
SHOP_STOP_S = 2.0
"""The shop has nothing to finish: the gateway, the only one to call it, is gone before."""
TOO_OFTEN = 3
"""Ends of one child, within `OFTEN_S`, that are not put right by starting it again."""
OFTEN_S = 60.0
AGAIN_S = 0.5
PORTS = ("mcp", "admin", "grpc", "ops", "agent_grpc")


class Stopped(Exception):
    """Somebody asked us to stop."""


@dataclass(frozen=True)
class Place:
    """Where this installation keeps what; everything below one folder."""

    root: Path
    keep: Keep = field(default_factory=Keep)
    """Of each process's log."""

    @property
    def connection(self) -> Path:
        return self.root / "connection.json"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin.token"

    @property
    def node_token(self) -> Path:
        return self.root / "node.token"

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"


@dataclass(frozen=True)
class Urls:
    """Addresses of what runs, from the ports taken."""

    ports: dict[str, int]

    @property
    def mcp(self) -> str:
        return f"http://{HOST}:{self.ports['mcp']}/mcp"

    @property
    def gateways(self) -> str:
        """Origins; a token without a `resource` is for the first."""
        return ",".join(f"http://{host}:{self.ports['mcp']}" for host in (HOST, "localhost"))

    @property
    def admin(self) -> str:
        return f"http://{HOST}:{self.ports['admin']}"

    @property
    def grpc(self) -> str:
        return f"{HOST}:{self.ports['grpc']}"

    @property
    def agent_grpc(self) -> str:
        return f"{HOST}:{self.ports['agent_grpc']}"

    @property
    def metrics(self) -> str:
        return f"http://{HOST}:{self.ports['ops']}/metrics"


def up(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C or SIGTERM (0, or 130 before it was up), or until a child ended too often (4, with its log)."""
    if args.workers < 1:
        raise Failure(USAGE, "--workers: must be at least 1")
    for flag, value in (("--log-mib", args.log_mib), ("--log-files", args.log_files)):
        if value < 1:
            raise Failure(USAGE, f"{flag}: must be at least 1")
    keep = Keep(max_bytes=args.log_mib * 1024 * 1024, files=args.log_files)
    place = Place(Path(args.data_dir).expanduser().absolute(), keep)
    is_up = False
    with ExitStack() as stack:
        try:
            _catch_signals()
            stack.enter_context(_claimed(place))
            urls = Urls(take_ports({name: getattr(args, f"{name}_port") for name in PORTS}, stack))
            children = start(place, urls, args.workers, demo=not args.no_demo, stack=stack)
            _say(urls, place, demo=not args.no_demo)
            is_up = True
            attend(children)
        except Stopped:
            progress("stopping ...")
            _ignore_signals()
            stack.close()
            progress("stopped")
            return OK if is_up else INTERRUPTED


def start(place: Place, urls: Urls, workers: int, *, demo: bool, stack: ExitStack) -> list[Child]:
    """Start everything in order and write the connection file. `stack` stops it in reverse."""
    control = _start(stack, "control plane", place, _control_plane(place, urls), CONTROL_PLANE)
    _await([control], urls.ports["admin"], "the control plane")
    control.command = _control_plane(place, urls)  # Started again, it keeps the token it has just made.
    children = [control]
    shop_url = _shop(stack, place, children) if demo else ""  # Before the gateway, which finishes calls of it.
    children.append(_start(stack, "gateway", place, _gateway(place, urls, workers), GATEWAY))
    _await(children, urls.ports["ops"], "the gateway", path="/healthz")
    token = place.admin_token.read_text("utf-8").strip()
    values: dict[str, object] = {
        "mcp_url": urls.mcp,
        "agent_grpc_target": urls.agent_grpc,
        "admin_url": urls.admin,
        "grpc_target": urls.grpc,
        "metrics_url": urls.metrics,
        "tenant": demonstration.TENANT if demo else "",
        "api_key": "",
        "admin_token": token,
    }
    if demo:
        # Before there is a gRPC client here: its threads would not survive the fork.
        with AdminApi(AdminConnection(urls.grpc, token, tls=False)) as api:
            values["api_key"] = _demonstrate(place, urls, api, children, shop_url)
    write_private(place.connection, json.dumps(values, indent=2) + "\n")
    return children


def attend(children: Sequence[Child]) -> NoReturn:
    """Start again each child that ends: the others work on. Raises Failure when one ended too often."""
    ends: dict[str, list[float]] = {child.name: [] for child in children}
    while True:
        ended = await_end(children)
        now = time.monotonic()
        recent = [*(at for at in ends[ended.name] if now - at < OFTEN_S), now]
        if len(recent) >= TOO_OFTEN:
            ended.check()
        ends[ended.name] = recent
        progress(f"the {ended.name} ended with {ended.exit}; starting it again (its log: {ended.log})")
        time.sleep(AGAIN_S)
        ended.again()


def take_ports(asked: dict[str, int], stack: ExitStack) -> dict[str, int]:
    """Each port checked to be free, 0 replaced by a free one. Raises Failure naming every flag that cannot be had.

    `stack` holds them for the children, which start later and may start again: a bound socket that does not listen lets
    those bind its port that ask for just that one and may share it, and the kernel gives the port to nobody else.
    """
    problems: list[str] = []
    taken: dict[str, int] = {}
    for name, port in asked.items():
        holder = stack.enter_context(socket.socket())
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
        except (OSError, OverflowError) as failure:
            reason = "is no port" if not 0 <= port <= 65535 else "is in use" if port >= 1024 else str(failure)
            problems.append(f"  --{name.replace('_', '-')}-port {port}: {reason}; give another, or 0 for any")
            continue
        # Only now: with it the port of somebody who shares theirs would have passed for a free one.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken[name] = holder.getsockname()[1]
    if problems:
        raise Failure(USAGE, "cannot listen:", problems)
    return taken


def write_private(path: Path, text: str) -> None:
    """Replace a file only its owner can read, whole or not at all."""
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)


def _shop(stack: ExitStack, place: Place, children: list[Child]) -> str:
    """Start the demo's HTTP server, one more child; its URL."""
    shop_port = take_ports({"shop": 0}, stack)["shop"]
    command = [sys.executable, "-P", "-m", "cli.demo.shop_server", str(shop_port)]
    shop = _start(stack, "shop", place, command, stop_s=SHOP_STOP_S)
    children.append(shop)
    await_ready(children, lambda: _answers(shop_port, "/mcp"), "the shop", START_S)
    return f"http://{HOST}:{shop_port}/mcp"


def _demonstrate(place: Place, urls: Urls, api: AdminApi, children: list[Child], shop_url: str) -> str:
    """The demo's manifest and key; returns when its tools can be called."""
    progress("the demo: a sample repository, a shop's MCP server, and who may do what ...")
    repository = demonstration.repository(place.root / "demo" / "repository")
    demonstration.apply(api, python=sys.executable, repository=repository, shop_url=shop_url)
    before = _before(place)
    if before:
        connection = McpConnection(urls.mcp, before)
        deadline = time.monotonic() + 10
        while not demonstration.accepted(connection) and time.monotonic() < deadline:
            time.sleep(0.2)
    key = demonstration.key(api, before, urls.mcp)
    progress("learning the tools of its three servers ...")
    connection = McpConnection(urls.mcp, key)
    await_ready(children, lambda: demonstration.learnt(api), "the demo's tools", LEARN_S)
    await_ready(children, lambda: demonstration.offered(connection), "the demo's endpoint", LEARN_S)
    return key


def _before(place: Place) -> str:
    """The key an earlier run wrote down."""
    try:
        return str(json.loads(place.connection.read_text("utf-8")).get("api_key", ""))
    except (OSError, ValueError):
        return ""


def _control_plane(place: Place, urls: Urls) -> list[str]:
    return [
        *_toolgate("control-plane"),
        *("--data-dir", str(place.root / "control-plane")),
        *("--listen-address", HOST),
        # Everybody here shares the machine already.
        *("--tenants-may", "stdio,private"),
        # Where agents come to here, unless somebody says that they come from elsewhere.
        *([] if os.environ.get("TOOLGATE_GATEWAY_URLS") else ["--gateway-urls", urls.gateways]),
        *("--admin-port", str(urls.ports["admin"])),
        *("--grpc-port", str(urls.ports["grpc"])),
        *("--bootstrap-token-file", str(place.admin_token)),
        *("--node-token-file", str(place.node_token)),
        # Without the file nobody has the token of an earlier run.
        *("--reset-bootstrap-token", "false" if place.admin_token.exists() else "true"),
    ]


def _gateway(place: Place, urls: Urls, workers: int) -> list[str]:
    return [
        *_toolgate("gateway"),
        *("--data-dir", str(place.root / "gateway")),
        *("--control-plane", urls.grpc),
        *("--node-token-file", str(place.node_token)),
        *("--listen-address", HOST),
        *("--mcp-port", str(urls.ports["mcp"])),
        *("--ops-port", str(urls.ports["ops"])),
        *("--agent-grpc-port", str(urls.ports["agent_grpc"])),
        *("--workers", str(workers)),
    ]


def _toolgate(command: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli.main", command]


def _start(
    stack: ExitStack,
    name: str,
    place: Place,
    command: list[str],
    options: Sequence[Option] = (),
    *,
    stop_s: float = STOP_S,
) -> Child:
    progress(f"starting the {name} ...")
    log = place.log(name.replace(" ", "-"))
    log.parent.mkdir(exist_ok=True, mode=0o700)
    child = Child(name, command, log, own_environment(options, os.environ), place.keep)
    stack.callback(child.stop, stop_s)
    return child


def own_environment(options: Sequence[Option], environment: Mapping[str, str]) -> dict[str, str]:
    """What of ours a child gets: no setting but its own, and the programs installed beside Toolgate in PATH first.

    The keys of one plane are not the other's business. A stdio server installed with pip into our environment is
    found by its name, activated or not.
    """
    own = {option.variable for option in options} - {"TOOLGATE_NODE_TOKEN"}
    kept = {name: value for name, value in environment.items() if name in own or not name.startswith("TOOLGATE_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    return {**kept, "PATH": path}


def _await(children: list[Child], port: int, what: str, path: str = "/readyz") -> None:
    await_ready(children, lambda: _status(port, path) == 200, what, START_S)


def _answers(port: int, path: str) -> bool:
    return _status(port, path) is not None


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@contextmanager
def _claimed(place: Place) -> Iterator[None]:
    """One `up` per data directory."""
    try:
        place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = (place.root / "up.lock").open("w")
    except OSError as failure:
        raise Failure(USAGE, f"--data-dir {place.root}: cannot be used: {failure.strerror}") from failure
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as failure:
            raise Failure(USAGE, f"{place.root} is in use by another `toolgate up`") from failure
        yield


def _catch_signals() -> None:
    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _say(urls: Urls, place: Place, *, demo: bool) -> None:
    values = json.loads(place.connection.read_text("utf-8"))
    program = "toolgate" if shutil.which("toolgate") else sys.argv[0]
    flag = "" if place.root == Path("data").absolute() else f" --connection {place.connection}"
    lines = [
        "",
        "Toolgate is up.",
        f"  MCP      {urls.mcp} (gRPC: {urls.agent_grpc})",
        *([f"  API key  {values['api_key']}"] if demo else []),
        f"  admin    {urls.admin} (OpenAPI at /openapi.json), gRPC {urls.grpc}",
        f"  metrics  {urls.metrics}",
        f"  all of it, with the admin token, is in {place.connection}; logs are in {place.root / 'logs'}",
        "",
    ]
    if demo:
        lines += [
            "Try, in another terminal:",
            f"  {program} tools{flag}",
            f"  {program} call look_up_customer --arg customer_id=C-1001{flag}",
            f"  {program} audit list{flag}",
            f"  {program} connect --client claude{flag}",
            "",
        ]
    else:
        lines += ["There is no demo: docs/resources.md makes a small tenant of your own.", ""]
    print("\n".join([*lines, "Ctrl-C stops everything."]), flush=True)
