"""The control plane's composition root: long, flat and boring. Everything is made here, in the order it is needed."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from hypercorn.asyncio import serve as serve_http
from hypercorn.config import Config

from adapters.crypto.sealing import AesGcmSealer, Ed25519Signer, wrap_for_node
from adapters.logs.json_lines import log_to_stderr
from adapters.opa.compiler import OpaCompiler
from adapters.postgres import changes
from adapters.postgres.admin_keys import PostgresCredentials
from adapters.postgres.audit import PostgresAudit
from adapters.postgres.database import Database
from adapters.postgres.definitions import PostgresDefinitions
from adapters.postgres.embedded import EmbeddedFailed, EmbeddedPostgres
from adapters.postgres.migrate import SchemaTooNew, ServerTooOld, migrate
from adapters.postgres.nodes import PostgresNodes
from adapters.postgres.resources import PostgresStore
from adapters.postgres.secrets import PostgresSealedValues
from adapters.postgres.snapshots import PostgresPublications
from adapters.postgres.trust import PostgresTrust
from control_plane import keyfiles, policies, settings
from control_plane.api.call import Calls
from control_plane.api.grpc_edge import GrpcEdge, Tls
from control_plane.api.handlers import Services, admin_rpcs
from control_plane.api.measured import MeasuredPublications
from control_plane.api.metrics import Metrics
from control_plane.api.rest_edge import RestEdge
from control_plane.fleet.plane import CHANNELS, FleetPlane, Stores
from control_plane.fleet.servicer import FleetServicer
from control_plane.housekeeping import Housekeeping
from control_plane.keyfiles import KeyFileRefused
from control_plane.services.access import ITSELF, Access
from control_plane.services.audit import AuditLog
from control_plane.services.definitions import Approvals
from control_plane.services.fleet_view import FleetView
from control_plane.services.keys import Keys
from control_plane.services.policies import RegoPolicies
from control_plane.services.resources import Resources
from control_plane.services.secrets import KeyRing, Vault
from control_plane.services.signing import SigningKeys
from control_plane.services.watch import Watch
from control_plane.settings import Settings
from core.admin import Rejected
from core.bound import Bound
from core.node_token import NodeToken
from core.options import SettingsRejected
from core.sealing import Signer
from core.trust import key_id

FORGET_NODES_S = 7 * 86400.0
NODES = "default"
"""The name of the node token made here; others are made through the API."""
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


@dataclass(frozen=True)
class Made:
    """What the edges serve and the tasks keep running."""

    services: Services
    housekeeping: Housekeeping
    bounds: Callable[[], dict[str, Bound]]
    plane: FleetPlane
    fleet: FleetServicer


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

        metrics = Metrics()
        made = _made(wanted, database, signer, kek, metrics)
        await made.services.signing.start()
        identify = made.services.access.identify
        rpcs = admin_rpcs(made.services)
        grpc_edge = GrpcEdge(
            rpcs,
            Calls("grpc", identify, metrics),
            address=wanted.listen_address,
            port=wanted.grpc_port,
            tls=_tls(wanted),
            also=[("toolgate.v1.Fleet", made.fleet.add_to)],
        )
        stack.push_async_callback(grpc_edge.stop, 0)
        ready = partial(_ready, made.plane, database)
        rest = RestEdge(rpcs, Calls("rest", identify, metrics), figures=metrics, ready=ready)
        metrics.chores(made.housekeeping.removed, made.housekeeping.failed)
        metrics.bounds(lambda: {**rest.bounds(), **database.bounds(), **made.bounds()})
        listener = _listener(wanted.listen_address, wanted.admin_port)
        stack.callback(listener.close)
        bootstrap_token = await _bootstrap_token(wanted, made.services.access, made.services.keys)
        node_token = await _node_token(wanted, made.services.access, first=bootstrap_token is not None)

        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_follow(made.plane, database)),
                tasks.create_task(made.services.watch.run()),
                tasks.create_task(made.housekeeping.run()),
                *([tasks.create_task(embedded.supervise())] if embedded else []),
            ]
            http = tasks.create_task(serve_http(rest, _http(wanted, listener), shutdown_trigger=stop.wait))  # type: ignore[arg-type]
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
            await grpc_edge.stop(wanted.drain_s)
            await http
            for task in running:
                task.cancel()
    log.info("stopped")


def _made(wanted: Settings, database: Database, signer: Signer, kek: bytes, metrics: Metrics) -> Made:
    """Everything between the database and the edges."""
    store = PostgresStore(database)
    sealer = AesGcmSealer()
    vault = Vault(sealer, KeyRing(kek, wanted.previous_keks), PostgresSealedValues(database))
    access = Access(store, PostgresCredentials(database), vault)
    trust = PostgresTrust(database)
    signing = SigningKeys(
        trust,
        vault,
        configured=signer,
        make=Ed25519Signer,
        resign=trust.resign,
        trusted={key_id(raw): raw for raw in wanted.trusted_keys},
    )
    definitions = PostgresDefinitions(database)
    nodes = PostgresNodes(database)
    audit = AuditLog(PostgresAudit(database), store, store)
    compiler = OpaCompiler(policies.sources(), opa=wanted.opa or None)
    rego = RegoPolicies(policies.platform_module(), compiler)
    plane = FleetPlane(
        Stores(
            publications=MeasuredPublications(PostgresPublications(database), metrics.registry),
            definitions=definitions,
            nodes=nodes,
            store=store,
            statuses=store,
            policies=rego,
            open_sealed=vault.open,
            data_key=partial(_data_key, vault),
            sealer=sealer,
            signing=signing,
        ),
        replica=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
    )
    metrics.follow(
        connected=lambda: plane.hub.connected,
        published=lambda: len(plane.hub.in_force()),
        misattributed=lambda: audit.misattributed,
    )
    services = Services(
        resources=Resources(store, vault, tenants_may=wanted.tenants_may),
        watch=Watch(store, lambda: changes.revisions(database)),
        keys=Keys(store, vault),
        access=access,
        vault=vault,
        approvals=Approvals(definitions, store, store, time.time),
        fleet=FleetView(nodes, store),
        audit=audit,
        signing=signing,
    )
    fleet = FleetServicer(
        plane,
        identify=access.identify_node,
        store_records=audit.store,
        wrap=wrap_for_node,
        certified=wanted.gateway_certificates,
    )
    housekeeping = Housekeeping(
        {
            "changes": store.prune_changes,
            "nodes": lambda: nodes.forget(FORGET_NODES_S),
            "audit": audit.prune,
        }
    )

    def bounds() -> dict[str, Bound]:
        return {
            **services.watch.bounds(),
            **fleet.bounds(),
            **plane.hub.bounds(),
            "looks": plane.learning.bound,
            "looks_hastened": plane.learning.changed_bound,
            "admin_keys": access.bound,
            **audit.bounds(),
            **rego.bounds(),
            "policy_compilers": compiler.bound,
        }

    return Made(services, housekeeping, bounds, plane, fleet)


async def _data_key(vault: Vault, tenant: str) -> bytes:
    keys = await vault.tenant_keys(tenant)
    if keys is None:
        raise LookupError(f"{tenant} has no keys")
    return keys.data_key


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


async def _bootstrap_token(wanted: Settings, access: Access, keys: Keys) -> str | None:
    """The first administrator's token if it was made now, written down where that is wanted."""
    token = await access.bootstrap()
    if token is None and wanted.reset_bootstrap_token:
        token = await keys.issue(ITSELF, "", "bootstrap", {"admin_role": "owner"}, rotate=True)
    if token is not None and wanted.bootstrap_token_file is not None:
        keyfiles.write(wanted.bootstrap_token_file, token + "\n")
    return token


