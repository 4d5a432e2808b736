"""Taking away from a publication that is held back: what ended must end at once, whatever else does not check."""

from collections.abc import Mapping

import msgspec

from control_plane.compiler.narrow import denying, narrowed
from control_plane.compiler.source import Compiled, Live, Parts
from core.resource import digest, encode
from core.snapshot import Identity, KeyShard, Manifest, PartKind, PolicyData, Principal, encode_shard

READ: tuple[PartKind, ...] = ("identity", "keys", "policy_data")
"""Parts that `restrict` looks into."""


def restrict(last: Manifest, read: Mapping[bytes, bytes], live: Live) -> Compiled | None:
    """The last publication less what `live` no longer lets in; None if it lets nothing in that it should not.

    What does not check is not published, but a revoked key must end all the same: this only ever takes away. Calls
    are let through that the last publication and the newest roles both allow. `read` holds the parts named by READ.
    """
    parts = Parts(refs=[ref for ref in last.parts if ref.kind not in READ])
    held = {kind: [ref for ref in last.parts if ref.kind == kind] for kind in READ}
    for ref in held["keys"]:
        shard = msgspec.msgpack.decode(read[ref.digest], type=KeyShard)
        kept = KeyShard({h: entry for h, entry in shard.keys.items() if h in live.keys})
        parts.add_bytes("keys", encode_shard(kept), ref.name)
    identity = msgspec.msgpack.decode(read[held["identity"][0].digest], type=Identity)
    policy = msgspec.msgpack.decode(read[held["policy_data"][0].digest], type=PolicyData)
    denials = denying(policy)
    users = _still_good(identity.users, live.users, denials)
    agents = _still_good(identity.agents, live.agents, denials)
    parts.add("identity", Identity(users, agents))
    left = {role for principal in (*users.values(), *agents.values()) for role in principal.roles}
    parts.add("policy_data", narrowed(policy, live.roles, left & set(denials.values())))
    restricted = msgspec.structs.replace(
        last,
        generation=0,
        parts=parts.sorted(),
        revocation_epoch=max(last.revocation_epoch, live.revocation_epoch),
    )
    if restricted == msgspec.structs.replace(last, generation=0):
        return None
    return Compiled(restricted, parts.data, digest(encode(restricted)))


def _still_good(
    before: dict[str, Principal], bound: dict[str, frozenset[str]], denials: Mapping[str, str]
) -> dict[str, Principal]:
    """Who is still there; of a role no longer bound, only what it denies stays."""
    kept = {}
    for name, principal in before.items():
        if name in bound:
            left = (role if role in bound[name] else denials.get(role, "") for role in principal.roles)
            roles = tuple(sorted({role for role in left if role}))
            kept[name] = principal if roles == principal.roles else msgspec.structs.replace(principal, roles=roles)
    return kept
