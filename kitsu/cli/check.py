"""`kitsu check`: what is misconfigured, and how to mend it."""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import click
from sqlalchemy import select, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import on_database, the_database
from kitsu.db import migrations
from kitsu.db.engine import Timeouts
from kitsu.db.models import User
from kitsu.domain.media.orphans import key_of
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import BackupError, postgres
from kitsu.domain.operations.backup.schema import server_version
from kitsu.errors import NotFound, ServiceUnavailable
from kitsu.settings import Settings, SettingsError, load_settings

OLDEST, NEWEST = 15, 18
MAX_WAIT = 3.0
"""Within which a request is answered, also with a database that does not."""
PURGE_MAX_AGE = timedelta(days=7)
SAMPLE = 20
"""Avatars that are looked for."""
SWITCHES = Path("/proc/sys")
"""Of the kernel."""
MIN_DISTINCT = 10
"""A random key of 32 bytes has more different characters; a word repeated has fewer."""


@click.command()
@click.option("--deploy", is_flag=True, help="Also what a production install must not have.")
def check(*, deploy: bool) -> None:
    """Look at the settings, the database and its schema; the exit code is 1 when something is wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    problems = deployment_problems(settings) if deploy else []
    try:
        with the_database(settings.database_url) as url:
            problems += on_database(url, lambda engine: _database_problems(engine, settings, deploy=deploy))
    except click.ClickException as error:
        problems.append(error.message)
    if deploy:
        problems += asyncio.run(_media_problems(settings))
    for problem in problems:
        click.echo(f"- {problem}")
    if problems:
        click.echo(f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'} found.")
        sys.exit(1)
    click.echo("Nothing is wrong.")


async def _database_problems(engine: AsyncEngine, settings: Settings, *, deploy: bool) -> list[str]:
    problem = migrations.explain(await migrations.current(engine))
    found = [problem] if problem else []
    if deploy:
        found += await _server_problems(engine, settings)
        if not problem:
            found += await _run_problems(engine, settings)
            found += await _avatar_problems(engine, settings)
    return found


_SERVER = text("""
    SELECT name, setting FROM pg_settings WHERE name IN (
        'server_version_num', 'server_encoding', 'fsync', 'full_page_writes', 'synchronous_commit', 'max_connections',
        'superuser_reserved_connections', 'reserved_connections'
    )
