"""The command as a program: how it starts, what it prints for clients, and how it reads what it is given."""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import held, output
from cli.audit import _row
from cli.connect import CLIENTS, block
from cli.connection import McpConnection
from cli.failure import Failure
from cli.main import _parsed, _parser, main
from cli.resources import _row as resource_row
from cli.tools import arguments
from cli.when import expiry, past
from toolgate.v1.actions_pb2 import AuditEntry

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


def test_the_version_is_had_as_a_command_and_as_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for given in (["version"], ["--version"], ["--version", "-o", "json"]):
        assert main(given) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert json.loads(said[2])["version"] in said[0]


def test_connect_prints_only_json_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["connect", "--client", "antigravity", "--url", CONNECTION.url, "--key", CONNECTION.key, "--name", "acme"]
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out) == {"mcpServers": {"acme": block("antigravity", CONNECTION)}}


@pytest.mark.parametrize("given", [["--client", "claude-desktop"], ["--client", "vscode", "--stdio"]])
def test_what_speaks_only_stdio_starts_the_bridge_without_the_key_on_its_command_line(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["connect", *given, "--url", CONNECTION.url, "--key", CONNECTION.key]) == 0
    ((_, servers),) = json.loads(capsys.readouterr().out).items()
    made = servers["toolgate"]
    assert Path(made["command"]).is_file()
    assert made["args"] == ["stdio", "--endpoint", CONNECTION.url]
    assert made["env"] == {"TOOLGATE_API_KEY": CONNECTION.key}
    assert made.get("type") == ("stdio" if "vscode" in given else None)


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
    assert past("10m", NOW, "--since") == datetime(2026, 11, 20, 7, 50, tzinfo=UTC)
    assert past("2026-11-01T00:00:00+01:00", NOW, "--since") == datetime(2026, 10, 31, 23, tzinfo=UTC)
    for given in ("yesterday", "999999w"):
        with pytest.raises(Failure, match=f"--since {given}"):
            past(given, NOW, "--since")


def verbs(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb there is, with its parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield " ".join(path), parser
    for group in groups:
        for name, below in group.choices.items():
            yield from verbs(below, (*path, name))


EVERY = dict(verbs(_parser()))
SERVING = ("up", "control-plane", "gateway")
AGENTS = ("tools", "prompts", "resources", "call", "connect", "stdio")
PRINTS_JSON = ("connect", "stdio", "audit export")


@pytest.mark.parametrize("verb", sorted(EVERY))
def test_every_verb_says_what_its_exit_codes_mean_and_takes_what_the_others_take(verb: str) -> None:
    flags = {flag for action in EVERY[verb]._actions for flag in action.option_strings}
    helped = EVERY[verb].format_help()
    assert "exit codes: 0 done" in helped
    assert [action.dest for action in EVERY[verb]._actions if action.option_strings and not action.help] == []
    if verb not in SERVING + PRINTS_JSON:
        assert {"-o", "--output"} <= flags
    if verb not in (*SERVING, "version"):
        assert {"--connection", "--ca-file"} <= flags
    if verb not in (*SERVING, *AGENTS, "version"):
        assert {"--server", "--token", "-t", "--tenant", "--tls"} <= flags


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tools", "--url", "http://[", "--key", "k"], "must be an http or https URL"),
        (["connect", "--client", "cursor", "--url", "http://h:99999/", "--key", "k"], "must be an http or https URL"),
        (["tools", "--url", "https://127.0.0.1:1/mcp", "--key", "k", "--ca-file", "/nowhere"], "/nowhere"),
        (["get", "tenants", "--server", "127.0.0.1:1", "--token", "\u00fc"], "holds characters"),
        (["get", "servers", "--server", "127.0.0.1:1", "--token", "t"], "--all-tenants"),
        (["get", "servers", "-A", "-t", "a", "--server", "127.0.0.1:1", "--token", "t"], "give one of them"),
        (["audit", "list", "-t", "a", "--limit", "0", "--server", "127.0.0.1:1", "--token", "t"], "--limit: must be"),
        (["get", "servers/a", "-A", "--server", "127.0.0.1:1", "--token", "t"], "is of one tenant"),
        (["key", "create", "--name", "a\udcff"], r"--name: must be UTF-8 text, not 'a\udcff'"),
        (["get", "users", "a\udcff"], r"argument 3: must be UTF-8 text, not 'a\udcff'"),
        (["call", "x", "--arg=k=\udcff"], "--arg: must be UTF-8 text"),
        (["apply", "-f", "\udcff.yaml"], "cannot be read: No such file"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_a_fault_of_the_command_itself_is_a_line_and_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise RuntimeError("no such luck")

    with redirect_stdout(Broken()):
        assert main(["version"]) == 5
    assert "fault of toolgate itself: RuntimeError: no such luck" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "acme stays"),
        ({"held_back": ["Tenant/acme"]}, "acme stays"),
        ({"held_back": ["Endpoint/default"]}, "of acme, Endpoint/default stays"),
        ({"held_back": ["Endpoint/default", "Server/shop"]}, "of acme, Endpoint/default, Server/shop stay"),
    ],
)
def test_who_is_held_back_is_named(status: dict[str, object], said: str) -> None:
    assert held._held_back("acme", {"status": status}) == said


