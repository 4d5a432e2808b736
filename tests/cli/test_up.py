"""`toolgate up`: both planes, the demo, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import grpc
import pytest

from cli.failure import Failure
from cli.up import CONTROL_PLANE, GATEWAY, HOST, own_environment, take_ports
from control_plane.listening import bound_listener
from data_plane.supervisor import listen

START_S = 100
STOP_S = 15
LONG_MONTHS = 60
"""A sales report that takes 3 s, a second more than the shop is given to end."""
COMMAND = [sys.executable, "-P", "-m", "cli.main"]


def test_a_plane_is_told_its_own_settings_and_finds_what_is_installed_beside_it() -> None:
    ours = {"PATH": "/bin", "TOOLGATE_KEK": "secret", "TOOLGATE_REDIS_URL": "redis://r", "TOOLGATE_NODE_TOKEN": "t"}
    path = {"PATH": f"{Path(sys.executable).parent}:/bin"}
    assert own_environment(CONTROL_PLANE, ours) == {**path, "TOOLGATE_KEK": "secret"}
    assert own_environment(GATEWAY, ours) == {**path, "TOOLGATE_REDIS_URL": "redis://r"}
    assert own_environment((), ours) == path


def test_a_port_is_held_for_who_is_started_later_and_for_nobody_else() -> None:
    with ExitStack() as stack:
        port = take_ports({"mcp": 0}, stack)["mcp"]
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        for _ in range(2):  # As a plane that is started again.
            listeners = listen.listen(HOST, port, 2)
            with pytest.raises(Failure, match=rf"--mcp-port {port}: is in use"):
                take_ports({"mcp": port}, stack)
            listen.close(listeners)
        bound_listener(HOST, port).close()
        shared = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        assert shared.add_insecure_port(f"{HOST}:{port}") == port


class Up:
    """A running `toolgate up` in a folder of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        ports = [word for name in ("mcp", "admin", "grpc", "ops", "agent-grpc") for word in (f"--{name}-port", "0")]
        self.process = subprocess.Popen(
            [*COMMAND, "up", "--data-dir", str(folder), *ports, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []

    def await_started(self) -> dict[str, str]:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("Ctrl-C stops everything"):
                values = json.loads((self.folder / "connection.json").read_text())
                assert isinstance(values, dict)
                return values
        raise AssertionError("".join(self.said))

    def toolgate(self, *words: str) -> subprocess.CompletedProcess[str]:
        given = [*COMMAND, *words, "--connection", str(self.folder)]
        return subprocess.run(given, capture_output=True, text=True, timeout=30, check=False)

    def calling(self, *words: str) -> subprocess.Popen[str]:
        given = [*COMMAND, "call", *words, "--connection", str(self.folder)]
        return subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def pid_of(self, command: str) -> int:
        """Of the plane that runs, waited for if it does not yet."""
        named = f"{command}\0--data-dir\0{self.folder}".encode()
        found: list[int] = []

        def runs() -> bool:
            found[:] = [
                int(entry.name)
                for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and named in _command_line(entry)
            ]
            return len(found) == 1

        _until(runs)
        return found[0]

    def left_behind(self) -> list[str]:
        """Command lines of processes that name the folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                continue
            if str(self.folder) in line and int(entry.name) != os.getpid():
                found.append(line)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.timeout(3 * START_S)
def test_the_demo_is_governed_and_a_second_run_finds_it_as_it_was(folder: Path) -> None:
    up = Up(folder)
    try:
        first = up.await_started()
        assert set(first) == {
            "mcp_url",
            "agent_grpc_target",
            "admin_url",
            "grpc_target",
            "metrics_url",
            "tenant",
            "api_key",
            "admin_token",
        }
        assert (folder / "connection.json").stat().st_mode & 0o777 == 0o600
        listed = json.loads(up.toolgate("tools", "-o", "json").stdout)
        names = {tool["name"] for tool in listed["tools"]}
        assert {"get_current_time", "git_status", "look_up_customer"} <= names
        assert "refund_order" not in names
        customer = up.toolgate("call", "look_up_customer", "--arg", "customer_id=C-1001")
        assert (customer.returncode, "4111" in customer.stdout, "[masked:card]" in customer.stdout) == (0, False, True)
        assert "answer_customer" in up.toolgate("prompts").stdout
        listed = up.toolgate("resources").stdout
        assert "shop://policy/refunds" in listed
        assert "shop://orders/{order_id}" in listed
        log = up.toolgate("call", "git_log", "--arg", f"repo_path={folder / 'demo' / 'repository'}")
        assert (log.returncode, "Add README.md" in log.stdout) == (0, True)
        refund = up.toolgate("call", "refund_order", "--arg", "order_id=O-501", "--arg", "amount=5")
        unknown = up.toolgate("call", "no_such_tool")
        assert refund.returncode == unknown.returncode == 3
        assert refund.stderr.replace("refund_order", "no_such_tool") == unknown.stderr
        with urlopen(first["metrics_url"], timeout=5) as answer:
            assert 'outcome="forbidden",tenant="demo"' in answer.read().decode()
        with urlopen(f"{first['admin_url']}/readyz", timeout=5) as answer:
            assert answer.status == 200
        fleet = json.loads(up.toolgate("fleet", "-o", "json").stdout)
        assert [node["connected"] for node in fleet["nodes"]] == [True]
        with up.calling("sales_report", "--arg", f"months={LONG_MONTHS}") as under_way:
            assert under_way.stderr
            assert "month 1\n" in under_way.stderr.readline()
            asked = time.monotonic()
            assert up.stop(signal.SIGINT) == 0
            assert time.monotonic() - asked < STOP_S
            said, told = under_way.communicate()
            assert f"in {LONG_MONTHS} months" in said, told
        assert up.left_behind() == []
    finally:
        up.close()
    again = Up(folder)
    try:
        second = again.await_started()
        assert (second["api_key"], second["admin_token"]) == (first["api_key"], first["admin_token"])
        rows = json.loads(again.toolgate("audit", "list", "--outcome", "forbidden", "-o", "json").stdout)
        assert [row["tool"] for row in rows["entries"]] == ["refund_order"]
        assert "  (tools/list)\n" in again.toolgate("audit", "list").stdout
        assert again.toolgate("audit", "verify").returncode == 0
        token = _own_token(again, second["admin_url"])
        _until(lambda: again.toolgate("tools", "--key", token, "--url", _of_demo(second["mcp_url"])).returncode == 0)
        assert again.stop(signal.SIGINT) == 0
        assert again.left_behind() == []
    finally:
        again.close()


@pytest.mark.timeout(2 * START_S)
def test_a_plane_that_dies_is_started_again_until_it_dies_too_often(folder: Path) -> None:
    up = Up(folder, "--no-demo")
    try:
        values = up.await_started()
        assert (values["tenant"], values["api_key"]) == ("", "")
        with subprocess.Popen([*COMMAND, "up", "--data-dir", str(folder)], stderr=subprocess.PIPE, text=True) as other:
            assert other.stderr
            assert "in use by another `toolgate up`" in other.stderr.read()
            assert other.wait(10) == 2
        assert up.process.stdout
        for plane, named in (("control plane", "control-plane"), ("gateway", "gateway")):
            os.kill(up.pid_of(named), signal.SIGKILL)
            assert f"the {plane} ended with signal SIGKILL; starting it again" in up.process.stdout.readline()
        _until(lambda: '"connected": true' in up.toolgate("fleet", "-o", "json").stdout)
        os.kill(up.pid_of("gateway"), signal.SIGKILL)
        assert "starting it again" in up.process.stdout.readline()
        os.kill(up.pid_of("gateway"), signal.SIGKILL)
        assert up.process.wait(60) == 4
        assert "the gateway ended with signal SIGKILL; the end of" in up.process.stdout.read()
        assert up.left_behind() == []
    finally:
        up.close()


def _own_token(up: Up, admin_url: str) -> str:
    """Of the demo's own issuer, for an agent that names no endpoint."""
    declared = up.folder / "issuer.yaml"
    declared.write_text(ISSUER)
    assert up.toolgate("apply", "-f", str(declared)).returncode == 0
    made = up.toolgate("key", "create", "--tenant", "demo", "--name", "robot", "--agent", "robot", "-o", "json")
    form = {"grant_type": "client_credentials", "client_id": "robot", "client_secret": json.loads(made.stdout)["key"]}
    with urlopen(Request(f"{admin_url}/oauth/demo/token", urlencode(form).encode()), timeout=10) as answer:
        return str(json.loads(answer.read())["access_token"])


def _of_demo(mcp_url: str) -> str:
    """A token is of the tenant its path names."""
    return mcp_url.replace("/mcp", "/demo/default/mcp")


ISSUER = """
{kind: AuthorizationServer, tenant: demo, name: default, spec: {default_endpoint: default}}
---
{kind: Agent, tenant: demo, name: robot, spec: {groups: [support], oauth: {grants: [client_credentials]}}}
"""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    given = [*COMMAND, "up", "--no-demo", "--data-dir", str(occupied)]
    done = subprocess.run(given, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"toolgate: --data-dir {occupied}: cannot be used")


def test_whoever_interrupts_it_before_it_is_up_gets_130(tmp_path: Path) -> None:
    free = [word for name in ("mcp", "admin", "grpc", "ops", "agent-grpc") for word in (f"--{name}-port", "0")]
    given = [*COMMAND, "up", "--no-demo", "--data-dir", str(tmp_path / "data"), *free]
    with subprocess.Popen(given, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "starting the control plane ...\n"
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
    assert running.returncode == 130, said
    assert said.endswith("stopped\n")
