"""Mails from templates: `NAME.subject.txt`, `NAME.txt` and `NAME.html` in the folder of a language."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from kitsu.mail.transports import MailRefused

LANGUAGE = "en"
FOLDER = Path(__file__).parent / "templates"
POLICY = SMTP.clone(cte_type="7bit")  # a server may not accept others


class Templates:
    """The templates of Kitsu, and a folder whose templates replace those of the same name."""

    def __init__(self, overrides: Path | None) -> None:
        folders = [FOLDER] if overrides is None else [overrides, FOLDER]
        self._environment = Environment(
            loader=ChoiceLoader([FileSystemLoader(folder / LANGUAGE) for folder in folders]),
            autoescape=select_autoescape(["html"], default=False),
            undefined=StrictUndefined,
        )

    def message(self, template: str, values: Mapping[str, str], *, sender: str, to: str, mail_id: UUID) -> EmailMessage:
        """Return a mail. It has the same Message-ID each time. Raises MailRefused for a wrong address."""

        def render(suffix: str) -> str:
            return self._environment.get_template(f"{template}.{suffix}").render(values)

        message = EmailMessage(POLICY)
        message["From"] = sender
        message["To"] = _address(to)
        message["Subject"] = " ".join(render("subject.txt").split())
        message["Date"] = datetime.now(UTC)
        message["Message-ID"] = f"<{mail_id}@{message['From'].addresses[0].domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic responses to it
        message.set_content(re.sub(r"\n{3,}", "\n\n", render("txt").strip()) + "\n")
        message.add_alternative(render("html"), subtype="html")
        return message

    def problems(self) -> list[str]:
        """Return the templates that can't be read, each with the cause."""
        found = []
        for name in self._environment.list_templates():
            try:
                self._environment.get_template(name)
            except (TemplateError, OSError, UnicodeError) as error:
                found.append(f"The template {LANGUAGE}/{name} is wrong: {str(error).rstrip('.')}.")
        return found


def _address(text: str) -> Address:
    """Return the recipient. A domain with other letters has its ASCII form, as the user's part may not."""
    try:
        address = validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        raise MailRefused("the recipient's address is not valid") from None
    return Address(username=address.ascii_local_part or address.local_part, domain=address.ascii_domain)
