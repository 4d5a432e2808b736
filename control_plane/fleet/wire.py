"""The messages of the stream, to and from the domain's types."""

from collections.abc import Iterator, Sequence

import msgspec

from core.fleet import Published
from core.server import Observation
from core.snapshot import Holding
from core.trust import Announcement
from toolgate.v1 import fleet_pb2 as pb

CHUNK_BYTES = 512 * 1024
"""Well below 1 MiB, so that a message with its frame never reaches it."""


def trust(chain: Sequence[Announcement], since: int) -> bytes:
    """The newest announcement, with those the node lacks that has announcement `since`."""
    newest = _trust(chain[-1])
    newest.earlier.extend(_trust(one) for one in chain[:-1] if one.number > since)
    return encoded(pb.ControlMessage(trust=newest))


def _trust(one: Announcement) -> pb.Trust:
    return pb.Trust(
        keys=[pb.Trust.Key(id=name, public_key=raw) for name, raw in one.keys.items()],
        number=one.number,
        signs=one.signs,
        signatures=[pb.Trust.Signature(key_id=made.key_id, signature=made.signature) for made in one.signatures],
    )


def chunks(digest: bytes, data: bytes) -> Iterator[bytes]:
    """An empty part is one empty chunk."""
    for start in range(0, max(len(data), 1), CHUNK_BYTES):
        piece = data[start : start + CHUNK_BYTES]
        yield encoded(pb.ControlMessage(part=pb.PartChunk(digest=digest, size=len(data), data=piece)))


def push(published: Published, sealed_key: bytes) -> bytes:
    signed = published.signed
    if signed is None:
        raise ValueError("a withdrawn tenant cannot be pushed")
    return encoded(
        pb.ControlMessage(
            push=pb.Push(
                tenant=published.tenant,
                generation=published.generation,
                manifest=signed.manifest,
                key_id=signed.key_id,
                signature=signed.signature,
                sealed_key=sealed_key,
                committed_unix_us=published.committed_unix_us,
            )
        )
    )


def withdraw(tenant: str) -> bytes:
    return encoded(pb.ControlMessage(withdraw=pb.Withdraw(tenant=tenant)))


def probe(probe_id: str, tenant: str, server: str, watch_s: int) -> bytes:
    asked = pb.Probe(probe_id=probe_id, tenant=tenant, server=server, watch_s=watch_s)
    return encoded(pb.ControlMessage(probe=asked))


def heartbeat(now_unix_s: float) -> bytes:
    return encoded(pb.ControlMessage(heartbeat=pb.Heartbeat(sent_unix_ms=int(now_unix_s * 1000))))


def encoded(message: pb.ControlMessage) -> bytes:
    """Streams carry bytes, so that one message is serialised once for all nodes."""
    data: bytes = message.SerializeToString()
    return data


def holding(message: pb.Holding | pb.Ack | pb.Nack) -> Holding:
    key_id = message.key_id if isinstance(message, pb.Holding) else ""
    return Holding(message.tenant, message.generation, message.manifest_digest, key_id)


def observation(data: bytes) -> Observation:
    """What a node saw; what cannot be read is a failed look."""
    try:
        return msgspec.msgpack.decode(data, type=Observation)
    except msgspec.DecodeError as failure:
        return Observation(looked=False, error=f"the gateway's answer cannot be read: {failure}")
