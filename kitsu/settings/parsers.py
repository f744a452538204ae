"""Parsers of settings: each converts the text of a setting, or raises ValueError that says what is wrong with it."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import msgspec
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kitsu.settings import mail

EXAMPLE_SECRET_KEY = "change-me-to-at-least-32-random-bytes"  # noqa: S105 - that of .env.example, refused at start

# Those of asyncpg's `connect` that are a text. It calls ssl what libpq, and every hosting company, calls sslmode.
_URL_OPTIONS = {"host", "port", "user", "password", "passfile", "database", "service", "servicefile"} | {
    *("ssl", "sslmode", "sslrootcert", "target_session_attrs", "krbsrvname", "gsslib")
}
_dialect: Any = dialect()  # type: ignore[no-untyped-call] # SQLAlchemy types no dialect
_CACHE_OPTIONS = {"statement_cache_size", "prepared_statement_cache_size"}
_HOSTS = r"(?P<start>[a-z+]+://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]+,[^/?#@]*)(?P<path>/[^?#]*)(?:\?(?P<query>.*))?"
_WEB_URL = r"(?i:https?)://(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?(?P<path>/[^\s@?#]*)?"
_MEDIA_URL = r"file://\.?/[^?#]*|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?"
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Parser:
    """A function that parses the text of a setting. `NAME must be {accepts}` is part of its error messages."""

    accepts: str
    parse: Callable[[str], Any]


def integer(low: int, high: int, unit: str = "") -> Parser:
    """Return a parser of whole numbers within the bounds. The unit is only documentation."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number in this range")
        return int(text)

    return Parser(f"{low} to {high} {unit}".rstrip(), parse)


def one_of(*choices: str, fold_case: bool = False) -> Parser:
    """Return a parser that accepts only these texts. `fold_case` lowers the text first."""

    def parse(text: str) -> str:
        value = text.lower() if fold_case else text
        if value not in choices:
            raise ValueError(f"it is {text!r}")
        return value

    return Parser(f"{', '.join(choices[:-1])} or {choices[-1]}", parse)


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError(f"it is {text!r}")
    return text.lower() in _TRUE


def _rate(text: str) -> tuple[int, int]:
    rate = _match(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,5})", text)
    return int(rate[1]), int(rate[2])


def _match(pattern: str, text: str) -> re.Match[str]:
    match = re.fullmatch(pattern, text)
    if match is None:
        shown = "a text with @ or ?" if re.search("[@?]", text) else repr(text)  # it may hold a password
        raise ValueError(f"{shown} does not have this form")
    return match


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _networks(text: str) -> tuple[str, ...]:
    for network in _items(text):
        ip_network(network)
    return _items(text)


def _check_ids(text: str) -> tuple[str, ...]:
    return tuple(_match(r"kitsu\.[EW][0-9]{3}", item)[0] for item in _items(text))


def _secret_key(text: str) -> str:
    if text == EXAMPLE_SECRET_KEY:
        raise ValueError("it is still the one of .env.example")
    if len(text.encode()) < 32:
        raise ValueError(f"it has {len(text.encode())} bytes")
    return text


def _database_url(text: str) -> URL:
    try:
        url = make_url(_with_options(text))
    except (ArgumentError, ValueError):  # the library's message repeats the text, which may hold a password
        raise ValueError("it does not have this form") from None
    if url.drivername not in {"postgresql+asyncpg", "postgresql", "postgres"}:
        raise ValueError(f"it begins with {url.drivername}://")
    if url.port is not None and not 1 <= url.port <= 65_535:
        raise ValueError(f"the port {url.port} is out of range")
    if not url.database:
        raise ValueError("it names no database")
    if _CACHE_OPTIONS & url.query.keys():
        raise ValueError("it has an option for poolers: set DB_POOLER=transaction in its place")
    if unknown := url.query.keys() - _URL_OPTIONS:
        raise ValueError(f"it has an option that asyncpg does not know: {', '.join(sorted(unknown))}")
    options = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    if roots := options.get("sslrootcert"):
        _check_certificates(str(roots), options.get("ssl"))
    found = url.set(drivername="postgresql+asyncpg", query=options)
    _check_hosts(found)
    return found


def _database_urls(text: str) -> tuple[URL, ...]:
    return tuple(_database_url(item) for item in _items(text))


def _with_options(text: str) -> str:
    """Return an address whose hosts are options, as SQLAlchemy has them, if there are several in libpq's form."""
    several = re.fullmatch(_HOSTS, text)
    if several is None:
        return text
    hosts = [host if re.search(r":[0-9]+$", host) else f"{host}:5432" for host in several["hosts"].split(",")]
    query = "&".join([*(f"host={host}" for host in hosts), *([several["query"]] if several["query"] else [])])
    return f"{several['start']}{several['path']}?{query}"


