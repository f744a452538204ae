"""`kitsu worker`, and the worker that `kitsu run` starts."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name

import click

from kitsu.cli.database import on_database, open_database
from kitsu.cli.signals import unwinding_on_signals
from kitsu.db import migrations
from kitsu.observability.logs import configure_logs
from kitsu.settings import load_settings

RESTART_SECONDS = 1.0
STOP_SECONDS = 12.0  # more than the worker gives its jobs


@click.command()
@click.option("--until-eof", is_flag=True, hidden=True, help="Also stop when standard input closes.")
def worker(*, until_eof: bool) -> None:
    """Run jobs, such as imports of the admin site, until SIGTERM. Several workers may run.

    A worker that stops puts a running job back into the queue unless it ends within 5 s.
    """
    settings = load_settings()
    with unwinding_on_signals(), open_database(settings.database_direct_url or settings.database_url) as url:
        on_database(url, migrations.check_schema)
        configure_logs(settings.log_level)
        # By name, as other commands and the web workers that they start do without pgqueuer.
        run_worker = resolve_name("kitsu.jobs.worker:run_worker")
        asyncio.run(run_worker(url, settings, until_eof=until_eof))


class WorkerProcess:
    """A worker that is started again when it ends. It reads DATABASE_URL and the settings from the environment."""

    def __init__(self) -> None:
        self._is_stopped = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the context ends."""
        self._start()
        supervisor = threading.Thread(target=self._supervise, name="jobs")
        supervisor.start()
        try:
            yield
        finally:
            self._is_stopped.set()
            self.restart()
            supervisor.join()

    def restart(self) -> None:
        """Stop the process; a new one is started unless the context has ended."""
        with self._lock:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _start(self) -> None:
        # It ends with this process, also a killed one: then its standard input closes. A group of its own, as this
        # process stops it when a terminal sends Ctrl-C to all of the group.
        command = [sys.executable, "-m", "kitsu", "worker", "--until-eof"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603

    def _supervise(self) -> None:
        while True:
            self._process.wait()
            self._is_stopped.wait(RESTART_SECONDS)
            with self._lock:  # a process that starts now would not be stopped
                if self._is_stopped.is_set():
                    return
                self._start()
