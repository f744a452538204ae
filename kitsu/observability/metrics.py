"""Figures for Prometheus, right with several workers: each writes its own into files of one folder, a scrape adds up.

Whoever counts something keeps a plain number. Once a second, and before it answers a scrape itself, a worker writes
down how the numbers stand: so much of another worker's count may be missing from a scrape, or lost with a worker that
is killed.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client knows the folder."""
PREFIX = "kitsu-metrics-"
PUBLISH_SECONDS = 1.0

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
FILES = {"counter": 1 << 18, "histogram": 1 << 20, "gauge_livesum": 1 << 16, "gauge_max": 1 << 16}
"""Those of a worker, in bytes. A write into a hole of a file would end the worker when the disk is full."""

Counts = Callable[[], Mapping[tuple[str, ...], int]]
"""Label values to a count that only grows."""
Request = tuple[str, str, int]
"""Method, route, status."""


class Queue(Protocol):
    """Work that is done one after the other."""

    @property
    def busy(self) -> int:
        """How much is being worked on or waits."""


class Flow(Protocol):
    """Requests, of which only so many are let in."""

    in_flight: int
    refused: int


class Memory(Protocol):
    """Answers that are kept."""

    hits: int
    misses: int
    size: int
    changed_at: float


class Runs(Protocol):
    """What the database knows of commands that an operator has run."""

    @property
    def timestamps(self) -> Mapping[str, float]:
        """Command to when it last did its work, in seconds since 1970; 0: never."""


class Readings(NamedTuple):
    """What others count."""

    connections: Mapping[str, Callable[[], tuple[int, int]]]
    """Pool to its connections in use, and idle."""
    connections_limits: Mapping[str, int]
    """Pool to how many it may have."""
    turns: Flow
    passwords: Queue
    logins: Mapping[str, int]
    """Outcome to count."""
    imports: Mapping[str, Mapping[str, int]]
    """Kind to outcome to count."""
    catalogue: Memory
    runs: Runs


