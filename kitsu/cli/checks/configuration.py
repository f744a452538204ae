"""Checks of the settings and of the machine's kernel."""

import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import URL

from kitsu.cli.checks.registry import CHECKS, Problem, Tag, check
from kitsu.db.engine import Timeouts
from kitsu.settings import Settings, misspelled_names

SYSCTL = Path("/proc/sys")
MIN_DISTINCT_CHARACTERS = 10
"""A random key of 32 bytes has more distinct characters; a repeated word has fewer."""
MIN_LOGIN_REFUSAL_MS = 500
MAX_REQUEST_SECONDS = 3.0
"""Time within which a request gets a response, also when the database gives none."""


@check("kitsu.W001", Tag.SETTINGS)
def misspelled_settings() -> list[Problem]:
    """Report names in `.env` that resemble a setting."""
    return [
        Problem(f".env sets {name}, which is not a setting.", f"Rename it to {similar}, or remove it.")
        for name, similar in misspelled_names().items()
    ]


@check("kitsu.E002", Tag.SETTINGS)
def silenced_checks(settings: Settings) -> list[Problem]:
    """Report ids in SILENCED_CHECKS that no check has."""
    return [
        Problem(f"SILENCED_CHECKS has the unknown id {unknown}.", "Remove it; deploy/README.md lists the checks.")
        for unknown in settings.silenced_checks
        if unknown not in CHECKS
    ]


def _is_off(name: str) -> bool:
    """Return whether the kernel has this parameter and it is 0."""
    try:
        return (SYSCTL / name).read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def _is_unencrypted(url: URL | None) -> bool:
    # A host without a dot is this machine, or in a network of containers on it.
    if url is None or url.host is None or "." not in url.host or url.host == "127.0.0.1":
        return False
    return str(url.query.get("ssl", "prefer")) in {"disable", "allow", "prefer"}


def _check(check_id: str, *tags: Tag, wrong: Callable[[Settings], object], problem: str, hint: str) -> None:
    """Register a check of settings for a deployment, which reports the problem when `wrong` returns true."""

    @check(check_id, *tags, Tag.SETTINGS, deploy=True)
    def function(settings: Settings) -> list[Problem]:
        return [Problem(problem, hint)] if wrong(settings) else []


_check(
    "kitsu.W003",
    wrong=lambda settings: not settings.allowed_origins,
    problem="ALLOWED_ORIGINS is empty: no browser page can use the API.",
    hint="Set it to the origin of the front end.",
)
_check(
    "kitsu.W004",
    wrong=lambda settings: settings.log_level not in {"info", "debug"},
    problem="LOG_LEVEL hides the log lines of requests and logins.",
    hint="Set LOG_LEVEL=info.",
)
_check(
    "kitsu.W005",
    wrong=lambda settings: settings.workers > 4 * (os.cpu_count() or 1),
    problem="WORKERS is more than four for each processor.",
    hint="Lower WORKERS.",
)
_check(
    "kitsu.W006",
    wrong=lambda settings: settings.workers > 1 and _is_off("net/ipv4/tcp_migrate_req"),
    problem="Connections that wait for a worker are lost when the worker is replaced.",
    hint="Set net.ipv4.tcp_migrate_req=1 with sysctl.",
)
_check(
    "kitsu.E107",
    Tag.DATABASE,
    wrong=lambda settings: settings.database_url is None,
    problem="DATABASE_URL is not set: the embedded PostgreSQL is used.",
    hint="Set DATABASE_URL.",
)
_check(
    "kitsu.W108",
    Tag.DATABASE,
    wrong=lambda settings: settings.db_lock_timeout_ms >= settings.db_statement_timeout_ms,
    problem="DB_LOCK_TIMEOUT_MS is not shorter than DB_STATEMENT_TIMEOUT_MS: a lock looks like a slow statement.",
    hint="Lower DB_LOCK_TIMEOUT_MS.",
)
_check(
    "kitsu.W109",
    Tag.DATABASE,
    wrong=lambda settings: Timeouts(statement=settings.db_statement_timeout_ms / 1000).request > MAX_REQUEST_SECONDS,
    problem=f"DB_STATEMENT_TIMEOUT_MS lets a request take more than {MAX_REQUEST_SECONDS:g} s.",
    hint="Set DB_STATEMENT_TIMEOUT_MS to 2400 or less.",
)
_check(
    "kitsu.W303",
    Tag.MEDIA,
    wrong=lambda settings: settings.media_url.startswith("file://."),
    problem="MEDIA_URL is a folder in the working directory: the next start may have another one.",
    hint="Set an absolute folder, such as file:///var/lib/kitsu.",
)
_check(
    "kitsu.E401",
    Tag.SECURITY,
    wrong=lambda settings: len(set(settings.secret_key)) < MIN_DISTINCT_CHARACTERS,
    problem="SECRET_KEY does not look random.",
    hint="Generate one with `openssl rand -hex 32`.",
)
_check(
    "kitsu.E402",
    Tag.SECURITY,
    wrong=lambda settings: settings.debug,
    problem="DEBUG is on: every statement is logged with its values.",
    hint="Set DEBUG=false.",
)
_check(
    "kitsu.E403",
    Tag.SECURITY,
    wrong=lambda settings: not settings.rate_limit_enabled,
    problem="RATE_LIMIT_ENABLED is off: passwords can be guessed.",
    hint="Set RATE_LIMIT_ENABLED=true.",
)
_check(
    "kitsu.W404",
    Tag.SECURITY,
    wrong=lambda settings: not settings.refuse_common_passwords,
    problem="REFUSE_COMMON_PASSWORDS is off: users can choose passwords that attackers try first.",
    hint="Set REFUSE_COMMON_PASSWORDS=true.",
)
_check(
    "kitsu.W405",
    Tag.SECURITY,
    wrong=lambda settings: settings.login_refusal_ms < MIN_LOGIN_REFUSAL_MS,
    problem=f"LOGIN_REFUSAL_MS is below {MIN_LOGIN_REFUSAL_MS}: the check of an old password takes longer.",
    hint="Set LOGIN_REFUSAL_MS=1000.",
)
_check(
    "kitsu.W406",
    Tag.SECURITY,
    wrong=lambda settings: not settings.trusted_proxies,
    problem="TRUSTED_PROXIES is not set: behind a proxy all clients share one address and its rate limits.",
    hint="Set it to the address of the proxy.",
)
_check(
    "kitsu.E407",
    Tag.SECURITY,
    wrong=lambda settings: any(network.endswith("/0") for network in settings.trusted_proxies),
    problem="TRUSTED_PROXIES trusts every address: any client can claim any address.",
    hint="Set it to the proxies alone.",
)
_check(
    "kitsu.W408",
    Tag.SECURITY,
    wrong=lambda settings: any(origin.startswith("http://") for origin in settings.allowed_origins),
    problem="ALLOWED_ORIGINS has an origin without TLS.",
    hint="Use https origins only.",
)
_check(
    "kitsu.E409",
    Tag.SECURITY,
    Tag.DATABASE,
    wrong=lambda settings: _is_unencrypted(settings.database_url),
    problem="The database is reached over a network without TLS.",
    hint="Add ?ssl=verify-full&sslrootcert=FILE to DATABASE_URL.",
)
