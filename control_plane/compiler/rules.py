"""Backends, limits and guards: declarations with every default settled."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from control_plane.compiler.source import Parts, Source
from core.definition import Known
from core.guard import Guard
from core.limits import Bucket, RateLimit
from core.resource import Ref, Resource, digest, encode
from core.server import Server
from core.snapshot import Backend, Backends, CompiledGuard, CompiledLimit, Guards, Limits

_UNSEEN = Known()
_LIFE_CHARS = 12


def compile_rules(source: Source, held: AbstractSet[Ref], parts: Parts) -> None:
    """`held`: servers among them stay as they were, or are left out."""
    parts.add("backends", Backends(servers=dict(_backends(source, held))))
    parts.add("limits", Limits(tuple(_limit(r, spec) for r, spec in source.of(RateLimit) if not spec.disabled)))
    parts.add("guards", Guards(tuple(_guard(r.name, spec) for r, spec in source.of(Guard) if not spec.disabled)))


def _backends(source: Source, held: AbstractSet[Ref]) -> Iterator[tuple[str, Backend]]:
    for resource, server in source.of(Server):
        name = resource.name
        if server.disabled:
            continue
        if resource.ref not in held:
            yield name, _backend(name, server, source.known.get(name, _UNSEEN))
        elif name in source.previous.backends:
            yield name, source.previous.backends[name]


def _backend(name: str, server: Server, known: Known) -> Backend:
    """The declared era wins over the observed one. A declared era that was never seen still waits for its revision."""
    era = known.look.era if server.era == "auto" else server.era
    agrees = known.look.era is None or known.look.era == era
    return Backend(
        server=name,
        transport=server.transport,
        declared=server.era,
        era=era,
        protocol_version=known.look.protocol_version if agrees else "",
        timeout_s=server.timeout_s,
        max_result_bytes=server.max_result_bytes,
        offers=known.offering.offers,
    )


def _limit(resource: Resource, limit: RateLimit) -> CompiledLimit:
    bucket = Bucket(rate_per_s=limit.calls / limit.period_s, burst=limit.burst or limit.calls)
    return CompiledLimit(
        name=resource.name,
        life=digest(encode((resource.created_unix, bucket))).hex()[:_LIFE_CHARS],
        bucket=bucket,
        per=tuple(dict.fromkeys(limit.per)),
        tools=tuple(limit.tools),
        endpoints=tuple(limit.endpoints),
        scope=limit.scope,
        on_error=limit.on_error,
    )


def _guard(name: str, guard: Guard) -> CompiledGuard:
    return CompiledGuard(
        name=name,
        detectors={detector: guard.actions.get(detector, guard.action) for detector in guard.detectors},
        directions=tuple(dict.fromkeys(guard.directions)),
        tools=tuple(guard.tools),
        endpoints=tuple(guard.endpoints),
    )
