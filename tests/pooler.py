"""PgBouncer in transaction mode, in front of a PostgreSQL of the tests."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from tests.cli.process import free_port, until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
IS_WANTED = "KITSU_POOLER" in os.environ
"""Whether the applications of all tests reach their database through PgBouncer."""


@contextmanager
def pgbouncer(server: URL, folder: Path, **options: str) -> Iterator[URL]:
    """Start PgBouncer for all databases of a server, and yield its address. `options` are those of its file."""
    assert PROGRAM, "PgBouncer is not installed (Debian: pgbouncer)"
    port = free_port()
    host = str(server.host or server.query["host"])
    address = f"host={host} port={server.port or server.query.get('port', 5432)} user={server.username}"
    values = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "max_client_conn": "2000",
        "default_pool_size": "4",
        "server_idle_timeout": "2",
        **({"user": Path(host).owner()} if os.getuid() == 0 else {}),  # it refuses to run as root
        **options,
    }
    file = folder / f"pgbouncer-{port}.ini"
    lines = ["[databases]", f"* = {address}", "[pgbouncer]", *(f"{name} = {value}" for name, value in values.items())]
    file.write_text("\n".join(lines) + "\n")
    folder.chmod(0o755)  # as root, PgBouncer runs as another user
    log = file.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen([PROGRAM, file], stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or _accepts(port), "PgBouncer accepted")
        assert process.poll() is None, log.read_text()
        yield URL.create(server.drivername, server.username, host="127.0.0.1", port=port, database=server.database)
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
