"""How a gateway reaches the control plane."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # Reconnecting is decided here, with jitter; gRPC's own pauses would only add to it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
BACKOFF_S = (0.1, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where the control plane is, and how the node proves itself. Without `ca_pem` and `system_trust`: no TLS."""

    targets: tuple[str, ...]
    """host:port of control-plane replicas, tried in turn."""
    token: str = ""
    ca_pem: bytes = b""
    system_trust: bool = False
    """TLS with the system's certificates; `ca_pem` is then not needed."""
    cert_pem: bytes = b""
    key_pem: bytes = b""
    server_name: str = ""
    """Name expected in the server's certificate, where the target's host is another."""
    renewed: Callable[[], tuple[bytes, bytes, bytes]] | None = None
    """(authority, certificate, key) as they are now, read for each connection: renewed ones count from the next on.
    Raises OSError; then those given above count."""

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("the control plane's targets must name at least one host:port")
        if bool(self.cert_pem) != bool(self.key_pem):
            raise ValueError("a client certificate needs its key, and a key its certificate")
        if self.cert_pem and not (self.ca_pem or self.system_trust):
            raise ValueError("a client certificate needs TLS: give the authority's certificate")

    def open(self, target: str) -> grpc.aio.Channel:
        options: list[tuple[str, int | str]] = [*_OPTIONS]
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        if not (self.ca_pem or self.system_trust):
            return grpc.aio.insecure_channel(target, options=options)
        ca_pem, cert_pem, key_pem = self._certificates()
        credentials = grpc.ssl_channel_credentials(ca_pem or None, key_pem or None, cert_pem or None)
        return grpc.aio.secure_channel(target, credentials, options=options)

    def _certificates(self) -> tuple[bytes, bytes, bytes]:
        if self.renewed is not None:
            with contextlib.suppress(OSError):
                return self.renewed()
        return self.ca_pem, self.cert_pem, self.key_pem

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def in_turn(self) -> Iterator[str]:
        """Targets for ever, from a random one on, so that a fleet spreads over the replicas."""
        start = random.randrange(len(self.targets))  # noqa: S311 (spreads load, guards nothing)
        while True:
            yield self.targets[start % len(self.targets)]
            start += 1


def pauses() -> Iterator[float]:
    """Seconds between attempts: doubling, jittered, never more than the longest."""
    pause_s, longest_s = BACKOFF_S
    while True:
        yield min(longest_s, pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
        pause_s = min(pause_s * 2, longest_s)
