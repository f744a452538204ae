"""`kitsu check`: what is misconfigured, and how to mend it."""

import asyncio
import os
import sys

import click
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import on_database, the_database
from kitsu.db import migrations
from kitsu.domain.media import MediaStore
from kitsu.errors import ServiceUnavailable
from kitsu.settings import Settings, SettingsError, load_settings

OLDEST, NEWEST = 15, 18
MAX_WAIT_MS = 3000
"""Within which a request is answered, also with a database that does not."""
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
            problems += on_database(url, _schema_problems)
            if deploy:
                problems += on_database(url, lambda engine: _server_problems(engine, settings))
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


async def _schema_problems(engine: AsyncEngine) -> list[str]:
    problem = migrations.explain(await migrations.current(engine))
    return [problem] if problem else []


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
        "The database is reached over a network without TLS: add ?ssl=require to DATABASE_URL.": _is_in_the_open(
            engine.url
        ),
    }
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        found[f"PostgreSQL's {name} is off, so that what was acknowledged can be lost: set {name} = on."] = (
            server[name] == "off"
        )
    return [problem for problem, is_there in found.items() if is_there]


def _is_in_the_open(url: URL) -> bool:
    # A name without a dot is one of this machine, or of a network of containers on it.
    host = url.host or ""
    return "." in host and host != "127.0.0.1" and url.query.get("ssl") in {None, "disable"}


async def _media_problems(settings: Settings) -> list[str]:
    try:
        await MediaStore(settings.media_url, settings.media_s3_endpoint).probe()
    except ServiceUnavailable:
        return [f"Nothing can be stored at {settings.media_url}: make the folder or the bucket, and let Kitsu write."]
    return []


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
        "DB_POOL_TIMEOUT_MS and DB_CONNECT_TIMEOUT_MS or DB_STATEMENT_TIMEOUT_MS are together more than 3 s, which is "
        "long for a page that waits: lower them.": (
            settings.db_pool_timeout_ms + max(settings.db_connect_timeout_ms, settings.db_statement_timeout_ms)
            > MAX_WAIT_MS
        ),
        "WORKERS is more than four for each processor: lower it.": settings.workers > 4 * (os.cpu_count() or 1),
        "LOGIN_REFUSAL_MS is below 500, shorter than the check of an old password: set it to 1000.": (
            settings.login_refusal_ms < 500
        ),
    }
    return [problem for problem, is_there in found.items() if is_there]
