"""Settings of mail: accepted and refused values, and errors without the password."""

from pathlib import Path

import pytest

from kitsu.settings.mail import MailURL
from tests.test_settings import load, problem

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", MailURL("console")),
        ("console://", MailURL("console")),
        ("file://./mail", MailURL("file", folder=Path("mail"))),
        ("file:///var/mail kitsu", MailURL("file", folder=Path("/var/mail kitsu"))),
        ("smtp://localhost", MailURL("smtp", host="localhost", port=25)),
        ("smtp://mail.example.org/?starttls=true", MailURL("smtp", host="mail.example.org", port=587, starttls=True)),
        (
            "smtp://me%40example.org:p%2F%3F%25w@mail.example.org:2525",
            MailURL("smtp", Path(), "mail.example.org", 2525, "me@example.org", "p/?%w", starttls=True),
        ),
        ("smtp://u:p@10.0.0.1?starttls=false", MailURL("smtp", Path(), "10.0.0.1", 25, "u", "p")),
        ("smtps://u:p@[::1]", MailURL("smtps", Path(), "::1", 465, "u", "p")),
    ],
)
def test_mail_url_is_accepted(text: str, url: MailURL) -> None:
    assert load(MAIL_URL=text).mail_url == url


@pytest.mark.parametrize(
    "text",
    [
        f"http://u:{SECRET}@a.example",
        f"smtp:u:{SECRET}@a.example",
        f"smtp://u:{SECRET}@",
        f"smtp://u@a:{SECRET}@a.example",
        f"smtp://{SECRET}@a.example",
        f"smtp://u:{SECRET}@a.example:0",
        f"smtp://u:{SECRET}@a.example:65536",
        f"smtp://u:{SECRET}@a.example:port",
        f"smtp://u:{SECRET}@a.example/path",
        f"smtp://u:{SECRET}@a.example#x",
        f"smtp://u:{SECRET}@a.example?timeout=3",
        f"smtp://u:{SECRET}@a.example?starttls",
        f"smtp://u:{SECRET}@a.example?starttls=yes",
        f"smtp://u:{SECRET}@a.example?starttls=true&starttls=false",
        f"smtps://u:{SECRET}@a.example?starttls=true",
        f"smtp://u:{SECRET}%0d%0aRCPT@a.example",
        f"smtp://u:{SECRET}\r\n@a.example",
        f"smtp://u:{SECRET}@a b.example",
        f"file://mail?{SECRET}",
        "file://",
        "console://x",
        "console",
    ],
)
def test_mail_url_is_refused_without_showing_the_password(text: str) -> None:
    message = problem(MAIL_URL=text)
    assert message.startswith("MAIL_URL must be smtp://user:password@host:587?starttls=true, ")
    assert SECRET not in message


def test_password_of_mail_url_is_in_no_text_of_the_settings() -> None:
    settings = load(MAIL_URL=f"smtp://user:{SECRET}@a.example")
    assert settings.mail_url.password == SECRET
    assert SECRET not in f"{settings!r}{settings.mail_url}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("noreply@Example.org", "noreply@example.org"),
        ("Kitsu <noreply@example.org>", "Kitsu <noreply@example.org>"),
        ('"Kitsu, the site" <noreply@example.org>', '"Kitsu, the site" <noreply@example.org>'),
        ("Кицунэ <noreply@example.org>", "Кицунэ <noreply@example.org>"),
    ],
)
def test_sender_is_accepted(text: str, value: str) -> None:
    assert load(MAIL_FROM=text).mail_from == value


@pytest.mark.parametrize(
    "text",
    [
        "noreply",
        "noreply@",
        "noreply@localhost",
        "a@example.org, b@example.org",
        "Kitsu\r\nBcc: all@example.org <noreply@example.org>",
        "noreply@example.org\nBcc: all@example.org",
        "Kitsu noreply@example.org",
    ],
)
def test_sender_is_refused(text: str) -> None:
    assert problem(MAIL_FROM=text).startswith("MAIL_FROM must be an address such as Kitsu <noreply@example.org>; ")


def test_front_end_and_templates_are_checked(tmp_path: Path) -> None:
    assert load(FRONTEND_URL="https://kitsu.example/app/").frontend_url == "https://kitsu.example/app"
    assert load(MAIL_TEMPLATES=str(tmp_path)).mail_templates == tmp_path
    for text in ("kitsu.example", "javascript:alert(1)", "https://kitsu.example/?a=b"):
        assert problem(FRONTEND_URL=text).startswith("FRONTEND_URL must be an http or https address; ")
    assert problem(MAIL_TEMPLATES=f"{tmp_path}/none").startswith("MAIL_TEMPLATES must be an existing folder; ")
    assert problem(NOTIFY_SECURITY_EVENTS="maybe").startswith("NOTIFY_SECURITY_EVENTS must be true or false; ")
