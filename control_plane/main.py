"""The control plane's composition root: long, flat and boring. Everything is made here, in the order it is needed."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from hypercorn.asyncio import serve as serve_http

from adapters.argon2.passwords import Argon2Passwords
from adapters.crypto.sealing import Ed25519Signer
from adapters.logs.json_lines import log_to_stderr
from adapters.postgres.audit_weeks import AuditWeeks
from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedFailed, EmbeddedPostgres
from adapters.postgres.migrate import SchemaTooNew, ServerTooOld, migrate
from adapters.postgres.people import PostgresPeople
from adapters.postgres.resources import PostgresStore
from control_plane import first_tokens, inside, keyfiles, listening, settings
from control_plane.account.described import described
from control_plane.account.edge import AccountEdge
from control_plane.account.keys import PersonalKeys
from control_plane.account.profile import Profiles
from control_plane.api.bodies import Bodies
from control_plane.api.call import Calls
from control_plane.api.connect_pages import ConnectPages, Signing
from control_plane.api.grpc_edge import GrpcEdge
from control_plane.api.handlers import admin_rpcs
from control_plane.api.metrics import Metrics
from control_plane.api.opa_edge import OpaEdge
from control_plane.api.rest_edge import RestEdge
from control_plane.fleet.plane import CHANNELS, FleetPlane
from control_plane.keyfiles import KeyFileRefused
from control_plane.settings import Settings
from core.admin import Rejected
from core.forwarded import Proxies
from core.options import SettingsRejected

CONNECT_S = 30.0
READY_S = 2.0

log = logging.getLogger("toolgate.control_plane")


@dataclass(frozen=True)
class Serving:
    """What the outside needs to know once requests are taken. A token is there only when it was just made."""

    admin_port: int
    grpc_port: int
    bootstrap_token: str | None
    node_token: str | None


def main(arguments: Sequence[str]) -> int:
    """`toolgate control-plane`: 0 after SIGTERM or SIGINT, 2 for wrong settings, 4 when something needed is missing."""
    try:
        wanted = settings.read(arguments, os.environ)
    except SettingsRejected as rejected:
        sys.stderr.write(f"toolgate control-plane: the settings are not valid\n{rejected}\n")
        return 2
    log_to_stderr(wanted.log_level)
    try:
        asyncio.run(_until_signalled(wanted))
    except (EmbeddedFailed, SchemaTooNew, ServerTooOld, KeyFileRefused, Rejected, OSError) as failure:
        log.critical("cannot serve: %s", getattr(failure, "public", failure))
        return 4
    return 0


async def _until_signalled(wanted: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(wanted, stop, _announce)


def _announce(serving: Serving) -> None:
    log.info("serving: REST on port %d, gRPC on port %d", serving.admin_port, serving.grpc_port)
    for what, token in (("admin token", serving.bootstrap_token), ("node token", serving.node_token)):
        if token:
            sys.stdout.write(f"{what}, shown this once: {token}\n")
            sys.stdout.flush()


async def run(wanted: Settings, stop: asyncio.Event, started: Callable[[Serving], None]) -> None:
    """Serve until `stop`. Raises what keeps it from starting: Rejected, EmbeddedFailed, SchemaTooNew, OSError, ..."""
    async with AsyncExitStack() as stack:
        keys = wanted.data_dir / "keys"
        signer = Ed25519Signer(keyfiles.key(wanted.signing_key, wanted.signing_key_file, keys / "signing.key"))
        kek = keyfiles.key(wanted.kek, wanted.kek_file, keys / "kek.key")
        embedded = None
        if not wanted.database_url:
            embedded = EmbeddedPostgres(wanted.data_dir / "postgres")
            stack.push_async_callback(embedded.stop)
            await embedded.start()
        database = await _connected(embedded.dsn() if embedded else wanted.database_url)
        stack.push_async_callback(database.close)
        for name in await migrate(database, files("control_plane.migrations")):
            log.info("migrated: %s", name)
        await AuditWeeks(database, None).prepare()

        metrics = Metrics()
        listener = listening.bound_listener(wanted.listen_address, wanted.admin_port)
        stack.callback(listener.close)
        webs, passwords = inside.Webs(), Argon2Passwords()
        stack.callback(webs.close)
        stack.callback(passwords.close)
        outside = inside.Outside(webs, passwords, Bodies(), listening.public_url(wanted, listener))
        made = inside.made(wanted, database, signer, kek, metrics=metrics, outside=outside)
        await made.services.signing.start()
        identify = made.services.access.identify
        rpcs = admin_rpcs(made.services)
        grpc_edge = GrpcEdge(
            rpcs,
            Calls("grpc", identify, metrics),
            address=wanted.listen_address,
            port=wanted.grpc_port,
            tls=listening.tls(wanted),
            also=[("toolgate.v1.Fleet", made.fleet.add_to)],
        )
        stack.push_async_callback(grpc_edge.stop, 0)
        ready = partial(_ready, made.plane, database)
        pages = ConnectPages(
            made.connecting,
            Signing(made.sign_on.sign_in, made.sign_on.federation, made.services.own_issuers),
            PostgresPeople(database),
            outside.bodies,
            outside.public_url,
            wanted.client_id(),
        )
        own = AccountEdge(
            made.sign_on.sessions,
            PersonalKeys(made.services.keys, made.services.resources, PostgresStore(database)),
            Profiles(
                PostgresStore(database),
                PostgresPeople(database),
                made.services.resources,
                made.services.passwords,
                made.sign_on.sign_in,
            ),
            outside.bodies,
            metrics.registry,
        )
        opas = OpaEdge(made.services.sidecars, outside.bodies, outside.public_url)
        rest = RestEdge(
            rpcs,
            Calls("rest", identify, metrics),
            figures=metrics,
            ready=ready,
            bodies=outside.bodies,
            fronts=[pages.answer, made.sign_on.edge.answer, own.answer, opas.answer],
            described=described(),
            proxies=Proxies(wanted.trusted_proxies, wanted.forwarded_header) if wanted.trusted_proxies else None,
        )
        metrics.chores(made.housekeeping.removed, made.housekeeping.failed)
        config = listening.http_config(wanted, listener)
        metrics.bounds(lambda: {**rest.bounds(), **config.bounds(), **database.bounds(), **made.bounds()})
        access, keys_file = made.services.access, wanted.bootstrap_token_file
        bootstrap_token = await first_tokens.administrators(
            access, made.services.keys, keys_file, reset=wanted.reset_bootstrap_token
        )
        node_token = await first_tokens.nodes(
            made.services.access, wanted.node_token_file, first=bootstrap_token is not None
        )

        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_follow(made.plane, database)),
                *(tasks.create_task(run()) for run in made.at_work),
                *([tasks.create_task(embedded.supervise())] if embedded else []),
            ]
            tls = listening.tls(wanted)
            if tls is not None:
                running.append(tasks.create_task(config.keep_renewed(tls)))
            http = tasks.create_task(serve_http(rest, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
            await made.plane.loaded.wait()
            await grpc_edge.start()
            started(
                Serving(
                    admin_port=listener.getsockname()[1],
                    grpc_port=grpc_edge.port,
                    bootstrap_token=None if wanted.bootstrap_token_file else bootstrap_token,
                    node_token=None if wanted.node_token_file else node_token,
                )
            )
            await stop.wait()
            log.info("stopping")
            made.services.sidecars.depart()
            await grpc_edge.stop(wanted.drain_s)
            await http
            for task in running:
                task.cancel()
    log.info("stopped")


async def _ready(plane: FleetPlane, database: Database) -> bool:
    return plane.loaded.is_set() and await _answers(database)


async def _connected(dsn: str) -> Database:
    """Another PostgreSQL may be starting at the same time as we are: try for a while. Raises Rejected."""
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            return await Database.open(dsn)
        except Rejected as away:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the database: %s", away.public)
            await asyncio.sleep(1.0)


async def _follow(plane: FleetPlane, database: Database) -> None:
    notices = database.listen(CHANNELS)
    assert isinstance(notices, AsyncGenerator)
    async with aclosing(notices):
        await plane.run(notices)


async def _answers(database: Database) -> bool:
    try:
        async with asyncio.timeout(READY_S), database.connection() as connection:
            await connection.execute("SELECT 1")
    except (Rejected, TimeoutError):
        return False
    return True
