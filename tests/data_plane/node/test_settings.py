"""A node's settings: every mistake at once, by name."""

from pathlib import Path

import pytest

from core.options import SettingsRejected, table
from data_plane.settings import OPTIONS, read

LEAST = ["--data-dir", "/tmp/x", "--node-name", "n1"]


def problems(arguments: list[str], environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsRejected) as caught:
        read([*LEAST, *arguments], environment or {})
    return list(caught.value.problems)


def test_a_flag_wins_over_its_variable_and_a_variable_over_the_default() -> None:
    settings = read([*LEAST, "--mcp-port", "1"], {"TOOLGATE_MCP_PORT": "2", "TOOLGATE_OPS_PORT": "3"})
    assert (settings.mcp_port, settings.ops_port, settings.drain_s) == (1, 3, 20.0)
    assert settings.control_plane == ("127.0.0.1:8082",)
    assert settings.workers >= 1


def test_every_mistake_is_named_at_once() -> None:
    found = problems(
        ["--mcp-port", "70000", "--drain-s", "nan", "--tenants", "ok,Not OK"],
        {"TOOLGATE_TRUSTED_KEYS": "abc", "TOOLGATE_WORKERS": "-1", "TOOLGATE_REDIS_URL": "http://x"},
    )
    starts = ("--mcp-port", "--drain-s", "--tenants", "TOOLGATE_TRUSTED_KEYS", "TOOLGATE_WORKERS", "TOOLGATE_REDIS_URL")
    for start in starts:
        assert [problem for problem in found if problem.startswith(start)], start
    assert len(found) == len(starts)


@pytest.mark.parametrize(
    ("address", "given", "hosts"),
    [
        ("10.1.2.3", "", ("10.1.2.3",)),
        ("fd00::7", "", ("[fd00::7]",)),
        ("0.0.0.0", "", ()),
        ("::", "", ()),
        ("0.0.0.0", "MCP.Example.com, *", ("mcp.example.com", "*")),
        ("10.1.2.3", "mcp.example.com", ("mcp.example.com",)),
    ],
)
def test_agents_may_name_the_hosts_given_or_else_the_address_bound(
    address: str, given: str, hosts: tuple[str, ...]
) -> None:
    assert read([*LEAST, "--listen-address", address, "--public-hosts", given], {}).hosts == hosts


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["--public-hosts", "mcp.example.com:8080"], "--public-hosts: 'mcp.example.com:8080'"),
        (["--agent-grpc-port", "65536"], "--agent-grpc-port"),
        (["--agent-grpc-port", "8080"], "TOOLGATE_MCP_PORT and TOOLGATE_AGENT_GRPC_PORT: must differ"),
        (["--agent-grpc-port", "1", "--agent-grpc-cert-file", __file__], "TOOLGATE_AGENT_GRPC_CERT_FILE and"),
        (["--agent-grpc-port", "1", "--agent-grpc-client-ca-file", __file__], "TOOLGATE_AGENT_GRPC_CLIENT_CA_FILE"),
        (
            ["--agent-grpc-cert-file", __file__, "--agent-grpc-key-file", __file__],
            "TOOLGATE_AGENT_GRPC_CERT_FILE: needs TOOLGATE_AGENT_GRPC_PORT",
        ),
        (["--public-hosts", "https://mcp.example.com"], "--public-hosts"),
        (["--control-plane", ""], "TOOLGATE_CONTROL_PLANE"),
        (["--control-plane-cert-file", "/nope"], "TOOLGATE_CONTROL_PLANE_CERT_FILE"),
        (["--snapshot-dir", "/tmp"], "TOOLGATE_SNAPSHOT_DIR"),
        (["--node-token-file", "/nope"], "TOOLGATE_NODE_TOKEN_FILE"),
        (["--mcp-port", "5", "--ops-port", "5"], "TOOLGATE_MCP_PORT"),
        (["--control-plane", "nohost"], "--control-plane"),
        (["--control-plane-tls", "yes"], "--control-plane-tls"),
        (["--otlp-endpoint", "collector:4318"], "--otlp-endpoint"),
        (["--log-level", "loud"], "--log-level"),
        (["--node-name", "Has Space"], "--node-name"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], start: str) -> None:
    assert any(problem.startswith(start) for problem in problems(arguments))


def test_the_token_is_read_from_its_file_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    settings = read([*LEAST, "--node-token-file", str(path)], {})
    path.write_text("two\n")
    assert settings.token == "two"


def test_secrets_are_no_flags_and_every_option_is_in_the_table() -> None:
    for option in OPTIONS:
        assert f"`{option.variable}`" in table(OPTIONS)
    with pytest.raises(SystemExit):
        read(["--node-token", "secret"], {})
