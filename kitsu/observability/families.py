"""The metrics that other parts of the service count, by name; those of HTTP requests are in metrics.py."""

import operator
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from kitsu.observability.snapshots import Labels, Samples

_COUNTER, _GAUGE = CounterMetricFamily, GaugeMetricFamily


class Family(NamedTuple):
    """A metric, how a worker reads its samples, and how those of several workers become one."""

    type: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    name: str
    documentation: str
    labels: Labels
    read: Callable[[], Mapping[Labels, float]]
    merge: Callable[[float, float], float] = operator.add

    @property
    def outlives_worker(self) -> bool:
        """Whether the samples of a worker count after its end: all but sums of gauges."""
        return self.type is not _GAUGE or self.merge is not operator.add

    def add(self, samples: Mapping[Labels, float], total: Samples) -> None:
        """Merge the samples of a worker into the total."""
        for labels, value in samples.items():
            total[labels] = self.merge(total[labels], value) if labels in total else value


class Limiter(Protocol):
    """Counts of the concurrency limit."""

    in_flight: int
    refused: int


class PasswordQueue(Protocol):
    """The queue of passwords to hash."""

    @property
    def busy(self) -> int:
        """Return the number of passwords that are hashed or wait."""


class Cache(Protocol):
    """Counts of the response cache."""

    hits: int
    misses: int
    size: int
    changed_at: float


class CommandRuns(Protocol):
    """What the database knows about the commands that operators run."""

    @property
    def timestamps(self) -> Mapping[str, float]:
        """Return the Unix time at which each command last succeeded; 0 for never."""


class Readings(NamedTuple):
    """What other parts of the service count."""

    connections: Mapping[str, Callable[[], tuple[int, int]]]
    """Pool to a function that returns its connections in use and idle."""
    connections_limits: Mapping[str, int]
    limiter: Limiter
    passwords: PasswordQueue
    logins: Mapping[str, int]
    """Outcome to count."""
    imports: Mapping[str, Mapping[str, int]]
    """Kind to outcome to count."""
    catalogue: Cache
    runs: CommandRuns


def families_of(readings: Readings) -> list[Family]:
    """Return the metrics of these readings."""
    limiter, cache, limits = readings.limiter, readings.catalogue, readings.connections_limits

    def connections() -> Samples:
        counts = {pool: states() for pool, states in readings.connections.items()}
        return {
            (pool, state): n for pool, both in counts.items() for state, n in zip(("in_use", "idle"), both, strict=True)
        }

    def imports() -> Samples:
        return {(kind, outcome): n for kind, counts in readings.imports.items() for outcome, n in counts.items()}

    def runs() -> Samples:
        return {(command,): timestamp for command, timestamp in readings.runs.timestamps.items()}

    def by_key(counts: Mapping[str, float]) -> Callable[[], Samples]:
        return lambda: {(key,): n for key, n in counts.items()}

    return [
        Family(
            _COUNTER, "kitsu_http_requests_rejected", "Requests beyond the limit.", (), lambda: {(): limiter.refused}
        ),
        Family(
            _GAUGE,
            "kitsu_http_requests_in_flight",
            "Uncached requests in progress.",
            (),
            lambda: {(): limiter.in_flight},
        ),
        Family(_GAUGE, "kitsu_db_connections", "Database connections.", ("pool", "state"), connections),
        Family(_GAUGE, "kitsu_db_connections_max", "Limit of database connections.", ("pool",), by_key(limits)),
        Family(_COUNTER, "kitsu_logins", "Logins.", ("outcome",), by_key(readings.logins)),
        Family(_COUNTER, "kitsu_imports", "Imports over HTTP.", ("kind", "outcome"), imports),
        Family(
            _GAUGE,
            "kitsu_password_queue_length",
            "Passwords being hashed or waiting.",
            (),
            lambda: {(): readings.passwords.busy},
        ),
        Family(
            _COUNTER,
            "kitsu_response_cache_requests",
            "Lookups in the response cache.",
            ("result",),
            lambda: {("hit",): cache.hits, ("miss",): cache.misses},
        ),
        Family(_GAUGE, "kitsu_response_cache_bytes", "Memory of cached responses.", (), lambda: {(): cache.size}),
        Family(
            _GAUGE,
            "kitsu_catalogue_last_change_timestamp_seconds",
            "Time of the last change to the catalogue; 0: none since the start.",
            (),
            lambda: {(): cache.changed_at},
            max,
        ),
        Family(
            _GAUGE,
            "kitsu_command_last_success_timestamp_seconds",
            "Time at which a command last succeeded; 0: never.",
            ("command",),
            runs,
            max,
        ),
    ]
