"""Checks of the settings and of the machine's kernel."""

import os
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from dotenv import dotenv_values

from kitsu.cli.checks.registry import CHECKS, Tag, check
from kitsu.db.engine import Timeouts
from kitsu.settings import ENV_FILE, SETTINGS, Settings
from kitsu.settings.parsers import origin_of

SYSCTL = Path("/proc/sys")
MIN_DISTINCT_CHARACTERS = 10  # a random key of 32 bytes has more distinct characters; a repeated word has fewer
MIN_LOGIN_REFUSAL_MS = 500
MAX_REQUEST_SECONDS = 3.0  # time within which a request gets a response, also when the database gives none
_TLS_HINT = "Add ?ssl=verify-full&sslrootcert=FILE to DATABASE_URL."


@check("kitsu.W001", Tag.SETTINGS)
def misspelled_settings() -> Iterator[str]:
    for name in sorted(dotenv_values(ENV_FILE, interpolate=False).keys() - SETTINGS):
        for similar in get_close_matches(name.upper(), SETTINGS, n=1, cutoff=0.85):
            yield f".env sets {name}, which is not a setting: rename it to {similar}, or remove it."


@check("kitsu.E002", Tag.SETTINGS, hint="Remove it; deploy/README.md lists the checks.")
def silenced_checks(settings: Settings) -> Iterator[str]:
    for unknown in sorted({*settings.silenced_checks} - CHECKS.keys()):
        yield f"SILENCED_CHECKS has the unknown id {unknown}."


@check("kitsu.W003", Tag.SETTINGS, deploy=True, hint="Set it to the origin of the front end.")
def missing_origins(settings: Settings) -> Iterator[str]:
    if not settings.allowed_origins:
        yield "ALLOWED_ORIGINS is empty: no browser page can use the API."


@check("kitsu.W004", Tag.SETTINGS, deploy=True, hint="Set LOG_LEVEL=info.")
def hidden_log_lines(settings: Settings) -> Iterator[str]:
    if settings.log_level not in {"info", "debug"}:
        yield "LOG_LEVEL hides the log lines of requests and logins."


@check("kitsu.W005", Tag.SETTINGS, deploy=True, hint="Lower WORKERS.")
def too_many_workers(settings: Settings) -> Iterator[str]:
    if settings.workers > 4 * (os.cpu_count() or 1):
        yield "WORKERS is more than four for each processor."


@check("kitsu.W006", Tag.SETTINGS, deploy=True, hint="Set net.ipv4.tcp_migrate_req=1 with sysctl.")
def lost_connections(settings: Settings) -> Iterator[str]:
    with suppress(OSError):  # not every kernel has the parameter
        if settings.workers > 1 and (SYSCTL / "net/ipv4/tcp_migrate_req").read_text(encoding="ascii").strip() == "0":
            yield "Connections that wait for a worker are lost when the worker is replaced."


@check("kitsu.E107", Tag.DATABASE, Tag.SETTINGS, deploy=True, hint="Set DATABASE_URL.")
def embedded_database(settings: Settings) -> Iterator[str]:
    if settings.database_url is None:
        yield "DATABASE_URL is not set: the embedded PostgreSQL is used."


@check("kitsu.W108", Tag.DATABASE, Tag.SETTINGS, deploy=True, hint="Lower DB_LOCK_TIMEOUT_MS.")
def long_lock_timeout(settings: Settings) -> Iterator[str]:
    if settings.db_lock_timeout_ms >= settings.db_statement_timeout_ms:
        yield "DB_LOCK_TIMEOUT_MS is not shorter than DB_STATEMENT_TIMEOUT_MS: a lock looks like a slow statement."


@check("kitsu.W109", Tag.DATABASE, Tag.SETTINGS, deploy=True, hint="Set DB_STATEMENT_TIMEOUT_MS to 2400 or less.")
def long_statement_timeout(settings: Settings) -> Iterator[str]:
    if Timeouts(statement=settings.db_statement_timeout_ms / 1000).request > MAX_REQUEST_SECONDS:
        yield f"DB_STATEMENT_TIMEOUT_MS lets a request take more than {MAX_REQUEST_SECONDS:g} s."


