"""The command as a program: how it starts, what it prints for clients, and how it reads what it is given."""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cli.audit import moment
from cli.connect import CLIENTS, block
from cli.connection import McpConnection
from cli.failure import Failure
from cli.key import expiry
from cli.main import main
from cli.tools import arguments

CONNECTION = McpConnection("http://127.0.0.1:8080/mcp", "tgk_demo_a_b")
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def test_help_loads_nothing_that_is_slow_to_load() -> None:
    program = (
        "import sys\nfrom cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted(set(sys.modules) & {'grpc', 'yaml', 'msgspec', 'google.protobuf', 'http.client', 'ssl'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("client", "root", "member"),
    [
        ("antigravity", "mcpServers", "serverUrl"),
        ("claude", "mcpServers", "url"),
        ("cursor", "mcpServers", "url"),
        ("vscode", "servers", "url"),
        ("gemini", "mcpServers", "httpUrl"),
    ],
)
def test_each_client_gets_the_block_its_configuration_wants(client: str, root: str, member: str) -> None:
    made = block(client, CONNECTION)
    assert CLIENTS[client].root == root
    assert made[member] == CONNECTION.url
    assert made["headers"] == {"Authorization": "Bearer tgk_demo_a_b"}
    assert made.get("type") == ("http" if client in ("claude", "vscode") else None)


def test_connect_prints_only_json_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["connect", "--client", "antigravity", "--url", CONNECTION.url, "--key", CONNECTION.key, "--name", "acme"]
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out) == {"mcpServers": {"acme": block("antigravity", CONNECTION)}}


def test_claude_desktop_is_bridged_without_the_key_on_the_command_line() -> None:
    made = block("claude-desktop", CONNECTION)
    assert CONNECTION.key not in json.dumps(made["args"])
    assert made["env"] == {"TOOLGATE_AUTHORIZATION": "Bearer tgk_demo_a_b"}


def test_a_server_that_is_away_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "--url", "http://127.0.0.1:1/mcp", "--key", "k"]) == 4
    assert main(["get", "tenants", "--server", "127.0.0.1:1", "--token", "t"]) == 4
    assert "cannot be reached" in capsys.readouterr().err


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "gizmos", "--server", "127.0.0.1:1", "--token", "t"]) == 2
    assert "there is no kind 'gizmos'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["apply"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("30d", "2026-12-20T08:00:00+00:00"),
        ("12h", "2026-11-20T20:00:00+00:00"),
        ("2027-01-01", "2027-01-01T00:00:00+00:00"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_an_expiry_is_a_span_or_a_time(given: str, meant: str) -> None:
    assert expiry(given, NOW) == meant


@pytest.mark.parametrize("given", ["soon", "0d", "-1d", "2020-01-01", "30 d", "30"])
def test_an_expiry_that_is_neither_or_past_is_refused(given: str) -> None:
    with pytest.raises(Failure, match="--expires"):
        expiry(given, NOW)


def test_since_is_a_time_or_so_long_ago() -> None:
    assert moment("10m", NOW, "--since").ToJsonString() == "2026-11-20T07:50:00Z"
    assert moment("2026-11-01T00:00:00+01:00", NOW, "--since").ToJsonString() == "2026-10-31T23:00:00Z"
    with pytest.raises(Failure, match="--since yesterday"):
        moment("yesterday", NOW, "--since")


SCHEMA = {
    "properties": {
        "count": {"type": "integer"},
        "name": {"type": "string"},
        "on": {"type": "boolean"},
        "tags": {"type": "array"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }
}


def read(*given: str, whole: str | None = None) -> dict[str, object]:
    return arguments(argparse.Namespace(arg=list(given), json=whole), SCHEMA)


def test_arguments_are_typed_as_the_tools_schema_says() -> None:
    assert read("count=3", "name=3", "on=true", 'tags=["a"]', "maybe=4", "other=x") == {
        "count": 3,
        "name": "3",
        "on": True,
        "tags": ["a"],
        "maybe": 4,
        "other": "x",
    }


def test_an_argument_may_be_given_as_json_and_replaces_that_of_the_whole() -> None:
    assert read('name:={"a": [1]}', whole='{"name": "x", "b": 1}') == {"name": {"a": [1]}, "b": 1}


@pytest.mark.parametrize("given", ["count=three", "nothing", "=x", "name:=nope"])
def test_an_argument_that_cannot_be_read_is_refused(given: str) -> None:
    with pytest.raises(Failure, match="--arg"):
        read(given)
