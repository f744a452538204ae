"""A mail server on loopback: aiosmtpd, with TLS and a login if the test wants them."""

import asyncio
import email
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.cli.process import free_port

USER, PASSWORD = "kitsu@mail.example", "hunter2 @:/?"


class Inbox:
    """The mails that arrived. `refusals` are responses for recipients; `delay` is the time of each delivery."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refusals: dict[str, str] = {}
        self.delay = 0.0
        self.at_once = self.most_at_once = 0
        self.url = ""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        mail: Any = email.message_from_bytes(envelope.content, policy=default)
        self.mails.append(mail)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.delay)
        self.at_once -= 1
        return "250 OK"


@contextmanager
def running(
    inbox: Inbox,
    *,
    port: int | None = None,
    context: ssl.SSLContext | None = None,
    tls_context: ssl.SSLContext | None = None,
) -> Iterator[Inbox]:
    """Run a server, and note its address in the inbox.

    `context` is for STARTTLS, which it then requires with a login; `tls_context` for TLS from the start.
    """

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _method: str, data: Any) -> AuthResult:
        return AuthResult(success=data == LoginPassword(USER.encode(), PASSWORD.encode()), handled=False)

    options: dict[str, Any] = {}
    if context is not None:
        options = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": authenticate,
        }
    controller = Controller(
        inbox, hostname="127.0.0.1", port=port or free_port(), ready_timeout=30, ssl_context=tls_context, **options
    )
    controller.start()
    inbox.url = f"smtp{'s' if tls_context else ''}://127.0.0.1:{controller.port}"
    try:
        yield inbox
    finally:
        controller.stop()


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """Return the part of a kind, with the line breaks of this machine."""
    part = mail.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")
