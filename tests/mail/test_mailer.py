"""Mails as a mail server gets them: headers, parts, templates, TLS, login and refusals."""

import asyncio
import ssl
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
import trustme
from jinja2 import UndefinedError

from kitsu.domain.accounts.notices import Event
from kitsu.mail.mailer import Mailer
from kitsu.mail.messages import FOLDER
from kitsu.mail.transports import MailError, MailRefused
from kitsu.settings import Settings
from kitsu.settings.mail import mail_url
from tests.cli.process import free_port
from tests.mail.server import PASSWORD, USER, Inbox, running, text_of

TO = "kaguya@example.org"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
NOTICE = {"username": "kaguya", "time": "2026-11-27 09:00 (Asia/Tokyo)"}


def send(url: str, template: str = "test", to: str = TO, mail_id: UUID | None = None, **values: str) -> None:
    settings = Settings(
        secret_key="k" * 32, mail_url=mail_url(url), mail_from="Kitsu <noreply@kitsu.example>", app_name="Kitsu & Co"
    )

    async def send_and_close() -> None:
        try:
            await Mailer(settings).send(template, to, mail_id or uuid4(), **values)
        finally:
            await asyncio.sleep(0.1)  # asyncio closes a connection with TLS after the response of the server

    asyncio.run(send_and_close())


def test_mail_has_headers_and_both_parts() -> None:
    mail_id = uuid4()
    with running(Inbox()) as inbox:
        send(inbox.url, mail_id=mail_id)
    (mail,) = inbox.mails
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "Kitsu <noreply@kitsu.example>",
        TO,
        "Test mail of Kitsu & Co",
    )
    assert (mail["Message-ID"], mail["Auto-Submitted"]) == (f"<{mail_id}@kitsu.example>", "auto-generated")
    assert mail["Date"].datetime.tzinfo is not None
    assert mail.get_content_type() == "multipart/alternative"
    assert text_of(mail).startswith("Kitsu & Co can send mails. Links in them lead to http://localhost:3000\n")
    assert "Kitsu &amp; Co can send mails." in text_of(mail, "html")


@pytest.mark.parametrize("event", get_args(Event))
def test_notice_shows_values_and_escapes_them_in_html(event: str) -> None:
    shown = {"device": "<b>Firefox</b>", "ip": "203.0.113.7", "change": "<i>Added</i>."}
    with running(Inbox()) as inbox:
        send(inbox.url, f"notice-{event}", TO, None, **NOTICE, **shown)
    (mail,) = inbox.mails
    text, html = text_of(mail), text_of(mail, "html")
    assert NOTICE["time"] in text
    assert "If this was not you:" in text
    assert "\n\n\n" not in text
    assert "<b>" not in html
    assert "<i>" not in html
    if event == "new-device":
        assert "Device: <b>Firefox</b>\nAddress: 203.0.113.7\n" in text
        assert "&lt;b&gt;Firefox" in html


def test_every_template_has_subject_text_and_html() -> None:
    names = {path.name.partition(".")[0] for path in FOLDER.glob("en/*.subject.txt")}
    assert {path.name.partition(".")[0] for path in FOLDER.glob("en/*.html")} - {"layout", "macros", "notice"} == names
    assert {path.name for name in names for path in FOLDER.glob(f"en/{name}.txt")} == {f"{name}.txt" for name in names}


@pytest.mark.parametrize(
    "to",
    [
        "kaguya@example.org\r\nBcc: all@example.org",
        "kaguya@example.org\nBcc: all@example.org",
        "kaguya@example.org, other@example.org",
        "Kaguya <kaguya@example.org>",
        "kaguya@example.org\0",
        "kaguya",
        "",
    ],
)
def test_wrong_recipient_is_refused(to: str) -> None:
    with running(Inbox()) as inbox, pytest.raises(MailRefused, match="not valid"):
        send(inbox.url, to=to)
    assert inbox.mails == []


