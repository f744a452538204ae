"""Parsers of the settings of mail. Their errors never show the text, which may hold a password."""

import re
from dataclasses import dataclass, field
from email.headerregistry import Address
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from email_validator import EmailNotValidError, validate_email

_SMTP_URL = re.compile(
    r"(?P<scheme>smtps?)://(?:(?P<username>[^:@/?#\s]+):(?P<password>[^:@/?#\s]+)@)?"
    r"(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?/?(?:\?(?P<query>[^#\s]*))?",
    re.ASCII,
)
_FOLDER_URL = re.compile(r"file://(?P<folder>\.?/[^?#\0\r\n]*)")
_CONTROL_CHARACTER = re.compile(r"[\0-\x1f\x7f]")
_NAMED = re.compile(r'"?(?P<name>[^"<>]*)"?\s*<(?P<address>[^<>]*)>')
_TRUTHS = {"true": True, "false": False}
SMTP_PORT, SUBMISSION_PORT, TLS_PORT = 25, 587, 465


@dataclass(frozen=True)
class MailURL:
    """Where mails are sent: a mail server, a folder or the standard error of the worker."""

    scheme: str  # console, file, smtp or smtps
    folder: Path = Path()
    host: str = ""
    port: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    starttls: bool = False

    @property
    def is_set_up(self) -> bool:
        """Return whether mails leave the process."""
        return self.scheme != "console"

    def __str__(self) -> str:
        """Return the address without user and password."""
        if self.scheme in {"smtp", "smtps"}:
            return f"{self.scheme}://{self.host}:{self.port}"
        return "console://" if self.scheme == "console" else f"file://{self.folder}"


CONSOLE = MailURL("console")


def mail_url(text: str) -> MailURL:
    if text == "console://":
        return CONSOLE
    if match := _FOLDER_URL.fullmatch(text):
        return MailURL("file", folder=Path(match["folder"]))
    match = _SMTP_URL.fullmatch(text)
    if match is None:
        raise ValueError("it does not have this form")
    username, password = (part and unquote(part) for part in (match["username"], match["password"]))
    if any(_CONTROL_CHARACTER.search(part or "") for part in (username, password)):
        raise ValueError("its user or password has a control character")
    options = _options(match["query"] or "")
    is_tls = match["scheme"] == "smtps"
    if is_tls and options:
        raise ValueError("smtps has TLS from the start, and takes no starttls")
    # A password is never sent in the clear unless the operator says so.
    starttls = not is_tls and options.get("starttls", username is not None)
    default_port = TLS_PORT if is_tls else SUBMISSION_PORT if starttls else SMTP_PORT
    port = int(match["port"] or default_port)
    if port > 65_535:
        raise ValueError(f"the port {port} is out of range")
    host = match["host"].strip("[]")
    return MailURL(match["scheme"], Path(), host, port, username, password, starttls)


def _options(query: str) -> dict[str, bool]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("what follows its ? is no option") from None
    if unknown := sorted({name for name, _ in pairs} - {"starttls"}):
        raise ValueError(f"it has the unknown option {', '.join(map(repr, unknown))}")
    if len(pairs) > 1 or any(value not in _TRUTHS for _, value in pairs):
        raise ValueError("starttls is not true or false")
    return {name: _TRUTHS[value] for name, value in pairs}


def mailbox(text: str) -> str:
    """Return an address with an optional name in the form of a header."""
    if _CONTROL_CHARACTER.search(text):
        raise ValueError("it has a line break or another control character")
    named = _NAMED.fullmatch(text)
    name, address = (named["name"].strip(), named["address"]) if named else ("", text)
    try:
        found = validate_email(address, check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return str(Address(name, addr_spec=found.ascii_email or found.normalized))


def folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise ValueError(f"{text!r} is not a folder")
    return Path(text)
