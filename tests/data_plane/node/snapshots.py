"""Valid snapshots, signed and sealed as the control plane does, with one thing changed where a test wants it."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from adapters.crypto.sealing import AesGcmSealer, Ed25519Signer, Ed25519Verifier, X25519NodeKey, wrap_for_node
from core.guard import DETECTORS
from core.resource import digest, encode
from core.server import HttpTransport
from core.snapshot import (
    Backend,
    Backends,
    Catalogue,
    CompiledGuard,
    CompiledTool,
    Guards,
    Identity,
    KeyEntry,
    KeyShard,
    Limits,
    Manifest,
    OpenSecrets,
    PartRef,
    PolicyData,
    Principal,
    Secrets,
    SignedManifest,
    TenantUpdate,
    secrets_context,
)
from core.trust import Announcement, announce
from data_plane.parts import PartStore
from data_plane.supervisor.receiver import Receiver

SIGNER = Ed25519Signer(bytes(range(32)))
NODE_PRIVATE = bytes(range(32, 64))
NODE_KEY = X25519NodeKey(NODE_PRIVATE)
DATA_KEY = bytes(range(64, 96))
TRUSTED = {SIGNER.key_id: SIGNER.public_key}
MODULE = b"\0asm not looked into here"


def tools(count: int, server: str = "srv") -> tuple[CompiledTool, ...]:
    definition = (
        b'{"name":"%s","description":"'
        + b"d" * 300
        + b'","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}}}'
    )
    return tuple(
        CompiledTool(
            name=f"tool-{i}",
            server=server,
            upstream_name=f"tool-{i}",
            definition=definition.replace(b"%s", b"tool-%d" % i),
            digest=digest(b"%d" % i),
        )
        for i in range(count)
    )


def parts_of(tenant: str, tool_count: int = 2, marker: str = "", **changes: bytes) -> dict[tuple[str, str], bytes]:
    """(kind, name) to bytes; `changes` by kind replace single parts. `marker` makes parts unlike another's."""
    sealed = _sealed(tenant, marker)
    parts = {
        ("catalogue", "default"): encode(
            Catalogue(endpoint="default", tools=tools(tool_count), instructions=tenant + marker)
        ),
        ("backends", ""): encode(
            Backends({"srv": Backend(server="srv", transport=HttpTransport(url="http://127.0.0.1:9"), era="modern")})
        ),
        ("identity", ""): encode(Identity(users={"ann": Principal(roles=("r",))}, agents={})),
        ("keys", "000000"): msgspec.msgpack.encode(KeyShard({digest(tenant.encode()): KeyEntry(name="k", user="ann")})),
        ("policy_module", ""): MODULE,
        ("policy_data", ""): encode(PolicyData(data=b'{"roles":{}}')),
        ("limits", ""): encode(Limits(())),
        ("guards", ""): encode(Guards((_guard(),))),
        ("secrets", ""): encode(Secrets(sealed)),
    }
    for kind, data in changes.items():
        key = next((key for key in parts if key[0] == kind), (kind, ""))
        parts[key] = data
    return parts


def _guard() -> CompiledGuard:
    detectors = dict.fromkeys(DETECTORS, "mask")
    return CompiledGuard(name="g", detectors=detectors, directions=("in", "out"), tools=("*",), endpoints=("*",))


@cache
def _sealed(tenant: str, marker: str) -> bytes:
    secrets = OpenSecrets(values={"s": marker}, key_pepper=b"p" * 32, session_key=b"s" * 32)
    return AesGcmSealer().seal(DATA_KEY, encode(secrets), secrets_context(tenant))


def update(
    tenant: str = "acme",
    generation: int = 1,
    parts: dict[tuple[str, str], bytes] | None = None,
    signer: Ed25519Signer = SIGNER,
    node_public: bytes = NODE_KEY.public_key,
    **manifest: object,
) -> TenantUpdate:
    parts = parts_of(tenant, marker=str(generation)) if parts is None else parts
    refs = tuple(sorted(PartRef(kind, name, digest(data), len(data)) for (kind, name), data in parts.items()))
    encoded = encode(Manifest(**{"tenant": tenant, "generation": generation, "parts": refs, **manifest}))
    return TenantUpdate(
        signed=SignedManifest(manifest=encoded, key_id=signer.key_id, signature=signer.sign(encoded)),
        parts={digest(data): data for data in parts.values()},
        sealed_key=wrap_for_node(DATA_KEY, node_public),
    )


def manifest_of(one: TenantUpdate) -> Manifest:
    return msgspec.msgpack.decode(one.signed.manifest, type=Manifest)


def receiver(data_dir: Path, *, store: PartStore | None = None, **options: object) -> Receiver:
    made = Receiver(
        **{
            "store": store or PartStore(data_dir),
            "sealer": AesGcmSealer(),
            "node_key": NODE_KEY,
            "verifier": Ed25519Verifier,
            "configured_keys": TRUSTED,
            **options,
        }
    )
    made.load()
    return made


def announced(number: int, *signers: Ed25519Signer, trusted: Sequence[Ed25519Signer] = ()) -> Announcement:
    """An announcement by `signers`, the first of which signs from then on; `trusted`: all that count, else it alone."""
    keys = {one.key_id: one.public_key for one in trusted or signers[:1]}
    before = Announcement(number=1, keys={one.key_id: one.public_key for one in signers}, signs=signers[0].key_id)
    return announce(number, keys, signers[0].key_id, signers, before)


def other_signer() -> Ed25519Signer:
    return Ed25519Signer(os.urandom(32))
