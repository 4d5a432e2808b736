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
from datetime import timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path

from hypercorn.asyncio import serve as serve_http

from adapters.argon2.passwords import Argon2Passwords
from adapters.crypto.jwt import JwtProver
from adapters.crypto.sealing import AesGcmSealer, Ed25519Signer, Ed25519Verifier, wrap_for_node
from adapters.files.objects import FileObjects
from adapters.jose.tokens import PyJwtTokens
from adapters.logs.json_lines import log_to_stderr
from adapters.opa.compiler import OpaCompiler
from adapters.postgres import changes
from adapters.postgres.admin_keys import PostgresCredentials
from adapters.postgres.approvals import PostgresApprovals
from adapters.postgres.audit import PostgresAudit
from adapters.postgres.audit_weeks import AuditWeeks
from adapters.postgres.checkpoints import PostgresCheckpoints
from adapters.postgres.connections import PostgresConnections
from adapters.postgres.database import Database
from adapters.postgres.decision_inputs import PostgresDecisionInputs
from adapters.postgres.definitions import PostgresDefinitions
from adapters.postgres.embedded import EmbeddedFailed, EmbeddedPostgres
from adapters.postgres.issuers import PostgresIssuerKeys
from adapters.postgres.migrate import SchemaTooNew, ServerTooOld, migrate
from adapters.postgres.nodes import PostgresNodes
from adapters.postgres.oauth import PostgresOAuth
from adapters.postgres.people import PostgresPeople
from adapters.postgres.resources import PostgresStore
from adapters.postgres.secrets import PostgresSealedValues
from adapters.postgres.sinks import PostgresPlaces
from adapters.postgres.snapshots import PostgresPublications
from adapters.postgres.trust import PostgresTrust
from adapters.postgres.usage import PostgresUsage
from adapters.postgres.webhooks import PostgresOutbox
from adapters.re2.matcher import Re2Matcher
from adapters.s3.objects import S3Objects
from adapters.wasmtime.policy import WasmPolicyEngine
from adapters.web.client import WebClient
from control_plane import first_tokens, keyfiles, listening, policies, settings
from control_plane.api.bodies import Bodies
from control_plane.api.call import Calls
from control_plane.api.connect_pages import ConnectPages
from control_plane.api.grpc_edge import GrpcEdge
from control_plane.api.handlers import Services, admin_rpcs
from control_plane.api.measured import MeasuredPublications
from control_plane.api.metrics import Metrics
from control_plane.api.rest_edge import RestEdge
from control_plane.fleet.plane import CHANNELS, FleetPlane, Stores
from control_plane.fleet.servicer import FleetServicer
from control_plane.housekeeping import Housekeeping
from control_plane.keyfiles import KeyFileRefused
from control_plane.oauth import assembly
from control_plane.oauth.assembly import SignOn
from control_plane.oauth.issuers import KIND, OwnIssuers
from control_plane.services.access import Access
from control_plane.services.audit import AuditLog
from control_plane.services.audit_proof import AuditProof
from control_plane.services.call_approvals import CallApprovals
from control_plane.services.checkpoints import Signing
from control_plane.services.connecting import Connecting
from control_plane.services.connections import Accounts, Obtaining
from control_plane.services.connections import Ports as ConnectionPorts
from control_plane.services.decision_log import DecisionLog
from control_plane.services.definitions import Approvals
from control_plane.services.fleet_view import FleetView
from control_plane.services.issuers import Issuers
from control_plane.services.keys import Keys
from control_plane.services.passwords import UserPasswords
from control_plane.services.policies import RegoPolicies
from control_plane.services.resources import Resources
from control_plane.services.secrets import KeyRing, Vault
from control_plane.services.signing import SigningKeys
from control_plane.services.simulation import Simulations
from control_plane.services.sinks import Sinks
from control_plane.services.usage import QuotaUsage
from control_plane.services.watch import Watch
from control_plane.services.webhooks import Webhooks
from control_plane.settings import Settings
from core.admin import Rejected
from core.bound import Bound
from core.forwarded import Proxies
from core.objects import Objects
from core.options import SettingsRejected
from core.sealing import Signer
from core.trust import key_id

