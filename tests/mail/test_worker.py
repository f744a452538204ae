"""Mails of jobs: sent by `kitsu worker` to a mail server on loopback."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.accounts.account_tokens import derive
from kitsu.domain.accounts.mail import SendMail, send_mail
from kitsu.jobs import mail
from kitsu.jobs.registry import JOBS
from kitsu.settings.mail import mail_url
from tests.cli.process import SECRET_KEY, Process, free_port, kitsu
from tests.databases import column, engine_of, execute
from tests.jobs.samples import Wait, add_table, put
from tests.jobs.working import finished, working
from tests.mail.server import Inbox, running, text_of

TO = "kaguya@example.org"
SAMPLES = ("-m", "tests.jobs.samples")
DUE = "UPDATE pgqueuer SET execute_after = now()"


def enqueue(database: URL, to: str = TO, *, commit: bool = True, token_id: UUID | None = None) -> None:
    async def enqueue_one() -> None:
        async with engine_of(database) as engine, AsyncSession(engine) as session:
            await send_mail(session, "test", to, token_id=token_id)
            await (session.commit() if commit else session.rollback())

    asyncio.run(enqueue_one())


def states(database: URL) -> list[str]:
    """Return the states of the jobs in the queue."""
    return asyncio.run(column(database, "SELECT status::text FROM pgqueuer ORDER BY id"))


def arrives(worker: Process, inbox: Inbox, count: int = 1) -> None:
    worker.until(lambda: len(inbox.mails) >= count, f"{count} mails arrived")


def test_mail_of_committed_transaction_is_sent_and_of_rolled_back_one_not(tmp_path: Path, database: URL) -> None:
    enqueue(database, "rolled-back@example.org", commit=False)
    enqueue(database)
    settings: dict[str, Any] = {"MAIL_FROM": "Kitsu <noreply@kitsu.example>", "FRONTEND_URL": "https://kitsu.example/"}
    with (
        running(Inbox()) as inbox,
        kitsu(tmp_path, "worker", database=database, MAIL_URL=inbox.url, **settings) as worker,
    ):
        worker.prints("job finished")
        assert worker.ended_by(signal.SIGTERM) == 0
        assert TO not in worker.output + worker.errors
    (mail,) = inbox.mails
    assert (mail["To"], mail["From"]) == (TO, "Kitsu <noreply@kitsu.example>")
    assert "Links in them lead to https://kitsu.example\n" in text_of(mail)
    assert states(database) == []


def test_mail_waits_for_server_that_is_away(tmp_path: Path, database: URL) -> None:
    enqueue(database)
    port = free_port()
    with kitsu(tmp_path, "worker", database=database, MAIL_URL=f"smtp://127.0.0.1:{port}") as worker:
        worker.prints("job retried")
        worker.until(lambda: states(database) == ["queued"], "the job waits again")
        with running(Inbox(), port=port) as inbox:
            asyncio.run(execute(database, DUE))
            arrives(worker, inbox)
            worker.prints("job finished")
    assert len(inbox.mails) == 1


def test_mail_is_tried_for_two_days() -> None:
    job = JOBS["send-mail"]
    delays = [job.delay_after(attempts) for attempts in range(job.retries)]
    assert delays[0] <= timedelta(seconds=10)
    assert timedelta(days=2) <= sum(delays, timedelta()) < timedelta(days=2, hours=1)
    # An interruption of some minutes does not delay mails by more than twice its duration.
    assert all(delay <= sum(delays[:number], timedelta(seconds=10)) for number, delay in enumerate(delays))


def test_refused_recipient_is_a_failed_job_without_retry(tmp_path: Path, database: URL) -> None:
    enqueue(database, "gone@example.org")
    with running(Inbox()) as inbox:
        inbox.refusals["gone@example.org"] = "550 5.1.1 <gone@example.org>: no such user"
        with kitsu(tmp_path, "worker", database=database, MAIL_URL=inbox.url) as worker:
            worker.prints("job failed")
            worker.until(lambda: states(database) == ["failed"], "the job had failed")
            assert "PermanentFailure: 550 5.1.1 … no such user" in worker.output.replace("\\u2026", "…")
            assert "gone@" not in worker.output + worker.errors
    errors = "SELECT traceback ->> 'exception_message' FROM pgqueuer_log WHERE traceback IS NOT NULL"
    assert asyncio.run(column(database, errors)) == ["PermanentFailure: 550 5.1.1 … no such user"]


TOKENS = """
INSERT INTO account_tokens (id, purpose, token_hash, expires_at, used_at) VALUES
    ('{usable}', 'invite', 'a', now() + interval '1 hour', NULL),
    ('{used}', 'invite', 'b', now() + interval '1 hour', now()),
    ('{expired}', 'invite', 'c', now() - interval '1 second', NULL)