def test_line_breaks_in_value_of_subject_add_no_header(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en/test.subject.txt").write_text("Hello {{ name }}\n")
    values = {"mail_url": mail_url(f"file://{tmp_path}/mail"), "mail_templates": tmp_path}
    mailer = Mailer(Settings(secret_key="k" * 32, **values))  # type: ignore[arg-type] # the values are of many types
    asyncio.run(mailer.send("test", TO, uuid4(), name="you\r\nBcc: all@example.org\r\n\r\nBody"))
    mail = written(tmp_path / "mail")
    assert mail["Subject"] == "Hello you Bcc: all@example.org Body"
    assert mail["Bcc"] is None


def written(folder: Path) -> EmailMessage:
    (path,) = folder.iterdir()
    mail: Any = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def test_domain_with_other_letters_is_sent_in_ascii() -> None:
    with running(Inbox()) as inbox:
        send(inbox.url, to="kaguya@müller.example.org")
    assert inbox.mails[0]["To"] == "kaguya@xn--mller-kva.example.org"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the context of a server with a certificate for 127.0.0.1, whose authority this process trusts."""
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_mail_is_sent_with_starttls_and_login(context: ssl.SSLContext) -> None:
    with running(Inbox(), context=context) as inbox:
        send(inbox.url.replace("//", f"//{LOGIN}@") + "?starttls=true")
        send(inbox.url.replace("//", f"//{LOGIN}@"))
    assert len(inbox.mails) == 2


def test_wrong_password_fails_without_showing_it(context: ssl.SSLContext) -> None:
    with running(Inbox(), context=context) as inbox, pytest.raises(MailError, match="535") as caught:
        send(inbox.url.replace("//", "//kitsu:hunter3@"))
    assert "hunter3" not in str(caught.value)
    assert not isinstance(caught.value, MailRefused)


def test_password_is_not_sent_without_tls() -> None:
    with running(Inbox()) as inbox, pytest.raises(MailError, match="STARTTLS"):
        send(inbox.url.replace("//", f"//{LOGIN}@"))


def test_certificate_of_unknown_authority_is_refused(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with running(Inbox(), context=context) as inbox, pytest.raises(MailError, match=r"(?i)certificate"):
        send(inbox.url.replace("//", f"//{LOGIN}@"))


@pytest.mark.parametrize(
    ("response", "is_final"),
    [(f"550 5.1.1 <{TO}>: no such user", True), (f"451 4.7.1 {TO} is greylisted", False), ("452 disk full", False)],
)
def test_refusal_of_recipient_is_final_with_5xx_and_shows_no_address(response: str, *, is_final: bool) -> None:
    with running(Inbox()) as inbox:
        inbox.refusals[TO] = response
        with pytest.raises(MailError) as caught:
            send(inbox.url)
    assert isinstance(caught.value, MailRefused) == is_final
    assert str(caught.value).startswith(response[:3])
    assert TO not in str(caught.value)


def test_server_that_is_away_is_not_final() -> None:
    with pytest.raises(MailError) as caught:
        send(f"smtp://127.0.0.1:{free_port()}")
    assert not isinstance(caught.value, MailRefused)


def test_folder_has_one_file_for_a_mail_that_is_sent_twice(tmp_path: Path) -> None:
    mail_id = uuid4()
    for _ in range(2):
        send(f"file://{tmp_path}/new/mail", mail_id=mail_id)
    (path,) = (tmp_path / "new/mail").iterdir()
    assert path.name == f"{mail_id}.eml"
    assert text_of(written(path.parent)).startswith("Kitsu & Co can send mails.")


def test_console_prints_recipient_subject_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    send("console://")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"\n--- Mail to {TO}: Test mail of Kitsu & Co\n\nKitsu & Co can send mails.")


def test_template_of_folder_replaces_only_its_part(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en/test.txt").write_text("From {{ app_name }}\n")
    (tmp_path / "en/layout.html").write_text("<h1>Our layout</h1>{% block content %}{% endblock %}")
    values = {"mail_url": mail_url(f"file://{tmp_path}/mail"), "mail_templates": tmp_path}
    mailer = Mailer(Settings(secret_key="k" * 32, **values))  # type: ignore[arg-type] # the values are of many types
    asyncio.run(mailer.send("test", TO, uuid4()))
    mail = written(tmp_path / "mail")
    assert text_of(mail) == "From Kitsu\n"
    html = text_of(mail, "html")
    assert html.startswith("<h1>Our layout</h1>")
    assert "Kitsu can send mails." in html


def test_missing_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="username"):
        send(f"file://{tmp_path}", "notice-password-changed", time="now")
