"""Runs a routed call at its backend, within its deadline."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from core.call import Outgoing
from core.errors import Reason, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.call import Clean, Inbound, Notification, Notify, Raw, Route, ToolBackend
    from data_plane.meter import Recording


async def run(  # noqa: PLR0917 - the pipeline reads best in a line.
    inbound: Inbound,
    route: Route,
    clean: Clean,
    backends: Mapping[type, ToolBackend],
    notify: Notify | None,
    recording: Recording,
) -> Raw:
    """The upstream's answer, unscanned. Raises Unavailable; the tool's own failure is an answer."""
    backend = backends.get(type(route.backend.transport))
    if backend is None:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, "This gateway does not speak the server's transport.")
    outgoing = Outgoing(
        arguments=clean.arguments,
        # No question of a server can be carried to the caller, so a server is told that the caller takes none.
        capabilities=b"{}",
        wants_progress=inbound.progress_token is not None and notify is not None,
        log_level=inbound.log_level,
        traceparent=recording.traceparent,
        tracestate=inbound.tracestate,
    )
    started = monotonic_ns()
    try:
        return await backend.call(route, outgoing, notify or _nowhere)
    finally:
        recording.upstream_ns = monotonic_ns() - started


def _nowhere(_: Notification) -> None:
    """For a caller with nowhere to send notifications to."""