"""


def test_mail_of_used_expired_or_deleted_token_is_dropped(tmp_path: Path, database: URL) -> None:
    usable, used, expired, deleted = (uuid4() for _ in range(4))
    asyncio.run(execute(database, TOKENS.format(usable=usable, used=used, expired=expired)))
    templates = tmp_path / "templates" / "en"
    templates.mkdir(parents=True)
    (templates / "test.txt").write_text("{{ link }}")
    for token_id in (used, expired, deleted, usable):
        enqueue(database, token_id=token_id)
    settings: dict[str, Any] = {"MAIL_TEMPLATES": str(templates.parent), "FRONTEND_URL": "https://kitsu.example/app"}
    with running(Inbox()) as inbox:
        with kitsu(tmp_path, "worker", database=database, MAIL_URL=inbox.url, **settings) as worker:
            worker.until(lambda: worker.output.count("job finished") == 4, "all jobs had finished")
            assert worker.output.count("mail dropped") == 3
            assert derive(SECRET_KEY, usable, "invite") not in worker.output
        (mail,) = inbox.mails
    assert text_of(mail).strip() == f"https://kitsu.example/app/register?token={derive(SECRET_KEY, usable, 'invite')}"


def test_mail_does_not_wait_for_long_job(tmp_path: Path, database: URL) -> None:
    async def prepare() -> None:
        await add_table(database)
        await put(database, Wait(seconds=20), Wait(seconds=21))

    asyncio.run(prepare())
    with (
        running(Inbox()) as inbox,
        kitsu(tmp_path, "worker", database=database, command=SAMPLES, MAIL_URL=inbox.url) as worker,
    ):
        worker.until(lambda: len(asyncio.run(column(database, "SELECT job FROM runs"))) == 2, "the long jobs ran")
        enqueue(database)
        arrives(worker, inbox)
        assert "ended" not in asyncio.run(column(database, "SELECT job FROM runs"))


async def test_mails_use_few_connections(database: URL) -> None:
    await put(database, *(SendMail("test", TO) for _ in range(24)))
    with running(Inbox()) as inbox:
        inbox.delay = 0.2
        async with working(database, mail_url=mail_url(inbox.url)):
            await finished(database)
    assert len({mail["Message-ID"] for mail in inbox.mails}) == len(inbox.mails) == 24
    assert 2 <= inbox.most_at_once <= mail.CONNECTIONS


@pytest.mark.slow
def test_worker_that_is_killed_while_it_sends_causes_one_more_copy_with_the_same_id(
    tmp_path: Path, database: URL
) -> None:
    enqueue(database)
    with running(Inbox()) as inbox:
        inbox.delay = 60
        with kitsu(tmp_path, "worker", database=database, MAIL_URL=inbox.url) as worker:
            arrives(worker, inbox)
            os.kill(worker.pid, signal.SIGKILL)
        inbox.delay = 0
        with kitsu(tmp_path, "worker", database=database, MAIL_URL=inbox.url) as worker:
            worker.until(lambda: states(database) == [], "the queue was empty")
    first, second = inbox.mails
    assert first["Message-ID"] == second["Message-ID"]


def files(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


async def test_worker_writes_mails_to_folder(tmp_path: Path, database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await put(database, SendMail("test", TO))
    async with working(database, mail_url=mail_url("file://./mail")):
        await finished(database)
    assert [name.suffix for name in files(tmp_path / "mail")] == [".eml"]


def test_worker_prints_mails_by_default(tmp_path: Path, database: URL) -> None:
    enqueue(database)
    with kitsu(tmp_path, "worker", database=database) as worker:
        worker.until(lambda: f"--- Mail to {TO}: Test mail of Kitsu" in worker.errors, "the mail was printed")
