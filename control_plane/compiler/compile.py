"""From what a tenant declared to its snapshot. The same input gives the same bytes."""

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from control_plane.compiler.access import compile_access
from control_plane.compiler.catalogue import compile_catalogues
from control_plane.compiler.rules import compile_rules
from control_plane.compiler.source import Compiled, Dropped, Faulty, Found, Live, Parts, Seal, Source, found_in
from core.resource import Ref, digest, encode
from core.secret import Secret
from core.server import Server
from core.snapshot import Identity, KeyShard, Manifest, PartRef, Principal, Secrets, encode_shard

COMPILER = 2
"""Raise it with every change that makes other bytes of the same input: tenants are then compiled again."""

_module_digest = lru_cache(maxsize=4)(digest)
"""Most tenants share one module, some 350 KB: digesting it for each took a fifth of compiling a thousand tenants."""


def compile_tenant(source: Source, seal: Seal) -> Compiled | Faulty:
    """Everything or nothing: a tenant with a single problem compiles to the list of all its problems."""
    parts = Parts()
    live, shards = compile_access(source, parts)
    found, dropped = compile_catalogues(source, parts)
    compile_rules(source, parts)
    found += [*source.faults, *_inconsistencies(source)]
    if found or source.policy is None:
        return Faulty(tuple(sorted(set(found))), live)
    parts.add_bytes("policy_module", source.policy.module, address=_module_digest(source.policy.module))
    parts.add("policy_data", source.policy.data)
    parts.add("secrets", Secrets(sealed=seal(encode(source.secrets))))
    return _assembled(_manifest(source, parts, shards), parts.data, tuple(dropped))


def _manifest(source: Source, parts: Parts, shards: int) -> Manifest:
    return Manifest(
        tenant=source.tenant,
        generation=0,
        parts=tuple(sorted(parts.refs, key=_place)),
        revocation_epoch=source.spec.revocation_epoch,
        max_staleness_s=source.spec.max_staleness_s,
        audit=source.spec.audit,
        key_shards=shards,
    )


def _place(ref: PartRef) -> tuple[str, str]:
    return ref.kind, ref.name


def _assembled(manifest: Manifest, data: dict[bytes, bytes], dropped: tuple[Dropped, ...] = ()) -> Compiled:
    return Compiled(manifest, data, digest(encode(manifest)), dropped)


def _inconsistencies(source: Source) -> Iterator[Found]:
    """Rules of single resources, checked again since rules may be newer than rows, and references that lead nowhere."""
    present = {resource.ref for resource in source.resources}
    for resource in source.resources:
        ref = resource.ref
        yield from found_in(ref, resource.spec.problems())
        for path, target in resource.spec.references():
            wanted = Ref(target.kind, source.tenant, target.name)
            if wanted not in present:
                yield Found(ref, path, f"{target} does not exist")
        if isinstance(resource.spec, Server) and not resource.spec.disabled:
            yield from _secrets_without_value(source, resource.ref, resource.spec)


def _secrets_without_value(source: Source, ref: Ref, server: Server) -> Iterator[Found]:
    declared = {resource.name for resource, _ in source.of(Secret)}
    for path, target in server.references():
        if target.name in declared and target.name not in source.secrets.values:
            yield Found(ref, path, f"{target} has no value")


def _still_good(
    before: dict[str, Principal], bound: dict[str, frozenset[str]], allowing: frozenset[str]
) -> dict[str, Principal]:
    """Who is still there, less the roles no longer bound; a role that denies something stays."""
    kept = {}
    for name, principal in before.items():
        if name in bound:
            roles = tuple(role for role in principal.roles if role in bound[name] or role not in allowing)
            kept[name] = principal if roles == principal.roles else msgspec.structs.replace(principal, roles=roles)
    return kept


def restrict(last: Manifest, read: dict[bytes, bytes], live: Live) -> Compiled | None:
    """The last publication less what `live` no longer lets in; None if it lets nothing in that it should not.

    What does not check is not published, but a revoked key must end all the same: this only ever takes away.
    `read` holds the bytes of the identity and key parts of `last`.
    """
    parts = Parts(refs=[ref for ref in last.parts if ref.kind not in ("identity", "keys")])
    for ref in last.parts:
        if ref.kind == "identity":
            identity = msgspec.msgpack.decode(read[ref.digest], type=Identity)
            users = _still_good(identity.users, live.users, live.allowing)
            agents = _still_good(identity.agents, live.agents, live.allowing)
            parts.add("identity", Identity(users, agents))
        elif ref.kind == "keys":
            shard = msgspec.msgpack.decode(read[ref.digest], type=KeyShard)
            kept = KeyShard({h: entry for h, entry in shard.keys.items() if h in live.keys})
            parts.add_bytes("keys", encode_shard(kept), ref.name)
    restricted = msgspec.structs.replace(
        last,
        generation=0,
        parts=tuple(sorted(parts.refs, key=_place)),
        revocation_epoch=max(last.revocation_epoch, live.revocation_epoch),
    )
    if restricted == msgspec.structs.replace(last, generation=0):
        return None
    return _assembled(restricted, parts.data)