""")


async def _server_problems(engine: AsyncEngine, settings: Settings) -> list[str]:
    async with engine.connect() as connection:
        server = dict(map(tuple, await connection.execute(_SERVER)))
    version = int(server["server_version_num"]) // 10_000
    reserved = ("superuser_reserved_connections", "reserved_connections")
    room = int(server["max_connections"]) - sum(int(server.get(name, "0")) for name in reserved)
    # One more of each worker listens to changes of the catalogue.
    wanted = settings.workers * (settings.db_pool_size + settings.db_max_overflow + 1)
    found = {
        f"PostgreSQL is of version {version}: Kitsu knows 15 to 18.": not OLDEST <= version <= NEWEST,
        f"The database's encoding is {server['server_encoding']}: make it with ENCODING 'UTF8'.": (
            server["server_encoding"] != "UTF8"
        ),
        f"{settings.workers} workers may want {wanted} connections of the {room} that PostgreSQL gives: raise its "
        "max_connections, or lower WORKERS, DB_POOL_SIZE or DB_MAX_OVERFLOW.": wanted > room,
    }
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        found[f"PostgreSQL's {name} is off, so that what was acknowledged can be lost: set {name} = on."] = (
            server[name] == "off"
        )
    return [problem for problem, is_there in found.items() if is_there]


async def _run_problems(engine: AsyncEngine, settings: Settings) -> list[str]:
    ages = await command_runs.ages(engine)
    problems = []
    longest = timedelta(hours=settings.backup_max_age_hours)
    if longest:
        try:
            async with engine.connect() as connection:
                await postgres.find("pg_dump", await server_version(connection))
        except BackupError as error:
            problems.append(f"`kitsu backup` can't work: {error}")
        problems += _too_old("backup FILE", ages.get(command_runs.BACKUP), longest)
    return problems + _too_old("purge", ages.get(command_runs.PURGE), PURGE_MAX_AGE)


def _too_old(command: str, age: timedelta | None, longest: timedelta) -> list[str]:
    if age is not None and age <= longest:
        return []
    last = "has never come to its end" if age is None else f"came to its end {_in_words(age)} ago, for the last time"
    other = ", or set BACKUP_MAX_AGE_HOURS=0 if you back up in another way" if command.startswith("backup") else ""
    return [f"`kitsu {command}` {last}: run it once a day{other}."]


def _in_words(age: timedelta) -> str:
    return f"{age.days} days" if age.days > 1 else f"{age // timedelta(hours=1)} hours"


async def _media_problems(settings: Settings) -> list[str]:
    store = MediaStore(settings.media_url, settings.media_s3_endpoint)
    if problem := store.folder_problem():
        return [f"Nothing can be stored at {settings.media_url}: {problem}"]
    try:
        await store.probe()
    except ServiceUnavailable:
        return [f"Nothing can be stored at {settings.media_url}: make the bucket, and let Kitsu write."]
    return []


async def _avatar_problems(engine: AsyncEngine, settings: Settings) -> list[str]:
    """A volume that is not mounted looks like a folder that is empty."""
    async with engine.connect() as connection:
        avatars = (await connection.scalars(select(User.avatar).where(User.avatar.is_not(None)).limit(SAMPLE))).all()
    store = MediaStore(settings.media_url, settings.media_s3_endpoint)
    for avatar in filter(None, avatars):
        try:
            await store.get(key_of(avatar))
        except NotFound:  # its user may have changed it just now
            continue
        except ServiceUnavailable:  # which is told already
            return []
        return []
    if not avatars:
        return []
    return [
        f"Users have avatars, and none is at {settings.media_url}: mount the volume that has them, or restore them."
    ]


def _is_in_the_open(url: URL | None) -> bool:
    # A name without a dot is one of this machine, or of a network of containers on it.
    if url is None or url.host is None or "." not in url.host or url.host == "127.0.0.1":
        return False
    return str(url.query.get("ssl", "prefer")) in {"disable", "allow", "prefer"}


def _is_off(switch: str) -> bool:
    """Whether the kernel has this switch, and it is off."""
    try:
        return (SWITCHES / switch).read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def deployment_problems(settings: Settings) -> list[str]:
    """What is fine at a desk and not in front of people, each with how to mend it."""
    found = {
        "DEBUG is on, which logs every statement with its values: set DEBUG=false.": settings.debug,
        "SECRET_KEY does not look random: make one with `openssl rand -hex 32`.": (
            len(set(settings.secret_key)) < MIN_DISTINCT
        ),
        "ALLOWED_ORIGINS is empty, so no browser page can use the API: name the front end's origin.": (
            not settings.allowed_origins
        ),
        "ALLOWED_ORIGINS has an origin without TLS: use https only.": any(
            origin.startswith("http://") for origin in settings.allowed_origins
        ),
        "DATABASE_URL is not set, so the embedded PostgreSQL is used: set it.": settings.database_url is None,
        "The database is reached over a network without TLS: add ?ssl=verify-full&sslrootcert=FILE to DATABASE_URL.": (
            _is_in_the_open(settings.database_url)
        ),
        "TRUSTED_PROXIES is not set: behind a proxy all clients share one address, and its limits; name the proxy.": (
            not settings.trusted_proxies
        ),
        "TRUSTED_PROXIES trusts everybody, so that anybody can claim any address: name the proxies.": any(
            network.endswith("/0") for network in settings.trusted_proxies
        ),
        "RATE_LIMIT_ENABLED is off, so passwords can be guessed: set RATE_LIMIT_ENABLED=true.": (
            not settings.rate_limit_enabled
        ),
        "REFUSE_COMMON_PASSWORDS is off: set REFUSE_COMMON_PASSWORDS=true.": not settings.refuse_common_passwords,
        "MEDIA_URL is a folder in the working directory, which the next start may not have: name it whole, such as "
        "file:///var/lib/kitsu.": settings.media_url.startswith("file://."),
        "LOG_LEVEL hides the lines of requests and logins: set LOG_LEVEL=info.": (
            settings.log_level not in {"info", "debug"}
        ),
        "DB_LOCK_TIMEOUT_MS is not shorter than DB_STATEMENT_TIMEOUT_MS, so that a lock looks like a slow statement: "
        "lower it.": settings.db_lock_timeout_ms >= settings.db_statement_timeout_ms,
        "DB_STATEMENT_TIMEOUT_MS lets a request take more than 3 s, which is long for a page that waits: set it to "
        "2400 or less.": Timeouts(statement=settings.db_statement_timeout_ms / 1000).request > MAX_WAIT,
        "WORKERS is more than four for each processor: lower it.": settings.workers > 4 * (os.cpu_count() or 1),
        "Connections that wait for a worker are lost when it is replaced: set net.ipv4.tcp_migrate_req=1 by sysctl.": (
            settings.workers > 1 and _is_off("net/ipv4/tcp_migrate_req")
        ),
        "LOGIN_REFUSAL_MS is below 500, shorter than the check of an old password: set it to 1000.": (
            settings.login_refusal_ms < 500
        ),
    }
    return [problem for problem, is_there in found.items() if is_there]
