"""Metrics for Prometheus, of all workers. They are counted in plain dictionaries and become a snapshot once a second.

So a scrape may lack the last second of the other workers, and a killed worker takes with it what it counted since its
last snapshot or scrape.
"""

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import accumulate

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from kitsu.observability.families import Family, Readings, families_of
from kitsu.observability.snapshots import Samples, Snapshot, Snapshots

PUBLISH_INTERVAL_SECONDS = 1.0
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""
_BOUNDS = (*map(str, BUCKETS), "+Inf")
_SUM = "sum"

log = structlog.get_logger("kitsu.metrics")


class RequestCounts:
    """Requests that have ended, by method, route and status, and how long they took."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(_BOUNDS))
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def add(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request. Status 0 means that it got no response."""
        # Clients choose methods and paths: neither may become a label as it is.
        method = method if method in METHODS else "other"
        route = route or "unknown"
        self._requests[method, route, status] += 1
        self._durations[method, route][bisect_left(BUCKETS, seconds)] += 1
        self._seconds[method, route] += seconds

    def families(self) -> list[Family]:
        """Return the metrics of these counts."""
        labels = ("method", "route")
        return [
            Family(
                CounterMetricFamily,
                "kitsu_http_requests",
                "Requests, without rejected ones.",
                (*labels, "status"),
                self._totals,
            ),
            Family(
                HistogramMetricFamily,
                "kitsu_http_request_duration_seconds",
                "Time to the end of a response.",
                labels,
                self._buckets,
            ),
        ]

    def _totals(self) -> Samples:
        return {(*labels, str(status or "none")): number for (*labels, status), number in self._requests.items()}

    def _buckets(self) -> Samples:
        """Return the requests in each bucket, and the sum of seconds in place of another."""
        samples: Samples = {(*labels, _SUM): seconds for labels, seconds in self._seconds.items()}
        for labels, counts in self._durations.items():
            samples |= {(*labels, bound): number for bound, number in zip(_BOUNDS, counts, strict=True) if number}
        return samples


class Metrics:
    """The metrics of this worker, and the exposition of those of all workers."""

    def __init__(self, version: str, readings: Readings) -> None:
        """Raises ValueError outside of `snapshot_folder`, and OSError."""
        self._version = version
        requests = RequestCounts()
        self.count_request = requests.add
        self._families = [*requests.families(), *families_of(readings)]
        self._snapshots = Snapshots()
        self._previous = self._snapshots.previous()

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Write a snapshot every second, and a last one at the end."""
        task = asyncio.create_task(self._publish_always())
        yield
        task.cancel()
        self._publish()
        self._snapshots.close()

    async def text(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        # The response must not count what the death of this worker would take back.
        return await asyncio.to_thread(self._expose, self._publish())

    def _read(self) -> Snapshot:
        """Return the samples of this worker and of those that had its slot before."""
        snapshot: Snapshot = {}
        for family in self._families:
            samples = dict(self._previous.get(family.name, {})) if family.outlives_worker else {}
            family.add(family.read(), samples)
            snapshot[family.name] = samples
        return snapshot

    def _publish(self) -> Snapshot:
        snapshot = self._read()
        try:
            self._snapshots.write(snapshot)
        except OSError as error:
            log.warning("metrics snapshot failed", error=str(error))
        return snapshot

    async def _publish_always(self) -> None:
        while True:
            self._publish()
            await asyncio.sleep(PUBLISH_INTERVAL_SECONDS)

    def _expose(self, total: Snapshot) -> bytes:
        for snapshot, is_alive in self._snapshots.read_others():
            for family in self._families:
                if is_alive or family.outlives_worker:
                    family.add(snapshot.get(family.name, {}), total[family.name])
        metrics = [_metric(family, total[family.name]) for family in self._families]
        metrics.append(InfoMetricFamily("kitsu_build", "The version that serves.", value={"version": self._version}))
        registry = CollectorRegistry()
        registry.register(_Collected(metrics))
        return generate_latest(registry)


class _Collected(Collector):
    """Metrics as a registry takes them."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def _metric(family: Family, samples: Samples) -> Metric:
    metric = family.type(family.name, family.documentation, labels=family.labels)
    if isinstance(metric, HistogramMetricFamily):
        for labels in {labels[:-1] for labels in samples}:
            counts = accumulate(samples.get((*labels, bound), 0) for bound in _BOUNDS)
            metric.add_metric(labels, list(zip(_BOUNDS, counts, strict=True)), samples[*labels, _SUM])
    else:
        for labels, value in samples.items():
            metric.add_metric(labels, value)
    return metric
