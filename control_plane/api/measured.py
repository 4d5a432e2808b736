"""The publisher's figures, taken where it reads and where it publishes: it knows nothing of them itself."""

import time
from collections import OrderedDict
from collections.abc import Collection, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from core.fleet import Published
from core.publication import Draft, Publications, Rows, Sign

UNDER_WAY_MAX = 10_000


class MeasuredPublications:
    """Publications, timed: a tenant's compilation lies between reading its rows and handing in its draft."""

    def __init__(self, inner: Publications, registry: CollectorRegistry) -> None:
        self._inner = inner
        self._began: OrderedDict[str, float] = OrderedDict()
        self._compile = Histogram(
            "toolgate_compile_seconds",
            "From a tenant's rows read to its draft made, the rest of its batch included",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._drafts = Counter("toolgate_compiled", "Tenants compiled", ("result",), registry=registry)
        self._published = Counter("toolgate_published", "Snapshots published by this replica", registry=registry)

    async def behind(self, compiler: int) -> list[tuple[str, int]]:
        return await self._inner.behind(compiler)

    async def rows(self, tenants: Sequence[str]) -> dict[str, Rows]:
        found = await self._inner.rows(tenants)
        self._began.update(dict.fromkeys(tenants, time.perf_counter()))
        while len(self._began) > UNDER_WAY_MAX:
            self._began.popitem(last=False)
        return found

    async def publish(self, drafts: Sequence[Draft], sign: Sign) -> list[Published]:
        now = time.perf_counter()
        for draft in drafts:
            began = self._began.pop(draft.tenant, None)
            if began is not None:
                self._compile.observe(now - began)
            self._drafts.labels("held" if draft.held else "good").inc()
        published = await self._inner.publish(drafts, sign)
        self._published.inc(len(published))
        return published

    async def current(self, tenants: Collection[str] | None) -> list[Published]:
        return await self._inner.current(tenants)

    async def parts(self, digests: Collection[bytes]) -> dict[bytes, bytes]:
        return await self._inner.parts(digests)

    async def collect(self) -> int:
        return await self._inner.collect()
