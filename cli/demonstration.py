"""The demo of `toolgate up`: a shop's server, a sample repository, the manifest, and a key to try it with."""

import json
import subprocess
from importlib.resources import files
from pathlib import Path
from string import Template

from cli import documents, manifest
from cli.admin import AdminApi
from cli.apply import apply_all
from cli.connection import McpConnection
from cli.failure import AWAY, Failure
from cli.mcp_client import McpClient
from control_plane.api.envelope import struct_of
from toolgate.v1 import actions_pb2 as pb
from toolgate.v1 import resources_pb2

TENANT = "demo"
KEY_NAME = "demo"
SERVERS = ("time", "git", "shop")
TOOLS = ("get_current_time", "git_status", "look_up_customer")
"""One of each server: when all are listed, the snapshot with them is in force."""

_FILES = {
    "README.md": "# Sample\n\nA small repository for the demo's git server.\n",
    "greeting.py": 'def greet(name: str) -> str:\n    return f"Hello, {name}."\n',
}


def repository(path: Path) -> Path:
    """A git repository with two commits, made once."""
    if not (path / ".git").is_dir():
        path.mkdir(parents=True, exist_ok=True)
        _git(path, "init", "--quiet", "--initial-branch=main")
        for name, text in _FILES.items():
            (path / name).write_text(text, "utf-8")
            _git(path, "add", name)
            _git(path, "commit", "--quiet", "-m", f"Add {name}")
    return path


def apply(api: AdminApi, *, python: str, repository: Path, shop_url: str) -> None:
    """Create or update everything the demo declares. Raises Failure."""
    words = {
        "python": python,
        "repository": str(repository),
        "shop_url": shop_url,
        "instructions": f"Time, a sample git repository in {repository}, and the shop of Demo Company.",
    }
    text = (files("cli.demo") / "shop.yaml").read_text("utf-8")
    filled = Template(text).substitute({name: json.dumps(word) for name, word in words.items()})
    found = manifest.declared(list(documents.parse("demo/shop.yaml", filled)))
    wrong = [line for _, _, errors in apply_all(api, found) for line in errors]
    if wrong:
        raise Failure(AWAY, "the demo cannot be applied", wrong)


def key(api: AdminApi, before: str, mcp_url: str) -> str:
    """The demo's key: the one of an earlier run while it opens the gateway, else one just issued."""
    if before and accepted(McpConnection(mcp_url, before)):
        return before
    request = pb.IssueKeyRequest(tenant=TENANT, name=KEY_NAME, rotate=bool(before) or _exists(api))
    request.spec.CopyFrom(struct_of({"user": "ada", "agent": "assistant"}))
    return str(api.call(api.keys.Issue, request).key)


def accepted(connection: McpConnection) -> bool:
    """Whether the gateway takes the key now."""
    try:
        _listed(connection)
    except Failure:
        return False
    return True


def learnt(api: AdminApi) -> bool:
    """Whether every server of the demo has been looked at."""
    found = api.call(api.resources.List, resources_pb2.ListRequest(kind="Server", tenant=TENANT))
    seen = {server.name for server in found.resources if server.status.fields["tools"].number_value}
    return set(SERVERS) <= seen


def offered(connection: McpConnection) -> bool:
    """Whether the key sees tools of every server of the demo."""
    try:
        return set(TOOLS) <= _listed(connection)
    except Failure:
        return False


def _listed(connection: McpConnection) -> set[str]:
    with McpClient(connection, timeout_s=5) as client:
        return {str(tool.get("name")) for tool in client.tools()}


def _exists(api: AdminApi) -> bool:
    found = api.call(api.resources.List, resources_pb2.ListRequest(kind="ApiKey", tenant=TENANT, page_size=500))
    return any(resource.name == KEY_NAME for resource in found.resources)


def _git(path: Path, *words: str) -> None:
    identity = ["-c", "user.name=Demo", "-c", "user.email=demo@example.com", "-c", "commit.gpgsign=false"]
    try:
        subprocess.run(["git", *identity, *words], cwd=path, check=True, capture_output=True, text=True, timeout=30)
    except FileNotFoundError as failure:
        raise Failure(AWAY, "the demo needs git: install it, or give --no-demo") from failure
    except subprocess.CalledProcessError as failure:
        raise Failure(AWAY, f"git {words[0]} failed: {failure.stderr.strip()}") from failure
