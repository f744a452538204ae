"""Checks of mail."""

from collections.abc import Iterator

from kitsu.cli.checks.registry import Tag, check
from kitsu.mail.messages import Templates
from kitsu.mail.transports import MailError, transport_of
from kitsu.settings import SETTINGS, Settings

_SERVER_HINT = "Compare MAIL_URL with what the provider of the mail server names, then try `kitsu mail-test ADDRESS`."


@check("kitsu.W501", Tag.MAIL, Tag.SETTINGS, deploy=True, hint="Set MAIL_URL to a mail server.")
def printed_mails(settings: Settings) -> Iterator[str]:
    if not settings.mail_url.is_set_up:
        yield "MAIL_URL is console://: mails are printed by the worker, with their links, and reach no user."


@check("kitsu.E502", Tag.MAIL, Tag.SETTINGS, deploy=True, hint="Set it to an address of your domain.")
def missing_sender(settings: Settings) -> Iterator[str]:
    if settings.mail_url.is_set_up and not settings.mail_from:
        yield "MAIL_FROM is not set: mails come from an address of this machine, and are refused."


@check("kitsu.E503", Tag.MAIL, Tag.SETTINGS, deploy=True, hint="Set it to the address of the front end.")
def local_links(settings: Settings) -> Iterator[str]:
    if settings.mail_url.is_set_up and settings.frontend_url == SETTINGS["FRONTEND_URL"].default:
        yield f"FRONTEND_URL is not set: links in mails lead to {settings.frontend_url}."


@check("kitsu.E504", Tag.MAIL, deploy=True, hint=_SERVER_HINT)
async def mail_server(settings: Settings) -> list[str]:
    try:
        await transport_of(settings.mail_url).probe()
    except MailError as error:
        return [f"Mails can't be sent to {settings.mail_url}: {str(error).rstrip('.')}."]
    return []


@check("kitsu.W505", Tag.MAIL, Tag.SECURITY, Tag.SETTINGS, deploy=True, hint="Use smtps:// or starttls=true.")
def mails_without_tls(settings: Settings) -> Iterator[str]:
    url = settings.mail_url
    # A host without a dot is this machine, or in a network of containers on it.
    if url.scheme == "smtp" and not url.starttls and "." in url.host and url.host != "127.0.0.1":
        yield "Mails are sent over a network without TLS: others can read the links in them."


@check("kitsu.E506", Tag.MAIL, deploy=True, hint="Correct the file, or remove it.")
def wrong_templates(settings: Settings) -> Iterator[str]:
    yield from Templates(settings.mail_templates).problems()


@check("kitsu.E507", Tag.MAIL, Tag.SETTINGS, deploy=True, hint="Set MAIL_URL to a mail server.")
def verification_without_mail(settings: Settings) -> Iterator[str]:
    if settings.require_verified_email and not settings.mail_url.is_set_up:
        yield "REQUIRE_VERIFIED_EMAIL is on, but mails are only printed: no new user can log in."