def _check_hosts(url: URL) -> None:
    try:
        ports = _dialect.create_connect_args(url)[1].get("port")
    except ArgumentError:
        raise ValueError("its hosts are not understood: several hosts have the form host1:5432,host2:5432") from None
    if isinstance(ports, list) and not all(1 <= port <= 65_535 for port in ports):
        raise ValueError(f"one of the ports {ports} is out of range")


def _check_certificates(roots: str, mode: object) -> None:
    if mode not in {"verify-ca", "verify-full"}:
        raise ValueError("it has sslrootcert, which needs ssl=verify-full or verify-ca")
    try:
        if roots != "system":  # the certificates that the machine trusts
            ssl.create_default_context(cafile=roots)
    except OSError as error:  # SSLError is a subclass
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"sslrootcert={roots} can't be read: {reason}") from None


def _origins(text: str) -> tuple[str, ...]:
    is_json = text.startswith("[")
    origins = msgspec.json.decode(text, type=tuple[str, ...]) if is_json else text.split(",")
    return tuple(_origin(origin.strip()) for origin in origins if origin.strip())


def _origin(text: str) -> str:
    """Return the origin as a browser sends it: in lower case, without the scheme's own port."""
    if "*" in text:
        raise ValueError("* is not allowed: with credentials, every origin has to be named")
    if _web_url(text)["path"]:
        raise ValueError(f"{text!r} has a path or a trailing slash, which browsers don't send")
    return text.lower().removesuffix(":443" if text.lower().startswith("https") else ":80")


def _web_url(text: str) -> re.Match[str]:
    match = _match(_WEB_URL, text)
    if int(match["port"] or 80) > 65_535:
        raise ValueError(f"the port {match['port']} is out of range")
    return match


def origin_of(address: str) -> str:
    """Return the origin of an http or https address."""
    parts = urlsplit(address.lower())
    return _origin(f"{parts.scheme}://{parts.netloc}")


def host_of(address: str) -> str:
    """Return the host of an http or https address, without brackets."""
    return urlsplit(address).hostname or ""


def _domain(text: str) -> str:
    return _match(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", text.lower())[0]


def _time_of_day(text: str) -> time | None:
    if text.lower() == "off":
        return None
    hours, minutes = _match(r"([01][0-9]|2[0-3]):([0-5][0-9])", text).groups()
    return time(int(hours), int(minutes))


def _timezone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError(f"{text!r} is not the name of a time zone")
    return text


# Types of fields with the parser of each.
Text = Annotated[str, Parser("text", str)]
Flag = Annotated[bool, Parser("true or false", _boolean)]
Rate = Annotated[tuple[int, int], Parser("tries/seconds, such as 5/900", _rate)]
Networks = Annotated[tuple[str, ...], Parser("addresses or networks such as 10.0.0.0/8, comma-separated", _networks)]
CheckIds = Annotated[tuple[str, ...], Parser("ids such as kitsu.W001, comma-separated", _check_ids)]
Origins = Annotated[tuple[str, ...], Parser("origins such as https://a.example, comma-separated or in JSON", _origins)]
SecretKey = Annotated[str, Parser("32 random bytes or more", _secret_key)]
DatabaseURLs = Annotated[tuple[URL, ...], Parser("addresses as DATABASE_URL, comma-separated", _database_urls)]
DatabaseURL = Annotated[URL | None, Parser("postgresql+asyncpg://user:password@host:5432/name", _database_url)]
MediaURL = Annotated[
    str,
    Parser("file://./folder, file:///absolute/folder or s3://bucket/prefix", lambda text: _match(_MEDIA_URL, text)[0]),
]
Timezone = Annotated[str, Parser("an IANA name such as Asia/Tokyo", _timezone)]
TimeOfDay = Annotated[time | None, Parser("a time such as 04:30, in UTC, or off", _time_of_day)]
WebURL = Annotated[str | None, Parser("an http or https address", lambda text: _web_url(text)[0].rstrip("/"))]
Domain = Annotated[str | None, Parser("a domain such as example.org", _domain)]
OptionalFlag = Annotated[bool | None, Parser("true or false", _boolean)]
FrontEndURL = Annotated[str, Parser("an http or https address", lambda text: _web_url(text)[0].rstrip("/"))]
MailURL = Annotated[
    mail.MailURL,
    Parser(
        "smtp://user:password@host:587?starttls=true, smtps://user:password@host, file://./folder or console://",
        mail.mail_url,
    ),
]
Mailbox = Annotated[str, Parser("an address such as Kitsu <noreply@example.org>", mail.mailbox)]
Folder = Annotated[Path | None, Parser("an existing folder", mail.folder)]
