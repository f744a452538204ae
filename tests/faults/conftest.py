"""A PostgreSQL that a test may freeze, stop and kill, and a service with two workers on it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import psutil
import pytest
from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.cli.process import SECRET_KEY, Process, kitsu, server_folder, until
from tests.faults.traffic import CREDENTIALS

ANIME = 20_000
Served = Callable[..., Any]


class Postgres:
    """A server with a folder of its own, as it comes: fsync and synchronous_commit are on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgres"
        self._running = ExitStack()
        self.url = self._running.enter_context(shared_server(self._folder))

    @property
    def postmaster(self) -> psutil.Process:
        """Its first process."""
        return psutil.Process(int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0]))

    def freeze(self) -> None:
        """Suspend all its processes."""
        # First the one that forks the others: a later process would not be suspended.
        self.postmaster.suspend()
        for process in self.postmaster.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let them go on."""
        for process in [self.postmaster, *self.postmaster.children(recursive=True)]:
            # Those that served a request to cancel end as soon as they run again.
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def stop(self) -> None:
        """End it as an operator does."""
        postmaster = self.postmaster
        postmaster.send_signal(signal.SIGINT)
        postmaster.wait(30)

    def start(self) -> None:
        """Start it again, under the same address."""
        assert self._running.enter_context(shared_server(self._folder)) == self.url

    def close(self) -> None:
        """End it for good."""
        with suppress(psutil.Error, FileNotFoundError):
            self.thaw()
        self._running.close()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """The first column of a query, on a connection of its own."""
        connection: Any = await asyncpg.connect(self.plain)
        try:
            return [row[0] if row else None for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    @property
    def plain(self) -> str:
        """The address as asyncpg takes it."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server with Kitsu's schema and some thousand anime."""
    with server_folder() as folder:
        server = Postgres(folder)
        try:
            with kitsu(tmp_path, "migrate", database=server.url) as migration:
                assert migration.ends() == 0
            asyncio.run(_filled(server))
            yield server
        finally:
            server.close()


async def _filled(server: Postgres) -> None:
    connection: Any = await asyncpg.connect(server.plain)
    await connection.execute(
        "INSERT INTO anime (id, title) SELECT gen_random_uuid(), n FROM generate_series(1, $1) n", ANIME
    )
    await connection.close()


@pytest.fixture
def anime(postgres: Postgres) -> list[str]:
    """Their ids."""
    found: list[UUID] = asyncio.run(postgres.fetch("SELECT id FROM anime"))
    return [str(each) for each in found]


@contextmanager
def service(folder: Path, database: URL, **settings: str) -> Iterator[Process]:
    """Two workers, none of whose answers come from memory."""
    chosen: dict[str, Any] = {"WORKERS": "2", "CATALOGUE_MEMORY_MB": "0", "RATE_LIMIT_ENABLED": "false"} | settings
    with kitsu(folder, "serve", database=database, **chosen) as running:
        running.serves()
        until(lambda: len(workers(running)) == int(chosen["WORKERS"]), "all workers run")
        yield running
        said = running.output + running.errors
        for secret in (*CREDENTIALS.values(), SECRET_KEY, "Bearer "):
            assert secret not in said
        assert '"status":500' not in said


def workers(running: Process) -> list[psutil.Process]:
    """The processes that serve."""
    return [child for child in psutil.Process(running.pid).children() if _is_alive(child)]


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


async def connections(postgres: Postgres, *, within: float = 5) -> int:
    """How many connections of the service do something, once that is none, or after so many seconds."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kitsu' AND state <> 'idle'"
    ends = time.monotonic() + within
    while (count := (await postgres.fetch(busy))[0]) and time.monotonic() < ends:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.1)
    return int(count)


def tell(figures: str) -> None:
    """Print what was measured, which is what a run is read for."""
    print(figures, flush=True)  # noqa: T201


def killed(running: Process) -> None:
    """All its processes, at one blow."""
    for process in [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]:
        with suppress(psutil.Error):
            os.kill(process.pid, signal.SIGKILL)
