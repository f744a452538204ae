"""Mails from the settings."""

from uuid import UUID

from kitsu.mail.messages import Templates
from kitsu.mail.transports import transport_of
from kitsu.settings import Settings

DEFAULT_SENDER = "kitsu@localhost"


class Mailer:
    """Makes mails from templates and sends them."""

    def __init__(self, settings: Settings) -> None:
        self._templates = Templates(settings.mail_templates)
        self._transport = transport_of(settings.mail_url)
        self._sender = settings.mail_from or DEFAULT_SENDER
        self._values = {"app_name": settings.app_name, "front_end_url": settings.frontend_url}

    async def send(self, template: str, to: str, mail_id: UUID, **values: str) -> None:
        """Send a mail. Raises MailError, and MailRefused if another try is of no use."""
        all_values = {**self._values, **values}
        await self._transport.send(
            self._templates.message(template, all_values, sender=self._sender, to=to, mail_id=mail_id)
        )
