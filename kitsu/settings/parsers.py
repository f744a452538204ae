"""How the text of each setting is read: a parser returns the value, or raises ValueError with what it must be."""

import inspect
import json
import re
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

EXAMPLE_SECRET_KEY = "change-me-to-at-least-32-random-bytes"  # noqa: S105 - that of .env.example, refused at start
ALGORITHMS = ("HS256", "HS384", "HS512")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

_DRIVER_OPTIONS = frozenset(inspect.signature(asyncpg.connect).parameters)
_LIBPQ_OPTIONS = frozenset({"sslmode", "sslrootcert"})


def integer(low: int, high: int) -> Callable[[str], int]:
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


def database_url(text: str) -> URL:
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
    if unknown := [name for name in url.query if name not in _DRIVER_OPTIONS | _LIBPQ_OPTIONS]:
        raise ValueError(f"has an option that asyncpg does not know: {', '.join(unknown)}.")
    # asyncpg's name for what libpq, and with it every hosting company, calls sslmode.
    options = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    if roots := options.get("sslrootcert"):
        _check_certificates(str(roots), options.get("ssl"))
    return url.set(drivername="postgresql+asyncpg", query=options)


def _check_certificates(roots: str, mode: object) -> None:
    if mode not in {"verify-ca", "verify-full"}:
        raise ValueError("has sslrootcert, which is for ssl=verify-full or verify-ca.")
    try:
        if roots != "system":  # which are those that the machine trusts
            ssl.create_default_context(cafile=roots)
    except OSError as error:  # of which SSLError is one
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"names certificates in sslrootcert={roots} that can't be read: {reason}.") from None


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


def _media_url(text: str) -> str:
    if re.fullmatch(r"file://\.?/[^?#]*|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?", text):
        return text
    # A password has no place here, and is not repeated.
    raise ValueError("must be file://./folder, file:///absolute/folder or s3://bucket/prefix.")


def _web_url(text: str) -> str:
    wrong = "must be an address such as https://media.example.org, without a user, a query or a fragment."
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or re.search(r"[\s@?#]", text):
        raise ValueError(wrong)
    return text.rstrip("/")


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "secret_key": _secret_key,
    "db_pool_size": integer(1, 1000),
    "db_max_overflow": integer(0, 1000),
    "db_pool_recycle": integer(-1, 86_400),
    "db_pool_pre_ping": _boolean,
    "db_connect_timeout_ms": integer(100, 60_000),
    "db_pool_timeout_ms": integer(100, 60_000),
    "db_statement_timeout_ms": integer(100, 600_000),
    "db_lock_timeout_ms": integer(100, 600_000),
    "db_idle_in_transaction_timeout_ms": integer(1000, 600_000),
    "catalogue_memory_mb": integer(0, 65_536),
    "access_token_expire_minutes": integer(1, 1440),
    "refresh_token_expire_days": integer(1, 3650),
    "refresh_leeway_seconds": integer(0, 300),
    "refresh_retry": _one_of(("refuse", "same")),
    "algorithm": _one_of(ALGORITHMS),
    "password_threads": integer(1, 64),
    "password_queue": integer(0, 100_000),
    "refuse_common_passwords": _boolean,
    "login_refusal_ms": integer(0, 10_000),
    "rate_limit_enabled": _boolean,
    "rate_limit_login": _rate,
    "rate_limit_login_address": _rate,
    "rate_limit_register": _rate,
    "rate_limit_refresh": _rate,
    "rate_limit_search": _rate,
    "rate_limit_avatar": _rate,
    "media_url": _media_url,
    "media_s3_endpoint": _web_url,
    "media_public_url": _web_url,
    "trusted_proxies": _networks,
    "allowed_origins": _origins,
    "debug": _boolean,
    "app_name": str,
    "host": str,
    "port": integer(1, 65_535),
    "workers": integer(1, 256),
    "worker_memory_mb": integer(0, 65_536),
    "worker_stall_seconds": integer(0, 3600),
    "body_timeout_seconds": integer(1, 600),
    "stop_timeout_seconds": integer(1, 600),
    "metrics_enabled": _boolean,
    "backup_max_age_hours": integer(0, 8760),
    "log_level": lambda text: _one_of(LOG_LEVELS)(text.lower()),
}