@check(
    "kitsu.W303", Tag.MEDIA, Tag.SETTINGS, deploy=True, hint="Set an absolute folder, such as file:///var/lib/kitsu."
)
def relative_media_folder(settings: Settings) -> Iterator[str]:
    if settings.media_url.startswith("file://."):
        yield "MEDIA_URL is a folder in the working directory: the next start may have another one."


@check("kitsu.E401", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Generate one with `openssl rand -hex 32`.")
def weak_secret_key(settings: Settings) -> Iterator[str]:
    if len(set(settings.secret_key)) < MIN_DISTINCT_CHARACTERS:
        yield "SECRET_KEY does not look random."


@check("kitsu.E402", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set DEBUG=false.")
def debug_mode(settings: Settings) -> Iterator[str]:
    if settings.debug:
        yield "DEBUG is on: every statement is logged with its values."


@check("kitsu.E403", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set RATE_LIMIT_ENABLED=true.")
def disabled_rate_limits(settings: Settings) -> Iterator[str]:
    if not settings.rate_limit_enabled:
        yield "RATE_LIMIT_ENABLED is off: passwords can be guessed."


@check("kitsu.W404", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set REFUSE_COMMON_PASSWORDS=true.")
def common_passwords(settings: Settings) -> Iterator[str]:
    if not settings.refuse_common_passwords:
        yield "REFUSE_COMMON_PASSWORDS is off: users can choose passwords that attackers try first."


@check("kitsu.W405", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set LOGIN_REFUSAL_MS=1000.")
def short_login_refusal(settings: Settings) -> Iterator[str]:
    if settings.login_refusal_ms < MIN_LOGIN_REFUSAL_MS:
        yield f"LOGIN_REFUSAL_MS is below {MIN_LOGIN_REFUSAL_MS}: the check of an old password takes longer."


@check("kitsu.W406", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set it to the address of the proxy.")
def missing_proxies(settings: Settings) -> Iterator[str]:
    if not settings.trusted_proxies:
        yield "TRUSTED_PROXIES is not set: behind a proxy all clients share one address and its rate limits."


@check("kitsu.E407", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set it to the proxies alone.")
def trust_in_every_address(settings: Settings) -> Iterator[str]:
    if any(network.endswith("/0") for network in settings.trusted_proxies):
        yield "TRUSTED_PROXIES trusts every address: any client can claim any address."


@check("kitsu.W408", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Use https origins only.")
def origins_without_tls(settings: Settings) -> Iterator[str]:
    if any(origin.startswith("http://") for origin in settings.allowed_origins):
        yield "ALLOWED_ORIGINS has an origin without TLS."


@check("kitsu.E409", Tag.SECURITY, Tag.DATABASE, Tag.SETTINGS, deploy=True, hint=_TLS_HINT)
def database_without_tls(settings: Settings) -> Iterator[str]:
    for name, url in (("DATABASE_URL", settings.database_url), ("DATABASE_DIRECT_URL", settings.database_direct_url)):
        # A host without a dot is this machine, or in a network of containers on it.
        if url is None or url.host is None or "." not in url.host or url.host == "127.0.0.1":
            continue
        if url.query.get("ssl", "prefer") in {"disable", "allow", "prefer"}:
            yield f"{name} reaches the database over a network without TLS."


@check("kitsu.W410", Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Set REQUIRE_ADMIN_SECOND_FACTOR=true.")
def optional_second_factor(settings: Settings) -> Iterator[str]:
    if not settings.require_admin_second_factor:
        yield "REQUIRE_ADMIN_SECOND_FACTOR is off: an administrator's password is enough to sign in."


@check("kitsu.W411", Tag.SETTINGS, deploy=True, hint="Set PASSKEY_DOMAIN to the domain of both, such as example.org.")
def pages_without_passkeys(settings: Settings) -> Iterator[str]:
    domain, origins = settings.relying_party
    pages = [settings.frontend_url, *([settings.public_url] if settings.admin_enabled and settings.public_url else [])]
    for page in pages:
        if origin_of(page) not in origins:
            yield f"Passkeys are made for {domain} and don't work at {page}."
