"""`kitsu check`: what is misconfigured, and how to mend it."""

import sys

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.cli.database import on_database, the_database
from kitsu.db import migrations
from kitsu.settings import Settings, SettingsError, load_settings

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
    except click.ClickException as error:
        problems.append(error.message)
    for problem in problems:
        click.echo(f"- {problem}")
    if problems:
        click.echo(f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'} found.")
        sys.exit(1)
    click.echo("Nothing is wrong.")


async def _schema_problems(engine: AsyncEngine) -> list[str]:
    problem = migrations.explain(await migrations.current(engine))
    return [problem] if problem else []


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
        "LOGIN_REFUSAL_MS is below 500, shorter than the check of an old password: set it to 1000.": (
            settings.login_refusal_ms < 500
        ),
    }
    return [problem for problem, is_there in found.items() if is_there]
