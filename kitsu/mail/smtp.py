"""A mail server."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from kitsu.mail.transports import MailError, MailRefused
from kitsu.settings.mail import MailURL

CONNECT_SECONDS = 10.0
RESPONSE_SECONDS = 30.0
"""Time that the server has for each response to the greeting and the login."""
DELIVERY_SECONDS = 300.0
"""Time for each response to a mail. One that the server accepts later is sent again: RFC 5321, 4.5.3.2.6."""
PERMANENT = range(500, 600)
MAX_REASON_LENGTH = 300


class MailServer:
    """Sends each mail on a connection of its own."""

    def __init__(self, url: MailURL) -> None:
        self._url = url

    async def send(self, message: EmailMessage) -> None:
        async with self._connected() as client:
            try:
                await client.send_message(message, timeout=DELIVERY_SECONDS)
            except SMTPRecipientsRefused as error:
                refusal = error.recipients[0]
                raise _error_of(refusal, is_final=refusal.code in PERMANENT) from None
            except SMTPDataError as error:
                raise _error_of(error, is_final=error.code in PERMANENT) from None
            except SMTPNotSupported as error:  # an address with letters that the server does not accept
                raise _error_of(error, is_final=True) from None

    async def probe(self) -> None:
        async with self._connected():
            pass

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[SMTP]:
        """Connect and log in. Raises MailError for each failure of the connection, then and later."""
        url = self._url
        client = SMTP(
            hostname=url.host,
            port=url.port,
            username=url.username,
            password=url.password,
            use_tls=url.scheme == "smtps",
            start_tls=url.starttls,
            timeout=RESPONSE_SECONDS,
        )
        try:
            await client.connect(timeout=CONNECT_SECONDS)
            async with client:
                yield client
        except (SMTPException, OSError) as error:
            raise _error_of(error, is_final=False) from None


def _error_of(error: Exception, *, is_final: bool) -> MailError:
    """Return the error with the server's words, without the addresses in them."""
    words = f"{error.code} {error.message}" if isinstance(error, SMTPResponseException) else str(error)
    reason = re.sub(r"\S*@\S*", "…", " ".join(words.split()))[:MAX_REASON_LENGTH]
    return (MailRefused if is_final else MailError)(reason or type(error).__name__)
