"""A whole control plane for the commands to talk to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cli.main import main
from tests.harness.control_plane import Plane, control_plane
from tests.harness.postgres import Server


@pytest.fixture
async def plane(postgres: Server, tmp_path: Path) -> AsyncIterator[Plane]:
    with postgres.fresh() as dsn:
        async with control_plane(dsn, tmp_path / "data") as plane:
            yield plane


MANIFEST = """
kind: Endpoint
name: default
spec: {members: [{server: shop}]}
---
kind: Server
name: shop
labels: {team: shop}
spec:
  transport: {type: http, url: "https://mcp.example.com/mcp"}
---
kind: Tenant
name: acme
spec: {display_name: Acme}
---
kind: User
name: ada
spec: {email: ada@example.com}
"""


class Run:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> dict[str, object]:
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Toolgate = Callable[..., Awaitable[Run]]


@pytest.fixture
def toolgate(plane: Plane, capsys: pytest.CaptureFixture[str]) -> Toolgate:
    """Runs a command in a thread of its own, as the control plane has this one."""

    async def run(*words: str, tenant: str = "acme", target: str = plane.target, token: str = plane.token) -> Run:
        connection = ["--server", target, "--token", token]
        scope = ["--tenant", tenant] if tenant else []
        code = await asyncio.to_thread(main, [*words, *connection, *scope])
        out, err = capsys.readouterr()
        return Run(code, out, err)

    return run


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "acme.yaml"
    path.write_text(MANIFEST)
    return path
