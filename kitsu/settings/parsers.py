"""Parsers of settings: each returns the value of a text, or raises ValueError that says what the text must be."""

import inspect
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

T = TypeVar("T")

EXAMPLE_SECRET_KEY = "change-me-to-at-least-32-random-bytes"  # noqa: S105 - that of .env.example, refused at start

_DRIVER_OPTIONS = frozenset(inspect.signature(asyncpg.connect).parameters)
_LIBPQ_OPTIONS = frozenset({"sslmode", "sslrootcert"})


@dataclass(frozen=True)
class Parser(Generic[T]):
    """A function that parses the text of a setting, with the values it accepts in words for the documentation."""

    accepts: str
    parse: Callable[[str], T]


def integer(low: int, high: int, unit: str = "") -> Parser[int]:
    """Return a parser of whole numbers within the bounds. The unit is only documentation."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {text!r}.")
        return int(text)

    return Parser(f"{low} to {high} {unit}".rstrip(), parse)


def _boolean(text: str) -> bool:
    values = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
    if text.lower() not in values:
        raise ValueError(f"must be true or false, not {text!r}.")
    return values[text.lower()]


def one_of(*choices: str, fold_case: bool = False) -> Parser[str]:
    """Return a parser that accepts only these texts. `fold_case` lowers the text first."""

    def parse(text: str) -> str:
        text = text.lower() if fold_case else text
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {text!r}.")
        return text

    return Parser(f"{', '.join(choices[:-1])} or {choices[-1]}", parse)


def _rate(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,5})", text)
    if found is None:
        raise ValueError(f"must be tries/seconds, such as 5/900, not {text!r}.")
    return int(found[1]), int(found[2])


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _networks(text: str) -> tuple[str, ...]:
    for network in _listed(text):
        try:
            ip_network(network)
        except ValueError:
            raise ValueError(f"must list addresses or networks such as 10.0.0.0/8, not {network!r}.") from None
    return _listed(text)


def _check_ids(text: str) -> tuple[str, ...]:
    for check_id in _listed(text):
        if not re.fullmatch(r"kitsu\.[EW][0-9]{3}", check_id):
            raise ValueError(f"must list ids of checks such as kitsu.W001, not {check_id!r}.")
    return _listed(text)


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
    if unknown := [name for name in url.query if name not in _DRIVER_OPTIONS | _LIBPQ_OPTIONS]:
        raise ValueError(f"has an option that asyncpg does not know: {', '.join(unknown)}.")
    # asyncpg calls ssl what libpq, and with it every hosting company, calls sslmode.
    options = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    if roots := options.get("sslrootcert"):
        _check_certificates(str(roots), options.get("ssl"))
    return url.set(drivername="postgresql+asyncpg", query=options)


def _check_certificates(roots: str, mode: object) -> None:
    if mode not in {"verify-ca", "verify-full"}:
        raise ValueError("has sslrootcert, which is for ssl=verify-full or verify-ca.")
    try:
        if roots != "system":  # the certificates that the machine trusts
            ssl.create_default_context(cafile=roots)
    except OSError as error:  # SSLError is a subclass
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"names certificates in sslrootcert={roots} that can't be read: {reason}.") from None


def _origins(text: str) -> tuple[str, ...]:
    if not text.startswith("["):
        return tuple(map(_origin, _listed(text)))
    try:
        origins = json.loads(text)
    except ValueError:
        raise ValueError("begins like a JSON array and is not valid JSON.") from None
    if not all(isinstance(origin, str) for origin in origins):
        raise ValueError("must be a JSON array of texts.")
    return tuple(_origin(origin.strip()) for origin in origins if origin.strip())


def _origin(origin: str) -> str:
    if "@" in origin:  # not repeated in the message: the text before @ may hold a password
        raise ValueError("must list origins without a user, such as https://kitsu.example.org.")
    wrong = f"must list origins such as https://kitsu.example.org, not {origin!r}"
    if origin == "*":
        raise ValueError("may not be *: with credentials allowed, every origin has to be named.")
    parts = _split_web_url(origin, f"{wrong}.", refused=r"[*\s]")
    if parts.path or parts.query or parts.fragment or origin.endswith(("?", "#")):
        raise ValueError(f"{wrong} (no path and no trailing slash: a browser sends none).")
    # A browser sends the origin in lower case and without the scheme's own port.
    default_port = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port and parts.port != default_port else "")


def _web_url(text: str) -> str:
    wrong = "must be an address such as https://media.example.org, without a user, a query or a fragment."
    _split_web_url(text, wrong, refused=r"[\s@?#]")
    return text.rstrip("/")


def _split_web_url(text: str, wrong: str, *, refused: str) -> SplitResult:
    """Return the parts of an http or https address. Raises ValueError, also for characters of the pattern."""
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # of the host or the port
        is_valid = False
    if not is_valid or re.search(refused, text):
        raise ValueError(wrong)
    return parts


def _media_url(text: str) -> str:
    if re.fullmatch(r"file://\.?/[^?#]*|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?", text):
        return text
    # The text is not repeated in the message: it may hold a password.
    raise ValueError("must be file://./folder, file:///absolute/folder or s3://bucket/prefix.")


# Types of fields with the parser of each.
Text = Annotated[str, Parser("text", str)]
Flag = Annotated[bool, Parser("true or false", _boolean)]
Rate = Annotated[tuple[int, int], Parser("tries/seconds", _rate)]
Networks = Annotated[tuple[str, ...], Parser("addresses or networks, comma-separated", _networks)]
CheckIds = Annotated[tuple[str, ...], Parser("ids such as kitsu.W001, comma-separated", _check_ids)]
Origins = Annotated[tuple[str, ...], Parser("origins, comma-separated or as a JSON array", _origins)]
SecretKey = Annotated[str, Parser("32 random bytes or more", _secret_key)]
DatabaseURL = Annotated[URL, Parser("postgresql+asyncpg://user:password@host:5432/name", _database_url)]
MediaURL = Annotated[str, Parser("file://./folder, file:///absolute/folder or s3://bucket/prefix", _media_url)]
WebURL = Annotated[str, Parser("an http or https address", _web_url)]
