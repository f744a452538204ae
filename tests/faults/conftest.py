"""A PostgreSQL that tests can freeze, stop and restart, and the service with two workers."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
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
from tests.faults.rows import Outcomes
from tests.faults.traffic import CREDENTIALS

ANIME = 20_000

outcomes = Outcomes()


class Postgres:
    """A server with default settings: fsync and synchronous_commit are on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgres"
        self._running = ExitStack()
        self.url = self._running.enter_context(shared_server(self._folder))

    @property
    def postmaster(self) -> psutil.Process:
        """Return the server's main process."""
        return psutil.Process(int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0]))

    def freeze(self) -> None:
        """Suspend all processes of the server."""
        # The postmaster is first, so that it can't start further processes.
        self.postmaster.suspend()
        for process in self.postmaster.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Resume all processes of the server."""
        for process in [self.postmaster, *self.postmaster.children(recursive=True)]:
            # A process that handled a cancel request ends when it is resumed.
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def stop(self) -> None:
        """Shut the server down in fast mode."""
        postmaster = self.postmaster
        postmaster.send_signal(signal.SIGINT)
        postmaster.wait(30)

    def start(self) -> None:
        """Start the server again, with the same URL."""
        assert self._running.enter_context(shared_server(self._folder)) == self.url

    def close(self) -> None:
        """Stop the server at the end of the test."""
        with suppress(psutil.Error, FileNotFoundError):
            self.thaw()
        self._running.close()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the first column of a query, on a new connection."""
        connection: Any = await asyncpg.connect(self.dsn)
        try:
            return [row[0] if row else None for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    @property
    def dsn(self) -> str:
        """Return the URL in asyncpg's form."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    """Start a server with Kitsu's schema and ANIME anime."""
    with server_folder() as folder:
        server = Postgres(folder)
        try:
            with kitsu(tmp_path, "migrate", database=server.url) as migration:
                assert migration.ends() == 0
            asyncio.run(_insert_anime(server))
            yield server
        finally:
            server.close()


async def _insert_anime(server: Postgres) -> None:
    connection: Any = await asyncpg.connect(server.dsn)
    await connection.execute(
        "INSERT INTO anime (id, title) SELECT gen_random_uuid(), n FROM generate_series(1, $1) n", ANIME
    )
    await connection.close()


@pytest.fixture
def anime(postgres: Postgres) -> list[str]:
    """Return the ids of all anime."""
    ids: list[UUID] = asyncio.run(postgres.fetch("SELECT id FROM anime"))
    return [str(each) for each in ids]


@contextmanager
def service(folder: Path, database: URL, **settings: str) -> Iterator[Process]:
    """Run the service with two workers and without cached responses.

    Fails on a 500, a traceback or a secret in its output.
    """
    variables: dict[str, Any] = {"WORKERS": "2", "CATALOGUE_MEMORY_MB": "0", "RATE_LIMIT_ENABLED": "false"} | settings
    with kitsu(folder, "serve", database=database, **variables) as running:
        running.serves()
        until(lambda: len(workers(running)) == int(variables["WORKERS"]), "all workers run")
        yield running
        written = running.output + running.errors
        for secret in (*CREDENTIALS.values(), SECRET_KEY, "Bearer "):
            assert secret not in written
        assert '"status":500' not in written
        assert "Traceback" not in written


def workers(running: Process) -> list[psutil.Process]:
    """Return the worker processes."""
    return [child for child in psutil.Process(running.pid).children() if _is_alive(child)]


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


async def busy_connections(postgres: Postgres, *, within: float = 5) -> int:
    """Wait until the service has no busy connection; return the number after `within` seconds at most."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kitsu' AND state <> 'idle'"
    deadline = time.monotonic() + within
    while (count := (await postgres.fetch(query))[0]) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.1)
    return int(count)


def report(figures: str) -> None:
    """Print the figures of a test, now and in the table at the end."""
    print(figures, flush=True)  # noqa: T201
    outcomes.add_figures(_name_of(os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]), figures)


def _name_of(node_id: str) -> str:
    return node_id.rpartition("::")[2].partition("[")[0]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the outcome of each test of this folder."""
    if report.when == "call" or not report.passed:
        outcomes.add(_name_of(report.nodeid), report.outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the outcome of each row, in a run of the tests of faults."""
    if config.option.markexpr == "faults":
        terminalreporter.section("faults")
        for line in outcomes.lines():
            terminalreporter.line(line)


def kill_all(running: Process) -> None:
    """Kill all processes of the service with SIGKILL."""
    for process in [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]:
        with suppress(psutil.Error):
            os.kill(process.pid, signal.SIGKILL)
