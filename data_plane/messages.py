"""What the supervisor and its workers say to each other, as `data_plane.channel` carries it.

Array-like and tagged by number: both ends are always of one release, so nothing here needs to stay compatible.
"""

from typing import Literal

import msgspec

from core import approval, call
from core.approval import Wish
from core.bound import Bound
from core.bus import Event
from core.call import Interest, Notification, Outgoing, Raw, Route
from core.concurrency import Wanted as Wanting
from core.concurrency import Why
from core.exchange import Declined, Wanted
from core.issuer import KeySet
from core.limits import Bucket
from core.resource import Problem
from core.snapshot import Token


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
    askable: bool
    """Whether the caller can be asked while it runs."""


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


class Watch(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Worker asks: listen to a child of the node. Answered when that has an end, by Failed.

    A note without a method says that it has begun; the others are what the server tells.
    """

    route: Route
    interest: Interest


class Publish(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Worker asks: tell everybody who listens to the topic. Answered by Done."""

    topic: str
    message: bytes


class Put(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Worker asks: keep this value. Answered by Done."""

    key: str
    value: bytes
    ttl_s: float


class Get(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """Worker asks: the value kept. Answered by Value."""

    key: str


class Append(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """Worker asks: keep a stream's events. Answered by Done."""

    stream: str
    events: tuple[Event, ...]


class After(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Worker asks: a stream's events behind this number. Answered by Events."""

    stream: str
    number: int


class Subscribe(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """Worker tells: from here on it listens to the topic, under a number it never gave before. Subscribed answers."""

    number: int
    topic: str


class Unsubscribe(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """Worker tells: that is over."""

    number: int


class Subscribed(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """Supervisor tells: the subscription is in force, or why it is not."""

    number: int
    refused: str


class Delivered(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """Supervisor tells: what was published to the topic with this number."""

    number: int
    message: bytes


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


class Stats(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Worker tells, about once a second: that it is alive, and how it is."""

    connections: int
    in_flight: int
    loop_lag_s: float
    serving: bool
    held: dict[str, Bound]
    """What it holds now that has a cap, by name (`data_plane.telemetry.bounds`)."""


class Anchors(msgspec.Struct, frozen=True, array_like=True, tag=70):
    """Supervisor tells: authorities (DER) of all tenants on the node, whose client certificates TLS may take."""

    anchors: tuple[bytes, ...]


class Stale(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Worker tells: a server refuses requests made as its definitions were known; it needs to be looked at."""

    tenant: str
    server: str


class ProofUsed(msgspec.Struct, frozen=True, array_like=True, tag=71):
    """Worker asks: was this proof of possession never used before? Answered by FirstUse, or Failed("busy")."""

    mark: bytes


class FirstUse(msgspec.Struct, frozen=True, array_like=True, tag=72):
    first: bool


class KeysWanted(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """Worker asks: the keys of a tenant's issuer, with this one among them if it can be had. Answered by KeysFound."""

    tenant: str
    provider: str
    kid: str


class KeysFound(msgspec.Struct, frozen=True, array_like=True, tag=42):
    keys: KeySet


class AskApproval(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Worker asks: have somebody approve this. Answered by Approved."""

    wish: Wish
    wait_s: float


class Approved(msgspec.Struct, frozen=True, array_like=True, tag=51):
    answer: approval.Answer


class TokenWanted(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """Worker asks: a token on its caller's behalf. Answered by TokenHad."""

    wanted: Wanted


class TokenHad(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """One of the two."""

    token: Token | None = None
    declined: Declined | None = None


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


class TurnWanted(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """Worker asks: a turn, under a number it never gave before. Answered by TurnHad, TurnRefused or Failed."""

    number: int
    tenant: str
    wanted: tuple[Wanting, ...]
    within_s: float


class TurnHad(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """It is the worker's until it tells TurnOver."""


class TurnRefused(msgspec.Struct, frozen=True, array_like=True, tag=62):
    limit: str
    why: Why
    retry_after_s: float


class TurnOver(msgspec.Struct, frozen=True, array_like=True, tag=63):
    """Worker tells: the call is over, or wants no turn any more, whether it has one or not."""

    number: int


class Value(msgspec.Struct, frozen=True, array_like=True, tag=26):
    value: bytes | None


class Events(msgspec.Struct, frozen=True, array_like=True, tag=27):
    events: list[Event] | None


class Replied(msgspec.Struct, frozen=True, array_like=True, tag=28):
    reply: call.Reply


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """Why there is no other answer.

    `away`: CountersAway or BusAway. `large`: TooLarge. `unavailable`: Unavailable with the fields below. `missing`: no
    such thing here. `busy`: too many questions open. `bug`: logged where it happened.
    """

    kind: Literal["away", "large", "unavailable", "missing", "busy", "bug"]
    reason: str = ""
    public: str = ""
    detail: str = ""
    retry_after_s: float | None = None


Question = (
    Take
    | GiveBack
    | ToolCall
    | Watch
    | Lookup
    | Prepare
    | Commit
    | Publish
    | Put
    | Get
    | Append
    | After
    | KeysWanted
    | AskApproval
    | TokenWanted
    | TurnWanted
    | ProofUsed
)
Answer = (
    Granted
    | Ran
    | Found
    | Verdict
    | Done
    | Value
    | Events
    | KeysFound
    | Approved
    | TokenHad
    | FirstUse
    | TurnHad
    | TurnRefused
    | Failed
)
News = (
    TurnOver
    | Pointed
    | Anchors
    | Forget
    | Abandon
    | Condition
    | Drain
    | Stats
    | Stale
    | Subscribe
    | Unsubscribe
    | Subscribed
    | Delivered
)


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


class Query(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """On the way to the reply of the same id, its worker wants to know something of its asker."""

    id: int
    number: int
    body: call.Question


class Response(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The asker's answer to a Query."""

    id: int
    number: int
    body: Replied | Failed


class Retract(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """A Query needs no answer any more."""

    id: int
    number: int


Frame = Ask | Reply | Note | Drop | Tell | Query | Response | Retract