@pytest.mark.parametrize(
    ("secret", "read"),
    [
        ({"generation": "1", "spec": {}}, True),
        ({"generation": "2", "spec": {"source": {"type": "file"}}}, False),
        ({"generation": "2", "spec": {"source": {"type": "file"}}, "status": {"source": {"generation": 1}}}, False),
        ({"generation": "2", "spec": {"source": {"type": "file"}}, "status": {"source": {"generation": 2}}}, True),
    ],
)
def test_a_secret_is_waited_for_until_its_source_was_tried(secret: dict[str, object], *, read: bool) -> None:
    assert held._is_read(secret) is read


@pytest.mark.parametrize(
    ("status", "word"),
    [({}, "-"), ({"source": {"state": "current"}}, "ok"), ({"source": {"state": "stale"}}, "stale")],
)
def test_a_list_shows_secrets_whose_source_gives_nothing(status: dict[str, object], word: str) -> None:
    resource = {"kind": "Secret", "tenant": "acme", "name": "db", "generation": 1, "spec": {}, "status": status}
    assert resource_row(resource)[4] == word


def test_what_is_tried_again_by_itself_says_when() -> None:
    found = {"status": {"retry": {"failed": 3, "at": "2026-11-20T08:00:00+00:00"}}}
    assert list(held._retry(found)) == [
        "attempts that failed: 3; the next comes by itself, at 2026-11-20T08:00:00+00:00"
    ]
    assert list(held._retry({"status": {}})) == []


SCHEMA = {
    "properties": {
        "count": {"type": "integer"},
        "name": {"type": "string"},
        "on": {"type": "boolean"},
        "tags": {"type": "array"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }
}


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        (["get", "users", "-t", "acme", "ada", "-o", "json"], "name", "ada"),
        (["get", "-t", "acme", "users", "ada"], "name", "ada"),
        (["delete", "users", "-t", "acme", "ada"], "name", "ada"),
        (["approve", "shop", "-t", "acme", "refund"], "tool", "refund"),
    ],
)
def test_a_name_may_stand_behind_the_flags(given: list[str], name: str, value: str) -> None:
    parsed = _parsed(given)
    assert (getattr(parsed, name), parsed.tenant) == (value, "acme")


@pytest.mark.parametrize("rest", [["ada", "-t", "acme", "eve"], ["--tenat", "acme"], ["-t", "acme", "ada", "eve"]])
def test_what_no_verb_takes_is_refused(rest: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["get", "users", *rest])
    assert caught.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("caller", "shown"),
    [("ada/assistant", "ada/assistant"), ("ada/", "ada"), ("/assistant", "/assistant"), ("/", "-"), ("", "-")],
)
def test_a_caller_is_shown_by_what_is_known_of_it(caller: str, shown: str) -> None:
    assert _row(AuditEntry(caller=caller))[4] == shown


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


@pytest.mark.parametrize("given", ["count=three", "count=NaN", "nothing", "=x", "name:=nope", "name:=1e999"])
def test_an_argument_that_cannot_be_read_is_refused(given: str) -> None:
    with pytest.raises(Failure, match="--arg"):
        read(given)


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ("{bad", "is not JSON"),
        ("[]", "must be an object"),
        ('{"x": NaN}', "NaN is no number of it"),
        ('{"x": 1e999}', "too large a number"),
        ('{"x": %s}' % ("9" * 400), "too large a number"),
        ('{"x": {"a": 1, "a": 2}}', 'the member "a" is there twice'),
        ('{"x": "\\ud800"}', "half a surrogate pair"),
        ('{"x": %s}' % ("[" * 9000), "nested too deeply"),
    ],
)
def test_the_whole_that_cannot_be_read_is_refused_by_its_flag(whole: str, said: str) -> None:
    with pytest.raises(Failure, match=f"^--json: .*{said}") as caught:
        read(whole=whole)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "given",
    [
        *(["call", "x", "--timeout", text] for text in ("-1", "0", "nan", "inf", "1e300", "soon")),
        ["delete", "user", "ada", "--generation", "-1"],
        ["watch", "--since", "9" * 30],
        ["policy", "differences", "--days", "36501"],
    ],
)
def test_a_number_out_of_its_range_is_refused_by_its_flag(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(given)
    assert caught.value.code == 2
    assert f"argument {given[-2]}: must be a " in capsys.readouterr().err


@pytest.mark.parametrize("buffered", [True, False])
def test_what_cannot_be_printed_is_said(buffered: bool) -> None:
    program = "import sys\nfrom cli.main import main\nsys.exit(main())"
    with open("/dev/full", "wb") as full:
        given = [sys.executable, *([] if buffered else ["-u"]), "-c", program, "--help" if buffered else "version"]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(given, env=env, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr == b"toolgate: cannot write: No space left on device\n"


def test_how_far_long_work_is_is_said_every_two_seconds_and_of_short_work_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter([0.0, 0.5, 2.5, 2.5, 3.0, 4.6, 4.6])
    assert list(output.counted("applied", "abcd", lambda: next(times))) == ["a", "b", "c", "d"]
    assert capsys.readouterr() == ("", "1 of 4 applied ...\n3 of 4 applied ...\n")
    assert list(output.counted("applied", "abcd")) == ["a", "b", "c", "d"]
    assert capsys.readouterr() == ("", "")
