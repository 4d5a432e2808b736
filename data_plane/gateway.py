"""What a worker has at hand to answer calls: one value, made by the composition root, handed to the pipeline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.approval import Approvers
from core.call import ToolBackend
from core.concurrency import Turns
from core.sealing import Sealer
from data_plane.bearers import Bearers
from data_plane.doorstep import Doorstep
from data_plane.kept import Kept
from data_plane.leases import Leases
from data_plane.meter import Meter
from data_plane.on_behalf import OnBehalf
from data_plane.parked import Parked
from data_plane.public_urls import PublicUrls
from data_plane.sessions import SessionNotes
from data_plane.stages.conversation import Conversations
from data_plane.taints import Taints
from data_plane.tenants import Tenants


@dataclass(frozen=True, slots=True)
class Gateway:
    tenants: Tenants
    counters: Leases
    backends: Mapping[type, ToolBackend]
    """Transport Struct (`core.server`) to what speaks it."""
    meter: Meter
    conversations: Conversations
    sessions: SessionNotes
    parked: Parked
    approvers: Approvers
    kept: Kept
    sealer: Sealer
    bearers: Bearers
    on_behalf: OnBehalf
    doorstep: Doorstep
    turns: Turns
    taints: Taints
    urls: PublicUrls
    version: str
    clock: Callable[[], float]
    """Unix seconds."""
    silence_s: Callable[[], float]
    """How long the node has not heard from the control plane."""
