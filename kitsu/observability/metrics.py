"""Metrics for Prometheus. In prometheus_client's multiprocess mode, which `kitsu serve` turns on, a scrape sums the
files of all workers; those of ended workers stay, so that no counter goes back.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from kitsu.observability.metrics_folder import VARIABLE

READ_INTERVAL_SECONDS = 1.0
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # upper bounds in seconds

Samples = Mapping[tuple[str, ...], float]  # values of the labels to value
Mode = Literal["livesum", "livemin", "livemostrecent", "max"]  # how a gauge of several workers becomes one


class Metrics:
    """The metrics of this worker, and the exposition of those of all workers."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # the multiprocess mode has none either
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kitsu_http_requests",
            "Requests, without rejected ones.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "kitsu_http_request_duration_seconds",
            "Time to the end of a response.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._requests_by_labels: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._updates: list[Callable[[], None]] = []
        self.add_gauge(
            "kitsu_build_info", "The version that serves.", lambda: {(version,): 1}, ("version",), mode="max"
        )

    def add_counter(self, name: str, help_: str, read: Callable[[], Samples], labels: tuple[str, ...] = ()) -> None:
        """Add a counter whose samples of this worker `read` returns."""
        counter = Counter(name, help_, labels, registry=self._registry)
        counted: dict[tuple[str, ...], float] = {}

        def update() -> None:
            for values, value in read().items():
                (counter.labels(*values) if values else counter).inc(value - counted.get(values, 0))
                counted[values] = value

        self._updates.append(update)

    def add_gauge(
        self, name: str, help_: str, read: Callable[[], Samples], labels: tuple[str, ...] = (), mode: Mode = "livesum"
    ) -> None:
        """Add a gauge whose samples of this worker `read` returns."""
        gauge = Gauge(name, help_, labels, registry=self._registry, multiprocess_mode=mode)

        def update() -> None:
            for values, value in read().items():
                (gauge.labels(*values) if values else gauge).set(value)

        self._updates.append(update)

    def count_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request that has ended. Status 0 means that it got no response."""
        # Clients choose methods and paths: neither may become a label as it is.
        key = (method if method in METHODS else "other", route or "unknown", status)
        metrics = self._requests_by_labels.get(key)
        if metrics is None:
            metrics = self._requests.labels(*key[:2], str(status or "none")), self._durations.labels(*key[:2])
            self._requests_by_labels[key] = metrics
        counter, histogram = metrics
        counter.inc()
        histogram.observe(seconds)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Read what other parts count every second, and a last time at the end."""
        task = asyncio.create_task(self._read_always())
        yield
        task.cancel()
        self._read()

    async def text(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        self._read()
        return await asyncio.to_thread(self._expose)

    def _expose(self) -> bytes:
        folder = os.environ.get(VARIABLE)
        if not folder:
            return generate_latest(self._registry)
        for path in Path(folder).glob("gauge_live*.db"):
            if not _is_alive(pid := int(path.stem.rpartition("_")[2])):
                mark_process_dead(pid)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)

    def _read(self) -> None:
        for update in self._updates:
            update()

    async def _read_always(self) -> None:
        while True:
            self._read()
            await asyncio.sleep(READ_INTERVAL_SECONDS)


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
