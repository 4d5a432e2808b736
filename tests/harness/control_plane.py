"""A whole control plane on a database of its own, spoken to over real gRPC and HTTP."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psycopg

from control_plane import settings
from control_plane.main import Serving, run
from toolgate.v1 import actions_pb2_grpc, resources_pb2_grpc


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class Plane:
    """One running control plane."""

    serving: Serving
    dsn: str

    @property
    def token(self) -> str:
        assert self.serving.bootstrap_token
        return self.serving.bootstrap_token

    async def http(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        raw: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """`token` "" sends none; otherwise the first administrator's."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token != "":
            sent["authorization"] = f"Bearer {token or self.token}"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        return await asyncio.to_thread(self._exchange, verb, path, data, sent)

    def _exchange(self, verb: str, path: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.serving.admin_port, timeout=10)
        try:
            connection.request(verb, path, data, headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    async def execute(self, statement: str) -> None:
        """What somebody with the database's password could do."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute(statement.encode())

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.serving.grpc_port}"

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(self.target) as channel:
            yield channel

    @asynccontextmanager
    async def grpc(self) -> AsyncIterator["Stubs"]:
        async with self.channel() as channel:
            yield Stubs(channel)

    def metadata(self, token: str | None = None) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token or self.token}"),)


class Stubs:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.resources = resources_pb2_grpc.ResourcesStub(channel)
        self.keys = actions_pb2_grpc.KeysStub(channel)
        self.audit = actions_pb2_grpc.AuditStub(channel)
        self.seals = actions_pb2_grpc.SealsStub(channel)
        self.nodes = actions_pb2_grpc.NodeTokensStub(channel)


@asynccontextmanager
async def control_plane(
    dsn: str, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Plane]:
    """Runs while the block does; whatever it fails of is raised here."""
    given = ["--data-dir", str(folder), "--admin-port", "0", "--grpc-port", "0", "--drain-s", "1", *arguments]
    wanted = settings.read(given, {"TOOLGATE_DATABASE_URL": dsn, **(environment or {})})
    stop = asyncio.Event()
    started: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        plane = tasks.create_task(run(wanted, stop, started.set_result))
        await asyncio.wait({plane, started}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if plane.done():
            await plane
        try:
            yield Plane(await asyncio.wait_for(started, 5), dsn)
        finally:
            stop.set()
