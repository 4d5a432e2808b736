"""Who may come in: principals with their roles resolved, and keys in shards."""

from collections.abc import Iterable

from control_plane.compiler.source import Live, Parts, Source
from core.identity import Agent, ApiKey, Role, RoleBinding, Subject, User
from core.snapshot import KEYS_PER_SHARD, Identity, KeyEntry, KeyShard, Principal, encode_shard, shard_of


def compile_access(source: Source, parts: Parts) -> tuple[Live, int]:
    """Adds identity and key shards; gives who is good, and how many shards there are."""
    identity = _identity(source)
    keys = _keys(source, identity)
    shards = _shards(len(keys))
    parts.add("identity", identity)
    filled: list[dict[bytes, KeyEntry]] = [{} for _ in range(shards)]
    for hashed, entry in keys.items():
        filled[shard_of(hashed, shards)][hashed] = entry
    for number, shard in enumerate(filled):
        parts.add_bytes("keys", encode_shard(KeyShard(shard)), f"{number:06d}")
    live = Live(
        keys=frozenset(keys),
        users={name: frozenset(user.roles) for name, user in identity.users.items()},
        agents={name: frozenset(agent.roles) for name, agent in identity.agents.items()},
        roles={r.name: role for r, role in source.of(Role)},
        revocation_epoch=source.spec.revocation_epoch,
    )
    return live, shards


def _shards(keys: int) -> int:
    """Twice the room an even spread needs, so that none passes the cap by bad luck; powers of two split evenly."""
    shards = 1
    while keys > KEYS_PER_SHARD and shards * KEYS_PER_SHARD < 2 * keys:
        shards *= 2
    return shards


def _identity(source: Source) -> Identity:
    roles = _roles(source)
    return Identity(
        users={r.name: _principal("user", r.name, u, roles) for r, u in source.of(User) if not u.disabled},
        agents={r.name: _principal("agent", r.name, a, roles) for r, a in source.of(Agent) if not a.disabled},
    )


def _roles(source: Source) -> dict[tuple[str, str], set[str]]:
    roles: dict[tuple[str, str], set[str]] = {}
    for _, binding in source.of(RoleBinding):
        for subject in binding.subjects:
            roles.setdefault(_key(subject), set()).add(binding.role)
    return roles


def _key(subject: Subject) -> tuple[str, str]:
    return subject.kind, subject.name


def _principal(kind: str, name: str, spec: User | Agent, roles: dict[tuple[str, str], set[str]]) -> Principal:
    subjects: Iterable[tuple[str, str]] = ((kind, name), *(("group", group) for group in spec.groups))
    bound: set[str] = set().union(*(roles.get(subject, set()) for subject in subjects))
    return Principal(
        roles=tuple(sorted(bound)), groups=tuple(sorted(set(spec.groups))), attributes=dict(spec.attributes)
    )


def _keys(source: Source, identity: Identity) -> dict[bytes, KeyEntry]:
    """By hash, of keys for calls that are issued, not revoked, and speak for nobody disabled."""
    keys: dict[bytes, KeyEntry] = {}
    for resource, key in source.of(ApiKey):
        hashed = source.key_hashes.get(resource.name)
        if hashed is None or key.revoked or key.admin_role is not None:
            continue
        if (key.user and key.user not in identity.users) or (key.agent and key.agent not in identity.agents):
            continue
        expires_unix = key.expires_at.timestamp() if key.expires_at else None
        keys[hashed] = KeyEntry(
            name=resource.name,
            user=key.user,
            agent=key.agent,
            endpoints=tuple(sorted(key.endpoints)),
            expires_unix=expires_unix,
        )
    return keys
