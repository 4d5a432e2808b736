"""The control plane's own figures. Labels are bounded: RPC names and statuses, never tenants."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.bound import Bound

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

    def follow(
        self,
        *,
        connected: Callable[[], int],
        published: Callable[[], int],
        misattributed: Callable[[], int],
        signed: Callable[[], int],
        cut: Callable[[], int],
    ) -> None:
        """Figures read when they are asked for."""
        nodes = Gauge("toolgate_fleet_nodes", "Gateways connected to this replica", registry=self.registry)
        nodes.set_function(connected)
        tenants = Gauge("toolgate_fleet_tenants", "Tenants with a publication", registry=self.registry)
        tenants.set_function(published)
        chains = Gauge(
            "toolgate_audit_chains_cut",
            "Audit logs that do not hold what a signed checkpoint says: rows were removed or rewritten",
            registry=self.registry,
        )
        chains.set_function(cut)
        self.registry.register(_Audited(misattributed, signed))

    def bounds(self, read: Callable[[], Mapping[str, Bound]]) -> None:
        """What this process holds that has a cap, read when it is asked for."""
        self.registry.register(_Bounds(read))

    def chores(self, removed: Mapping[str, int], failed: Mapping[str, int]) -> None:
        """Housekeeping: by chore, what it removed in all, and how often it could not."""
        self.registry.register(_Chores(removed, failed))

    def readings(self, outcomes: Mapping[str, int]) -> None:
        """Of Secrets' sources: how often each came of it."""
        self.registry.register(_Readings(outcomes))

    def expose(self) -> bytes:
        return generate_latest(self.registry)


class _Bounds(Collector):
    """As on a gateway (`data_plane.telemetry.bounds`): three families for all there is."""

    def __init__(self, read: Callable[[], Mapping[str, Bound]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        names = ("process", "what")
        held = GaugeMetricFamily("toolgate_held", "What a process holds now.", labels=names)
        cap = GaugeMetricFamily("toolgate_cap", "How much of it that may be.", labels=names)
        text = "Times the cap was met: something was refused, dropped, or let go to make room."
        hits = CounterMetricFamily("toolgate_cap_hits", text, labels=names)
        for what, bound in self._read().items():
            labels = ("control-plane", what)
            held.add_metric(labels, bound.held)
            cap.add_metric(labels, bound.cap)
            hits.add_metric(labels, bound.hits)
        yield from (held, cap, hits)

    def describe(self) -> Iterator[Metric]:
        """Empty, so that registering reads nothing: what is to be read is not made yet."""
        return iter(())


class _Audited(Collector):
    def __init__(self, misattributed: Callable[[], int], signed: Callable[[], int]) -> None:
        self._misattributed = misattributed
        self._signed = signed

    def collect(self) -> Iterator[Metric]:
        text = "Records whose sender may not report of their tenant or node, kept apart."
        yield CounterMetricFamily("toolgate_records_misattributed", text, value=self._misattributed())
        yield CounterMetricFamily("toolgate_audit_checkpoints", "Ends of audit logs signed.", value=self._signed())


class _Readings(Collector):
    def __init__(self, outcomes: Mapping[str, int]) -> None:
        self._outcomes = outcomes

    def collect(self) -> Iterator[Metric]:
        text = (
            "Readings of Secrets' sources: current, or why not (stale: the last value goes on; absent: there is none)."
        )
        rows = CounterMetricFamily("toolgate_secret_readings", text, labels=("outcome",))
        for outcome, count in self._outcomes.items():
            rows.add_metric((outcome,), count)
        yield rows


class _Chores(Collector):
    def __init__(self, removed: Mapping[str, int], failed: Mapping[str, int]) -> None:
        self._removed = removed
        self._failed = failed

    def collect(self) -> Iterator[Metric]:
        text = "Rows that housekeeping cut back."
        rows = CounterMetricFamily("toolgate_housekeeping_removed", text, labels=("chore",))
        text = "Times a chore of housekeeping could not be done."
        failures = CounterMetricFamily("toolgate_housekeeping_failures", text, labels=("chore",))
        for chore in self._removed:
            rows.add_metric((chore,), self._removed[chore])
            failures.add_metric((chore,), self._failed[chore])
        yield from (rows, failures)