FORGET_NODES_S = 7 * 86400.0
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
    webhooks: Webhooks
    bounds: Callable[[], dict[str, Bound]]
    plane: FleetPlane
    fleet: FleetServicer
    sign_on: SignOn
    told: tuple[Signing, Sinks]
    issuers: Issuers
    obtaining: Obtaining
    connecting: Connecting


@dataclass(frozen=True)
class Outside:
    """What the inside needs of the way in and out."""

    web: WebClient
    document_web: WebClient
    """Anybody can have it ask slow hosts: nothing else waits for its threads."""
    passwords: Argon2Passwords
    bodies: Bodies
    public_url: str


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
        web, document_web, passwords = WebClient(), WebClient(), Argon2Passwords()
        stack.callback(web.close)
        stack.callback(document_web.close)
        stack.callback(passwords.close)
        outside = Outside(web, document_web, passwords, Bodies(), listening.public_url(wanted, listener))
        made = _made(wanted, database, signer, kek, metrics=metrics, outside=outside)
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
            made.sign_on.sign_in,
            PostgresPeople(database),
            outside.bodies,
            outside.public_url,
            wanted.client_id(),
        )
        rest = RestEdge(
            rpcs,
            Calls("rest", identify, metrics),
            figures=metrics,
            ready=ready,
            bodies=outside.bodies,
            fronts=[pages.answer, made.sign_on.edge.answer],
            proxies=Proxies(wanted.trusted_proxies, wanted.forwarded_header) if wanted.trusted_proxies else None,
        )
        metrics.chores(made.housekeeping.removed, made.housekeeping.failed)
        metrics.bounds(lambda: {**rest.bounds(), **database.bounds(), **made.bounds()})
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
                tasks.create_task(made.services.watch.run()),
                tasks.create_task(made.housekeeping.run()),
                tasks.create_task(made.webhooks.run()),
                *(tasks.create_task(one.run()) for one in made.told),
                tasks.create_task(made.issuers.run()),
                tasks.create_task(made.obtaining.run()),
                *([tasks.create_task(embedded.supervise())] if embedded else []),
            ]
            config, tls = listening.http_config(wanted, listener), listening.tls(wanted)
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
            await grpc_edge.stop(wanted.drain_s)
            await http
            for task in running:
                task.cancel()
    log.info("stopped")