async def _node_token(wanted: Settings, access: Access, *, first: bool) -> str | None:
    """With a file, the token in it counts, and is made if there is none; else one is made at the first start."""
    file = wanted.node_token_file
    if file is not None and file.exists():
        await access.keep_node_token(NodeToken(name=NODES), keyfiles.read(file).strip(), ITSELF)
        return None
    if file is None and not first:
        return None
    token = await access.create_node_token(NodeToken(name=NODES), ITSELF)
    if file is not None:
        keyfiles.write(file, token + "\n")
    return token


def _tls(wanted: Settings) -> Tls | None:
    if wanted.tls_cert_file is None or wanted.tls_key_file is None:
        return None
    client_ca = wanted.tls_client_ca_file
    return Tls(
        certificate=wanted.tls_cert_file.read_bytes(),
        key=wanted.tls_key_file.read_bytes(),
        client_ca=client_ca.read_bytes() if client_ca else None,
    )


def _listener(address: str, port: int) -> socket.socket:
    """Bound before anything is served, so that a port in use is an error at start. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as failure:
        listener.close()
        raise OSError(f"cannot listen on {address}:{port}: {failure.strerror}") from failure
    return listener


def _http(wanted: Settings, listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]  # it closes what it is given
    config.graceful_timeout = wanted.drain_s
    config.keep_alive_timeout = 30
    config.include_server_header = False
    config.errorlog = logging.getLogger("toolgate.http")
    config.h11_max_incomplete_size = 32 * 1024
    if wanted.tls_cert_file is not None:
        config.certfile = str(wanted.tls_cert_file)
        config.keyfile = str(wanted.tls_key_file)
        config.ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20"
    return config
