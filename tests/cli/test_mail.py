"""`kitsu mail-test` and `kitsu send-reset-mail`."""

from pathlib import Path

from sqlalchemy.engine import URL

from tests.accounts import EMAIL, register
from tests.application import client_of
from tests.cli.invoke import invoke, invoked
from tests.cli.process import free_port, kitsu
from tests.databases import column
from tests.mail.server import Inbox, running

TO = "kaguya@example.org"


def test_mail_test_sends_a_mail(tmp_path: Path) -> None:
    with running(Inbox()) as inbox, kitsu(tmp_path, "mail-test", TO, MAIL_URL=inbox.url) as command:
        assert command.ends() == 0
        assert (command.output, command.errors) == (f"The mail was sent by {inbox.url}.\n", "")
    (mail,) = inbox.mails
    assert mail["To"] == TO


def test_mail_test_reports_server_that_is_away(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    code, output, errors = invoke(tmp_path, "mail-test", TO, MAIL_URL=f"smtp://kitsu:hunter2@{address}")
    assert (code, output) == (1, "")
    assert errors.startswith(f"Error: The mail was not sent by smtp://{address}: ")
    assert "hunter2" not in errors


def test_mail_test_refuses_wrong_address_and_wrong_template(tmp_path: Path) -> None:
    code, _, errors = invoke(tmp_path, "mail-test", "kaguya")
    assert (code, errors) == (1, "Error: The mail was not sent by console://: the recipient's address is not valid\n")
    (tmp_path / "en").mkdir()
    (tmp_path / "en/test.txt").write_text("{{ nothing }}")
    code, _, errors = invoke(tmp_path, "mail-test", TO, MAIL_TEMPLATES=".")
    assert (code, errors) == (1, "Error: A template in MAIL_TEMPLATES is wrong: 'nothing' is undefined\n")


async def test_send_reset_mail_sends_a_link_and_is_logged(database: URL, tmp_path: Path) -> None:
    async with client_of(database) as client:
        await register(client)
    code, output, errors = await invoked(tmp_path, "send-reset-mail", EMAIL.upper(), database=database)
    assert code == 0, errors
    assert output == f"The worker sends a mail to {EMAIL.upper()}. Its link works for one hour.\n"
    assert await column(database, "SELECT purpose FROM account_tokens ORDER BY created_at DESC LIMIT 1") == [
        "reset-password"
    ]
    assert await column(database, "SELECT action FROM admin_actions") == ["reset mail sent"]
    code, _, errors = await invoked(tmp_path, "send-reset-mail", "unknown@example.org", database=database)
    assert (code, errors) == (1, "Error: User not found\n")