def _made(
    wanted: Settings, database: Database, signer: Signer, kek: bytes, *, metrics: Metrics, outside: Outside
) -> Made:
    """Everything between the database and the edges."""
    store = PostgresStore(database)
    sealer = AesGcmSealer()
    sealed_values, credentials = PostgresSealedValues(database), PostgresCredentials(database)
    vault = Vault(sealer, KeyRing(kek, wanted.previous_keks), sealed_values)
    access = Access(store, credentials, vault)
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
    objects = _objects(wanted)
    rows, checkpoints = PostgresAudit(database, objects), PostgresCheckpoints(database)
    weeks = AuditWeeks(database, objects)
    usage = QuotaUsage(PostgresUsage(database), store)
    inputs = PostgresDecisionInputs(database)
    decisions = DecisionLog(inputs, store)
    audit = AuditLog(rows, store, store, decided=decisions.note)
    ends = Signing(checkpoints, signing.signer, objects, every_s=wanted.checkpoint_s)
    compiler = OpaCompiler(policies.sources(), opa=wanted.opa or None)
    rego = RegoPolicies(policies.platform_module(), compiler)
    engine = WasmPolicyEngine(live_cap=8)
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
            connect_url=outside.public_url,
            matcher=Re2Matcher(),
        ),
        replica=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
    )
    metrics.follow(
        connected=lambda: plane.hub.connected,
        published=lambda: len(plane.hub.in_force()),
        misattributed=lambda: audit.misattributed,
        signed=lambda: ends.signed,
        cut=lambda: len(ends.cut),
    )
    jose, people = PyJwtTokens(), PostgresPeople(database)
    own_issuers = OwnIssuers(store, vault, sealed_values, jose, public_url=outside.public_url)
    sign_on = assembly.assemble(
        assembly.Ports(
            store=store,
            credentials=credentials,
            audit=rows,
            books=PostgresOAuth(database),
            people=people,
            jose=jose,
            passwords=outside.passwords,
            document_web=outside.document_web,
        ),
        own_issuers,
        public_url=outside.public_url,
        gateways=wanted.gateway_urls,
        bodies=outside.bodies,
        registry=metrics.registry,
    )
    connections = PostgresConnections(database)
    accounts = ConnectionPorts(
        connections=connections,
        clients=connections,
        links=connections,
        store=store,
        statuses=store,
        sealed_values=sealed_values,
        vault=vault,
        sealer=sealer,
        web=outside.web,
        prover=JwtProver(),
        note=audit.note,
        public_url=outside.public_url,
        client_id=wanted.client_id(),
    )
    obtaining = Obtaining(accounts)
    plane.on_declared = obtaining.changed
    plane.learning.challenged = obtaining.challenged
    webhooks = Webhooks(PostgresOutbox(database), store, store, sealed_values, vault, outside.web)
    call_approvals = CallApprovals(PostgresApprovals(database), store)
    services = Services(
        resources=Resources(store, vault, tenants_may=wanted.tenants_may, born={KIND: own_issuers.born}),
        passwords=UserPasswords(store, people, sign_on.sign_in),
        own_issuers=own_issuers,
        watch=Watch(store, lambda: changes.revisions(database)),
        keys=Keys(store, vault),
        access=access,
        vault=vault,
        approvals=Approvals(definitions, store, store, time.time, plane.screening),
        fleet=FleetView(nodes, store),
        audit=audit,
        usage=usage,
        proof=AuditProof(rows, checkpoints, store, keys=lambda: signing.vouchers, verifier=Ed25519Verifier),
        signing=signing,
        call_approvals=call_approvals,
        simulations=Simulations(store, PostgresPublications(database), rego, engine, inputs),
        accounts=Accounts(accounts),
    )
    fleet = FleetServicer(
        plane,
        identify=access.identify_node,
        store_records=audit.store,
        lease=usage.lease,
        approve=call_approvals.ask,
        wrap=wrap_for_node,
        certified=wanted.gateway_certificates,
    )
    housekeeping = Housekeeping(
        {
            "changes": store.prune_changes,
            "nodes": lambda: nodes.forget(FORGET_NODES_S),
            "audit": audit.prune,
            "quota_usage": usage.forget,
            "audit_weeks": partial(weeks.keep, timedelta(days=wanted.archive_after_days)),
            "connection_links": connections.prune_links,
            "decisions": decisions.prune,
            **sign_on.chores,
            "approvals": call_approvals.prune,
        }
    )

    sinks = Sinks(PostgresPlaces(database), rows, outside.web, store, sealed=sealed_values, vault=vault)
    told = (ends, sinks)
    issuers = Issuers(PostgresIssuerKeys(database), outside.web, store)

    def bounds() -> dict[str, Bound]:
        return {
            "issuers_asked": issuers.bound,
            "audit_sinks": sinks.bound,
            **services.watch.bounds(),
            **fleet.bounds(),
            **plane.hub.bounds(),
            "looks": plane.learning.bound,
            "looks_hastened": plane.learning.changed_bound,
            "definitions_judged": plane.screening.bound,
            "admin_keys": access.bound,
            **audit.bounds(),
            **rego.bounds(),
            **sign_on.bounds(),
            "passwords": outside.passwords.bound,
            "web_requests": outside.web.bound,
            "policy_compilers": compiler.bound,
            "decision_inputs": decisions.bound,
            "approvals_waited_for": call_approvals.bound,
            "webhooks": webhooks.bound,
            **{f"simulated_{what}": bound for what, bound in engine.bounds().items()},
            "signing_in": obtaining.bound,
        }

    return Made(
        services, housekeeping, webhooks, bounds, plane, fleet, sign_on, told, issuers, obtaining, Connecting(accounts)
    )


def _objects(wanted: Settings) -> Objects | None:
    if not wanted.objects:
        return None
    if not wanted.objects.startswith("s3:"):
        return FileObjects(Path(wanted.objects))
    bucket, _, prefix = wanted.objects.removeprefix("s3://").partition("/")
    return S3Objects(bucket, prefix, wanted.s3_endpoint)


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
