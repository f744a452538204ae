"""Ctrl-C and SIGTERM end `kitsu run` and all its processes, at any moment.

`Process.ends` checks for all of them that no traceback is printed and no process is left.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.cli.process import Process, at_once, kitsu, server_folder
from tests.databases import connect, execute

MIGRATION_LOCK = 0x6B69747375

# Sends itself SIGTERM at the n-th call of a function, at a moment that no output shows.
SIGNALLED = """
import os, signal, sys
from kitsu.__main__ import main

function, calls = sys.argv.pop(1), int(sys.argv.pop(1))

class Gone:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

def send(frame, event, argument):
    global calls
    if event == "call" and frame.f_code.co_qualname == function:
        calls -= 1
        if calls == 0:
            sys.setprofile(None)
            print("signalled", flush=True)
            if "IN_A_DESTRUCTOR" in os.environ:
                Gone()
            else:
                os.kill(os.getpid(), signal.SIGTERM)

sys.setprofile(send)
main()
"""

# Handles a signal after its workers, which got it too, have had time to end.
LATE = """
import time
from granian.server.common import AbstractServer
from kitsu.__main__ import main

handle = AbstractServer.signal_handler_interrupt

def late(*arguments):
    time.sleep(1)
    handle(*arguments)

AbstractServer.signal_handler_interrupt = late
main()
"""


def signalled(
    folder: Path, function: str, calls: int, database: URL | None = None, **environment: Any
) -> AbstractContextManager[Process]:
    """Start a `kitsu run` that gets SIGTERM at the n-th call of a function."""
    return kitsu(folder, "run", command=("-c", SIGNALLED, function, str(calls)), database=database, **environment)


# Number, and whether the whole process group gets it, as by Ctrl-C in a terminal.
SIGTERM, SIGINT, CTRL_C = (signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGINT, True)


def test_signal_during_imports_ends_process(tmp_path: Path, catalogue: URL) -> None:
    """Nothing is started yet, so the signal may kill the process."""

    def check(number: int, group: bool) -> None:
        with kitsu(tmp_path, "serve", database=catalogue) as service:
            loaded = Path(f"/proc/{service.pid}/maps")
            service.until(lambda: "/asyncpg/" in loaded.read_text(), "it was importing")
            assert service.ended_by(number, group=group) in {0, -number}

    at_once(check, [SIGTERM, CTRL_C])


@pytest.mark.slow
def test_signal_during_start_of_workers_ends_service(tmp_path: Path, catalogue: URL) -> None:
    def check(printed: str, number: int, group: bool) -> None:
        with kitsu(tmp_path, "serve", database=catalogue, WORKERS="2") as service:
            service.prints(printed)
            assert service.ended_by(number, group=group) == 0

    at_once(check, [("Listening at", *CTRL_C), ("Spawning worker-1", *SIGTERM), ("Started worker-1", *CTRL_C)])


@pytest.mark.slow
def test_signal_while_serving_ends_service(tmp_path: Path, catalogue: URL) -> None:
    def check(number: int, group: bool) -> None:
        with kitsu(tmp_path, "serve", database=catalogue, WORKERS="2") as service:
            for worker in ("worker-1", "worker-2"):
                service.prints(f"Started {worker}")
            service.serves()
            assert service.ended_by(number, group=group) == 0

    at_once(check, [SIGTERM, SIGINT, CTRL_C])


@pytest.mark.slow
def test_stopping_service_fails_health_checks_and_serves_for_the_notice(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue, STOP_NOTICE_SECONDS="3") as service:
        service.serves()
        service.process.send_signal(signal.SIGTERM)
        service.until(lambda: not service.get("/health/live").is_success, "the health check failed")
        assert [service.get(path).status_code for path in ("/health/ready", "/anime?limit=1")] == [503, 200]
        assert service.ends() == 0


def test_second_ctrl_c_during_shutdown_is_ignored(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue) as service:
        service.serves()
        os.killpg(service.pid, signal.SIGINT)
        service.prints("Shutting down")
        assert service.ended_by(signal.SIGINT, group=True) == 0


@pytest.mark.slow
def test_ctrl_c_seen_by_workers_first_is_no_failure(tmp_path: Path, catalogue: URL) -> None:
    """On a busy machine the service may get the signal after its workers have ended."""
    with kitsu(tmp_path, "serve", database=catalogue, command=("-c", LATE)) as service:
        service.serves()
        assert service.ended_by(signal.SIGINT, group=True) == 0
        assert "Unexpected" not in service.output


@pytest.mark.slow
async def test_ctrl_c_while_waiting_to_migrate_changes_nothing(tmp_path: Path, bare_database: URL) -> None:
    holder = await connect(bare_database)
    waiting = "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        with kitsu(tmp_path, "run", database=bare_database) as service:
            while not await holder.fetchval(waiting):
                assert service.process.poll() is None, service.errors
            assert await asyncio.to_thread(service.ended_by, signal.SIGINT, group=True) == 0
        assert await holder.fetchval("SELECT to_regclass('anime')") is None
    finally:
        await holder.close()


MOMENTS = ["load_sample", "AbstractServer.startup"]


@pytest.mark.slow
def test_signal_inside_function_ends_start(tmp_path: Path, bare_database: URL) -> None:
    """The handler raises an exception inside the function that runs at that moment."""

    def check(function: str) -> None:
        with signalled(tmp_path, function, 1, bare_database) as service:
            service.prints("signalled")
            assert service.ends() == 0

    at_once(check, [(function,) for function in MOMENTS])


@pytest.mark.slow
async def test_signal_inside_destructor_ends_start(tmp_path: Path, bare_database: URL) -> None:
    """Python drops an exception that a handler raises in a destructor."""
    holder = await connect(bare_database)
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        with signalled(tmp_path, "migrate", 1, bare_database, IN_A_DESTRUCTOR="1") as service:
            assert await asyncio.to_thread(service.ends, 10) == 0
            assert "signalled" in service.output
    finally:
        await holder.close()


@pytest.mark.slow
def test_signal_during_initdb_leaves_usable_folder() -> None:
    """An incomplete folder must not prevent the next start."""

    def check(number: int, group: bool) -> None:
        with server_folder() as folder:
            with kitsu(folder, "run") as service:
                service.until((folder / ".local" / "postgres" / "PG_VERSION").exists, "initdb was at it")
                assert service.ended_by(number, group=group) == 0
            with kitsu(folder, "migrate") as command:
                assert command.ends(30) == 0

    at_once(check, [SIGTERM, CTRL_C])


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """Yield a folder with an embedded database that is stopped."""
    with server_folder() as folder:
        with shared_server(folder / ".local" / "postgres"):
            pass
        yield folder


@pytest.mark.slow
def test_signal_during_start_of_embedded_database_stops_it(made: Path) -> None:
    with kitsu(made, "run") as service:
        service.until((made / ".local" / "postgres" / "postmaster.pid").exists, "the server began")
        assert service.ended_by(signal.SIGTERM) == 0


@pytest.mark.slow
def test_signal_during_query_of_embedded_database_stops_it(made: Path) -> None:
    with signalled(made, "BaseEventLoop.__init__", 1) as service:
        service.prints("signalled")
        assert service.ends() == 0


@pytest.mark.slow
def test_signal_after_failed_start_stops_embedded_database(made: Path) -> None:
    """A signal after a failed start must not prevent the stop of the database."""
    with shared_server(made / ".local" / "postgres") as url:
        asyncio.run(execute(url, "CREATE TABLE alembic_version AS SELECT '9999'::varchar(32) AS version_num"))
    with signalled(made, "Popen.__init__", 2) as service:
        service.prints("signalled")
        service.ends()
