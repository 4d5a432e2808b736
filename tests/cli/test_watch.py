"""`toolgate watch` as a program of its own, while the control plane comes and goes."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from tests.harness.control_plane import Plane, control_plane
from tests.harness.postgres import Server
from toolgate.v1 import resources_pb2 as pb


async def user(plane: Plane, name: str, token: str) -> None:
    async with plane.grpc() as api:
        request = pb.ApplyRequest(kind="User", tenant="acme", name=name)
        await api.resources.Apply(request, metadata=plane.metadata(token))


async def test_it_goes_on_where_it_was_when_the_control_plane_comes_back(postgres: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = ("--grpc-port", str(port))
    with postgres.fresh() as dsn:
        async with control_plane(dsn, tmp_path, *given) as plane:
            token = plane.token
            async with plane.grpc() as api:
                await api.resources.Apply(pb.ApplyRequest(kind="Tenant", name="acme"), metadata=plane.metadata())
            words = ["watch", "users", "-t", "acme", "-o", "json", "--server", plane.target, "--count", "4"]
            watching = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli.main", *words),
                env={**os.environ, "TOOLGATE_ADMIN_TOKEN": token, "TOOLGATE_ADMIN_TARGET": plane.target},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert watching.stdout is not None
            try:
                first = json.loads(await asyncio.wait_for(watching.stdout.readline(), 30))
                assert first["type"] == "EVENT_TYPE_SYNCED"
                await user(plane, "ada", token)
                second = json.loads(await asyncio.wait_for(watching.stdout.readline(), 5))
                assert second["resource"]["name"] == "ada"
            except BaseException:
                watching.kill()
                raise
        async with control_plane(dsn, tmp_path, *given) as plane:
            await user(plane, "bob", token)
            await user(plane, "cyd", token)
            out, err = await asyncio.wait_for(watching.communicate(), 20)
    assert [json.loads(line)["resource"]["name"] for line in out.splitlines()] == ["bob", "cyd"]
    assert "watching again, since revision" in err.decode()
    assert watching.returncode == 0