@contextmanager
def folder_for_workers() -> Iterator[None]:
    """A folder that the workers find in their environment, gone at the end. Raises OSError."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/in-use"):
        # Of a service that was killed, and could not remove it.
        with suppress(OSError), _locked(left, "r+b"):
            shutil.rmtree(left.parent)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        _locked(Path(folder) / "in-use", "wb"),
    ):
        os.environ[FOLDER] = folder
        yield


class Metrics:
    """The figures of a worker, and the scrape of all."""

    def __init__(self, version: str, readings: Readings) -> None:
        """Raises ValueError without the folder of `folder_for_workers`."""
        if FOLDER not in os.environ:
            raise ValueError(f"the figures of METRICS_ENABLED need {FOLDER}, which `kitsu serve` sets")
        self._folder = Path(os.environ[FOLDER])
        self._version = version
        # It takes 2 MB, which a service without figures does not pay.
        self._library: Any = import_module("prometheus_client")
        self._multiprocess: Any = import_module("prometheus_client.multiprocess")
        values: Any = import_module("prometheus_client.values")
        self._slot, self._lock = _claimed(self._folder)
        self._forget_gauges(self._slot)
        for name, size in FILES.items():
            with (self._folder / f"{name}_{self._slot}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        values.ValueClass = values.MultiProcessValue(lambda: self._slot)

        self._requests: dict[Request, int] = {}
        self._observers: dict[Request, Callable[[float], None]] = {}
        self._seconds = self._library.Histogram(
            "kitsu_http_request_seconds",
            "Time until a request was answered.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=None,
        )
        self._publishers = self._publishers_of(readings)

    def count_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request that has ended. Status 0: it was not answered."""
        key = (method, route or "unknown", status)
        observe = self._observers.get(key)
        if observe is None:
            key, observe = self._known(*key)
        self._requests[key] += 1
        observe(seconds)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Write down how the numbers stand, every second until the end."""
        task = asyncio.create_task(self._publish_always())
        yield
        task.cancel()
        self._publish()
        self._lock.close()

    async def text(self) -> bytes:
        """The figures of all workers, in Prometheus' text format."""
        self._publish()
        return await asyncio.to_thread(self._collected)

    def _known(self, method: str, route: str, status: int) -> tuple[Request, Callable[[float], None]]:
        # A client may call its method as it likes.
        key = (method if method in METHODS else "other", route, status)
        if key not in self._observers:
            self._requests[key] = 0
            self._observers[key] = self._seconds.labels(key[0], route).observe
        return key, self._observers[key]

    def _publishers_of(self, readings: Readings) -> list[Callable[[], None]]:
        def counter(name: str, text: str, labels: tuple[str, ...], counts: Counts) -> Callable[[], None]:
            return _Followed(self._library.Counter(name, text, labels, registry=None), counts).publish

        def labelled(name: str, text: str, labels: tuple[str, ...], mode: str = "livesum") -> Any:
            return self._library.Gauge(name, text, labels, registry=None, multiprocess_mode=mode)

        def gauge(name: str, text: str, read: Callable[[], float], mode: str = "livesum") -> Callable[[], None]:
            made = labelled(name, text, (), mode)
            return lambda: made.set(read())

        connections = labelled(
            "kitsu_db_connections",
            "Connections to the database, by state.",
            ("pool", "state"),
        )
        limits = labelled(
            "kitsu_db_connections_limit",
            "How many connections to the database there may be.",
            ("pool",),
        )

        def publish_connections() -> None:
            for pool, states in readings.connections.items():
                in_use, idle = states()
                connections.labels(pool, "in_use").set(in_use)
                connections.labels(pool, "idle").set(idle)
                limits.labels(pool).set(readings.connections_limits[pool])

        ended = labelled(
            "kitsu_command_ended_timestamp_seconds",
            "When a command last did its work: a backup, a purge, an import of the catalogue; 0: never.",
            ("command",),
            "max",
        )

        def publish_runs() -> None:
            for command, at in readings.runs.timestamps.items():
                ended.labels(command).set(at)

        memory = readings.catalogue
        return [
            counter(
                "kitsu_http_requests_total",
                "Requests that have ended, but for those refused because there were too many.",
                ("method", "route", "status"),
                lambda: {(method, route, _status(code)): n for (method, route, code), n in self._requests.items()},
            ),
            counter(
                "kitsu_logins_total",
                "Logins, by outcome.",
                ("outcome",),
                lambda: {(end,): number for end, number in readings.logins.items()},
            ),
            counter(
                "kitsu_imports_total",
                "Imports over HTTP.",
                ("kind", "outcome"),
                lambda: {(kind, end): n for kind, ends in readings.imports.items() for end, n in ends.items()},
            ),
            counter(
                "kitsu_catalogue_answers_total",
                "Answers of the catalogue that memory had, and that it lacked.",
                ("result",),
                lambda: {("hit",): memory.hits, ("miss",): memory.misses},
            ),
            counter(
                "kitsu_http_requests_refused_total",
                "Requests refused because there were too many at once.",
                (),
                lambda: {(): readings.turns.refused},
            ),
            gauge(
                "kitsu_http_requests_in_flight",
                "Requests that are worked on, but for those whose answer is at hand.",
                lambda: readings.turns.in_flight,
            ),
            publish_connections,
            publish_runs,
            gauge(
                "kitsu_password_queue",
                "Passwords that are being hashed or wait for it.",
                lambda: readings.passwords.busy,
            ),
            gauge("kitsu_catalogue_memory_bytes", "Memory that answers of the catalogue take.", lambda: memory.size),
            gauge(
                "kitsu_catalogue_changed_timestamp_seconds",
                "When the catalogue changed last, by an import or an editor; 0: not since the service started.",
                lambda: memory.changed_at,
                "max",
            ),
        ]

    async def _publish_always(self) -> None:
        while True:
            self._publish()
            await asyncio.sleep(PUBLISH_SECONDS)

    def _publish(self) -> None:
        for publish in self._publishers:
            publish()

    def _collected(self) -> bytes:
        for lock in self._folder.glob("*.lock"):
            # Of a worker that has ended; nobody takes its place meanwhile.
            with suppress(OSError), _locked(lock, "r+b"):
                self._forget_gauges(int(lock.stem))
        registry = self._library.CollectorRegistry()
        self._multiprocess.MultiProcessCollector(registry, str(self._folder))
        self._library.Info("kitsu_build", "The version that serves.", registry=registry).info(
            {"version": self._version}
        )
        text: bytes = self._library.generate_latest(registry)
        return text

    def _forget_gauges(self, slot: int) -> None:
        self._multiprocess.mark_process_dead(slot, str(self._folder))


class _Followed:
    """A counter that follows what somebody else counts."""

    def __init__(self, counter: Any, counts: Counts) -> None:
        self._counter = counter
        self._counts = counts
        self._last: dict[tuple[str, ...], int] = {}

    def publish(self) -> None:
        """Catch up."""
        for labels, number in self._counts().items():
            last = self._last.get(labels)
            if number != last:
                counter = self._counter.labels(*labels) if labels else self._counter
                counter.inc(number - (last or 0))
                self._last[labels] = number


def _status(code: int) -> str:
    return str(code) if code else "none"


def _claimed(folder: Path) -> tuple[int, IO[bytes]]:
    """The first number that no living worker has, and what holds it: the kernel lets go of it when the worker ends.

    A worker in the place of another one goes on where that one's counters stood, and there are never more files than
    there were workers at once.
    """
    for number in count():
        file = (folder / f"{number}.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return number, file
    raise AssertionError


@contextmanager
def _locked(path: Path, mode: str) -> Iterator[None]:
    """Hold a file. Raises OSError when somebody else does."""
    with path.open(mode) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
