"""`kitsu worker` as a process: signals, a killed worker, several workers, logs, and the worker of `kitsu run`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import ROOT, Process, kitsu, until
from tests.databases import column
from tests.jobs.samples import Fail, Note, Wait, add_table, put

SAMPLES = ("-m", "tests.jobs.samples")


def noted(database: URL) -> list[str]:
    """Return what the jobs noted."""
    return asyncio.run(column(database, "SELECT job FROM runs ORDER BY at"))


def prepare(database: URL, *jobs: Any) -> None:
    async def put_all() -> None:
        await add_table(database)
        await put(database, *jobs)

    asyncio.run(put_all())


def waits_for(database: URL, worker: Process, note: str) -> None:
    worker.until(lambda: note in noted(database), f"a job noted {note}")


def events(worker: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.output.splitlines()]


def test_worker_writes_events_and_ends_on_sigterm(tmp_path: Path, database: URL) -> None:
    prepare(database, Note("done"), Fail(times=9))
    with kitsu(tmp_path, "worker", database=database, command=SAMPLES) as worker:
        waits_for(database, worker, "gave up: ValueError: the moon is full")
        worker.prints("JobFailed")
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.process.wait(10) == 0
        assert worker.errors == ""
        found = events(worker)
    assert all({"event", "level", "time"} <= each.keys() for each in found)
    assert [each["event"] for each in found if each["event"].startswith("worker")] == [
        "worker started",
        "worker stopped",
    ]
    (finished,) = (each for each in found if each["event"] == "job finished")
    assert (finished["job"], finished["level"]) == ("note", "info")
    retried = [each for each in found if each["event"] == "job retried"]
    assert [each["retry_seconds"] for each in retried] == [0.1, 0.2]
    (failed,) = (each for each in found if each["event"] == "job failed")
    assert (failed["job"], failed["level"], failed["reason"]) == ("fail", "error", "ValueError: the moon is full")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_with_long_job_ends_within_seconds_and_another_takes_the_job(
    tmp_path: Path, database: URL, number: signal.Signals
) -> None:
    prepare(database, Wait(seconds=7))
    with kitsu(tmp_path, "worker", database=database, command=SAMPLES) as worker:
        waits_for(database, worker, "began")
        began = time.monotonic()
        assert worker.ended_by(number) == 0
        assert time.monotonic() - began < 10
    assert noted(database) == ["began"]
    with kitsu(tmp_path, "worker", database=database, command=SAMPLES) as worker:
        waits_for(database, worker, "ended")
    assert noted(database) == ["began", "began", "ended"]


@pytest.mark.slow
def test_job_of_killed_worker_runs_again(tmp_path: Path, database: URL) -> None:
    prepare(database, Wait(seconds=5))
    with kitsu(tmp_path, "worker", database=database, command=SAMPLES) as killed:
        waits_for(database, killed, "began")
        with kitsu(tmp_path, "worker", database=database, command=SAMPLES) as other:
            other.prints("worker started")
            os.kill(killed.pid, signal.SIGKILL)
            waits_for(database, other, "ended")
            other.prints("job finished")
    assert noted(database) == ["began", "began", "ended"]


def test_worker_on_database_of_another_schema_ends(tmp_path: Path, bare_database: URL) -> None:
    with kitsu(tmp_path, "worker", database=bare_database) as worker:
        assert worker.ends() == 1
        assert "run `kitsu migrate`" in worker.errors


def job_worker(service: Process) -> psutil.Process | None:
    """Return the worker of a running service."""
    children = psutil.Process(service.pid).children()
    return next((child for child in children if "worker" in child.cmdline()), None)


@pytest.mark.slow
def test_worker_of_run_is_started_again_and_ends_with_it(tmp_path: Path, database: URL) -> None:
    with kitsu(tmp_path, "run", database=database) as service:
        service.serves()
        service.prints("worker started")
        first = job_worker(service)
        assert first is not None
        first.kill()
        service.until(lambda: service.output.count("worker started") == 2, "another worker started")
        second = job_worker(service)
        assert second is not None
        assert second.pid != first.pid
        assert service.ended_by(signal.SIGTERM) == 0
        assert not second.is_running()
        assert "worker stopped" in service.output


@pytest.mark.slow
def test_worker_of_killed_run_ends(tmp_path: Path, database: URL) -> None:
    with kitsu(tmp_path, "run", database=database) as service:
        service.serves()
        service.prints("worker started")
        worker = job_worker(service)
        assert worker is not None
        os.kill(service.pid, signal.SIGKILL)
        service.process.wait(10)
        until(lambda: not worker.is_running(), "the worker had ended", seconds=10)


def test_web_worker_and_other_commands_import_neither_pgqueuer_nor_aiosmtplib() -> None:
    code = (
        "import sys, kitsu.worker, kitsu.cli; from kitsu.db import migrations; migrations.revisions(); "
        "sys.exit(bool({'pgqueuer', 'aiosmtplib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_serve_starts_no_worker(tmp_path: Path, database: URL) -> None:
    with kitsu(tmp_path, "serve", database=database) as service:
        service.serves()
        assert job_worker(service) is None
        assert service.ended_by(signal.SIGTERM) == 0
