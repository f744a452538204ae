"""The ways to send a mail, by the scheme of MAIL_URL."""

import asyncio
import os
import sys
from email.message import EmailMessage
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from kitsu.settings.mail import MailURL


class MailError(Exception):
    """A mail could not be sent now. The message has no address."""


class MailRefused(MailError):
    """A mail that will never be accepted as it is."""


class Transport(Protocol):
    """Sends mails. Raises MailError, and MailRefused if another try is of no use."""

    async def send(self, message: EmailMessage) -> None: ...

    async def probe(self) -> None:
        """Raise MailError if mails can't be sent."""
        ...


class Console:
    """Prints mails to standard error: standard output has the log."""

    async def send(self, message: EmailMessage) -> None:
        body = message.get_body(("plain",))
        text = body.get_content() if body else ""
        sys.stderr.write(f"\n--- Mail to {message['To']}: {message['Subject']}\n\n{text}\n---\n")
        sys.stderr.flush()

    async def probe(self) -> None:
        """Do nothing: it always works."""


class Folder:
    """Writes mails to `.eml` files. A mail that is sent again has the same file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage) -> None:
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        await self._write(f"{name}.eml", message.as_bytes())

    async def probe(self) -> None:
        await self._write(".probe", b"")
        (self._folder / ".probe").unlink(missing_ok=True)

    async def _write(self, name: str, content: bytes) -> None:
        def write() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = self._folder / f".{name}.{os.getpid()}"
            unfinished.write_bytes(content)
            unfinished.replace(self._folder / name)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise MailError(f"{error.strerror}: {self._folder}") from None


def transport_of(url: MailURL) -> Transport:
    if url.scheme == "console":
        return Console()
    if url.scheme == "file":
        return Folder(url.folder)
    # By name, as only a process that sends mails to a server needs its library.
    transport: Transport = resolve_name("kitsu.mail.smtp:MailServer")(url)
    return transport
