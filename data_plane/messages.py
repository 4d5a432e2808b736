"""What the supervisor and its workers say to each other, as `data_plane.channel` carries it.

Array-like and tagged by number: both ends are always of one release, so nothing here needs to stay compatible.
"""

from typing import Literal

import msgspec

from core.bound import Bound
from core.call import Notification, Outgoing, Raw, Route
from core.limits import Bucket
from core.resource import Problem


class Take(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Worker asks: tokens of a bucket. Answered by Granted, or Failed("away")."""

    key: str
    bucket: Bucket
    want: int


class GiveBack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Worker asks: take these tokens back. Answered by Done."""

    key: str
    bucket: Bucket
    tokens: int


class ToolCall(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Worker asks: run this at a child of the node. Answered by Raw's fields in Ran; notifications come before."""

    route: Route
    outgoing: Outgoing


class Lookup(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Worker asks: the manifest with this digest, and the key its secrets open with. Answered by Found."""

    tenant: str
    manifest_digest: bytes


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Supervisor asks: load this snapshot beside the one in force. Answered by Verdict.

    A worker that has not loaded the tenant prepares nothing, unless it is to `prove` that the snapshot can be loaded.
    """

    tenant: str
    generation: int
    manifest_digest: bytes
    prove: bool


class Commit(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Supervisor asks: serve this snapshot from here on. Answered by Done."""

    tenant: str
    generation: int
    manifest_digest: bytes


class Pointed(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Supervisor tells: what is in force, of every tenant; once, first of all."""

    tenants: list[tuple[str, int, bytes]]
    """(tenant, generation, manifest digest)"""


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Supervisor tells: the tenant was withdrawn."""

    tenant: str


class Abandon(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Supervisor tells: what was prepared for the tenant will not be committed."""

    tenant: str


class Condition(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Supervisor tells, every second and when it changes: how the node is."""

    heard_at_s: float | None
    """Monotonic time the control plane was last heard at, one clock for the whole machine; None: never."""
    ready: bool


class Drain(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Supervisor tells: accept nothing more, finish what is in flight, leave."""

    within_s: float


class CancelCall(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Either tells: a caller cancelled this request; whichever worker runs it is to stop it."""

    session: bytes
    request_id: bytes
    """As JSON."""


class Stats(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Worker tells, about once a second: that it is alive, and how it is."""

    connections: int
    in_flight: int
    loop_lag_s: float
    serving: bool
    held: dict[str, Bound]
    """What it holds now that has a cap, by name (`data_plane.telemetry.bounds`)."""


class Granted(msgspec.Struct, frozen=True, array_like=True, tag=20):
    tokens: int
    retry_after_s: float


class Ran(msgspec.Struct, frozen=True, array_like=True, tag=21):
    raw: Raw


class Found(msgspec.Struct, frozen=True, array_like=True, tag=22):
    manifest: bytes
    data_key: bytes
    places: list[tuple[bytes, int, int, int]]
    """Where its parts lie: (digest, pack, offset, size)."""


class Verdict(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """Empty: prepared, or nothing to prepare."""

    problems: list[Problem]
    loaded: bool = False


class Done(msgspec.Struct, frozen=True, array_like=True, tag=24):
    pass


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """Why there is no other answer.

    `away`: CountersAway. `unavailable`: Unavailable with the fields below. `missing`: no such thing here. `busy`: too
    many questions open. `bug`: logged where it happened.
    """

    kind: Literal["away", "unavailable", "missing", "busy", "bug"]
    reason: str = ""
    public: str = ""
    detail: str = ""
    retry_after_s: float | None = None


Question = Take | GiveBack | ToolCall | Lookup | Prepare | Commit
Answer = Granted | Ran | Found | Verdict | Done | Failed
News = Pointed | Forget | Abandon | Condition | Drain | CancelCall | Stats


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=1):
    id: int
    body: Question


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=2):
    id: int
    body: Answer


class Note(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A notification on the way to the reply of the same id."""

    id: int
    body: Notification


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The asker wants no reply any more: stop working on it."""

    id: int


class Tell(msgspec.Struct, frozen=True, array_like=True, tag=5):
    body: News


Frame = Ask | Reply | Note | Drop | Tell
