"""A whole control plane on a database of its own, spoken to over real gRPC and HTTP."""

import asyncio
import concurrent.futures
import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
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
        source: str = "127.0.0.1",
        **headers: str,
    ) -> Answer:
        """`token` "" sends none; otherwise the first administrator's. `source`: address to come from."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token != "":
            sent["authorization"] = f"Bearer {token or self.token}"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        return await asyncio.to_thread(self._exchange, verb, path, data, sent, source)

    def _exchange(self, verb: str, path: str, data: bytes | None, headers: dict[str, str], source: str) -> Answer:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.serving.admin_port, timeout=10, source_address=(source, 0)
        )
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

    async def dump(self) -> str:
        """Every row of every table, as text."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            found = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            text = []
            for (name,) in await found.fetchall():
                rows = await connection.execute(f'SELECT t::text FROM "{name}" AS t'.encode())
                text += [name, *(row[0] for row in await rows.fetchall())]
        return "\n".join(text)

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


@contextmanager
def control_plane_apart(dsn: str, folder: Path, *arguments: str) -> Iterator[Plane]:
    """As `control_plane`, on a loop and a thread of its own: for many tests that share one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="control plane")
    thread.start()
    running = control_plane(dsn, folder, *arguments)
    held: concurrent.futures.Future[None] = concurrent.futures.Future()
    made: concurrent.futures.Future[Plane] = concurrent.futures.Future()

    async def hold() -> None:
        async with running as plane:
            made.set_result(plane)
            await asyncio.wrap_future(held)

    task = asyncio.run_coroutine_threadsafe(hold(), loop)
    try:
        concurrent.futures.wait([made, task], timeout=30, return_when=concurrent.futures.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield made.result(1)
    finally:
        held.set_result(None)
        task.result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
