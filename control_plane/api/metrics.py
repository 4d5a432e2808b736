"""The control plane's own figures. Labels are bounded: RPC names and statuses, never tenants."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry per process, made by the root: nothing is registered at import."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "toolgate_admin_requests",
            "Admin requests by edge, RPC and status",
            ("edge", "rpc", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "toolgate_admin_request_seconds",
            "Time to answer an admin request",
            ("edge", "rpc"),
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.open_watches = Gauge("toolgate_admin_watches", "Watch streams open now", registry=self.registry)

    def follow(self, *, connected: Callable[[], int], published: Callable[[], int]) -> None:
        """Figures read when they are asked for."""
        nodes = Gauge("toolgate_fleet_nodes", "Gateways connected to this replica", registry=self.registry)
        nodes.set_function(connected)
        tenants = Gauge("toolgate_fleet_tenants", "Tenants with a publication", registry=self.registry)
        tenants.set_function(published)

    def expose(self) -> bytes:
        return generate_latest(self.registry)
