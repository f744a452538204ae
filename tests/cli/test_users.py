"""`kitsu changepassword` and `kitsu listusers`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, is_refused, login, me, register
from tests.application import client_of
from tests.cli.invoke import invoked
from tests.cli.process import Process, kitsu
from tests.cli.terminal import typed
from tests.databases import column, execute

NEW = "another long password"
USERS = """
INSERT INTO users (id, email, username, password_hash, role, is_active, email_verified_at, second_factor_since,
                   deletion_at, created_at)
VALUES
 (gen_random_uuid(), 'B@example.org', 'bee', '-', 'admin', true, now(), now(), NULL, '2026-01-02 03:04:05+00'),
 (gen_random_uuid(), 'a@example.org', 'ant', '-', 'user', true, NULL, NULL, NULL, '2026-01-01 00:00:00+00'),
 (gen_random_uuid(), 'c@example.com', 'cat_1', '-', 'editor', false, now(), NULL, NULL, '2026-01-03 00:00:00+00'),
 (gen_random_uuid(), 'd@example.com', 'dog', '-', 'user', true, now(), NULL, now() + interval '1 day',
  '2026-01-04 00:00:00+00');
INSERT INTO auth_sessions (id, user_id, last_used_at, expires_at)
SELECT gen_random_uuid(), id, seen::timestamptz, now()
FROM users, (VALUES ('2026-02-01 10:20+00'), ('2026-02-03 10:20+00')) AS seen (seen) WHERE username = 'bee';
"""


async def changed(folder: Path, database: URL, email: str, text: bytes, **settings: Any) -> tuple[int, str, str]:
    """Run `kitsu changepassword --password-stdin` with this input; return its exit code and its output."""

    def work() -> tuple[int, str, str]:
        with kitsu(folder, "changepassword", email, "--password-stdin", database=database, **settings) as process:
            send(process, text)
            return process.ends(), process.output, process.errors

    return await asyncio.to_thread(work)


def send(process: Process, text: bytes) -> None:
    """Write all of the input of a process."""
    assert process.process.stdin is not None
    process.process.stdin.write(text)
    process.process.stdin.close()
    process.process.stdin = None


async def test_changepassword_sets_the_password_and_ends_all_sessions(database: URL, tmp_path: Path) -> None:
    mail = {"MAIL_URL": f"file://{tmp_path}", "NOTIFY_SECURITY_EVENTS": "false"}
    async with client_of(database, login_refusal_ms=0) as client:
        tokens = [await register(client), (await login(client)).json()]
        other = await register(client, "other@example.org")
        await execute(database, "DELETE FROM pgqueuer")
        code, output, errors = await changed(tmp_path, database, EMAIL.upper(), f"{NEW}\n".encode(), **mail)
        assert (code, NEW in output + errors) == (0, False), errors
        assert output == f"The password of {EMAIL.upper()} is changed; 2 sessions ended.\n"
        assert all([is_refused(await me(client, each)) for each in tokens])
        refreshed = await client.post("/auth/refresh", json={"refresh_token": tokens[0]["refresh_token"]})
        assert refreshed.status_code == 403
        assert (await me(client, other)).status_code == 200
        assert (await login(client)).status_code == 401
        assert (await login(client, password=NEW)).status_code == 200
    query = "SELECT row(action, user_id, subject_user_id = (SELECT id FROM users WHERE email = $1)) FROM admin_actions"
    assert await column(database, query.replace("$1", f"'{EMAIL}'")) == [("password changed", None, True)]
    (payload,) = await column(database, "SELECT payload FROM pgqueuer WHERE entrypoint = 'send-mail'")
    notice = json.loads(payload)
    assert (notice["template"], notice["to"]) == ("notice-password-changed", EMAIL)
    assert NEW not in payload.decode()


async def test_changepassword_ends_links_in_mails(database: URL, tmp_path: Path) -> None:
    async with client_of(database) as client:
        await register(client)
    tokens = """
    INSERT INTO account_tokens (id, user_id, purpose, email, token_hash, state_hash, expires_at)
    SELECT gen_random_uuid(), id, 'change-email', 'new@example.org', 'x', 'y', now() + interval '1 day' FROM users
    """
    await execute(database, tokens)
    assert (await changed(tmp_path, database, EMAIL, NEW.encode()))[0] == 0
    assert await column(database, "SELECT used_at IS NOT NULL FROM account_tokens WHERE token_hash = 'x'") == [True]


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [
        ("unknown@example.org", NEW, "No user has the e-mail unknown@example.org."),
        (EMAIL, "1234567", "password: Must have at least 8 characters"),
        (EMAIL, "", "password: Must have at least 8 characters"),
        (EMAIL, "\udcff" * 10, "password: Must be UTF-8"),
        (EMAIL, "x" * 1025, "password: Must have at most 1024 bytes"),
        (EMAIL, "password1", "password: Is one of the most common passwords"),
    ],
)
async def test_changepassword_with_invalid_input_changes_nothing(
    database: URL, tmp_path: Path, email: str, password: str, complaint: str
) -> None:
    async with client_of(database) as client:
        tokens = await register(client)
        strict = {"REFUSE_COMMON_PASSWORDS": "true"}
        code, output, errors = await changed(
            tmp_path, database, email, password.encode(errors="surrogateescape"), **strict
        )
        assert (code, output, errors) == (1, "", f"Error: {complaint}\n")
        assert (await me(client, tokens)).status_code == 200
        assert (await login(client)).status_code == 200


async def test_changepassword_asks_for_the_password_twice(database: URL, tmp_path: Path) -> None:
    async with client_of(database, login_refusal_ms=0) as client:
        await register(client)
        answers = (NEW, "something else", NEW, NEW)
        code, output = await asyncio.to_thread(typed, tmp_path, database, ("changepassword", EMAIL), *answers)
        assert code == 0, output
        assert not any(answer in output for answer in answers)
        assert "is changed; 1 session ended." in output
        assert (await login(client, password=NEW)).status_code == 200


async def test_createuser_with_a_new_password_ends_sessions(database: URL, tmp_path: Path) -> None:
    async with client_of(database) as client:
        tokens = await register(client)
        arguments = ("createuser", "--email", EMAIL, "--role", "user")
        assert (await invoked(tmp_path, *arguments, database=database))[0] == 0
        assert (await me(client, tokens)).status_code == 200
        assert (await invoked(tmp_path, *arguments, "--password", NEW, database=database))[0] == 0
        assert is_refused(await me(client, tokens))


async def test_listusers_prints_a_table(database: URL, tmp_path: Path) -> None:
    await execute(database, USERS)
    code, output, errors = await invoked(tmp_path, "listusers", database=database)
    assert (code, errors) == (0, "")
    assert [line.split() for line in output.splitlines()] == [
        ["role", "active", "verified", "2nd", "factor", "created", "last", "seen", "username", "e-mail"],
        ["user", "yes", "no", "no", "2026-01-01", "00:00", "never", "ant", "a@example.org"],
        ["admin", "yes", "yes", "yes", *("2026-01-02", "03:04", "2026-02-03", "10:20"), "bee", "B@example.org"],
        ["editor", "no", "yes", "no", "2026-01-03", "00:00", "never", "cat_1", "c@example.com"],
        ["user", "no", "yes", "no", "2026-01-04", "00:00", "never", "dog", "d@example.com"],
    ]
    columns = zip(output.splitlines(), ("username", "ant", "bee", "cat_1", "dog"), strict=True)
    assert len({line.index(name) for line, name in columns}) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--role", "user"], ["ant", "dog"]),
        (["--inactive"], ["cat_1", "dog"]),
        (["--inactive", "--role", "editor"], ["cat_1"]),
        (["--search", "EXAMPLE.ORG"], ["ant", "bee"]),
        (["--search", "og"], ["dog"]),
        (["--search", "t_"], ["cat_1"]),
        (["--search", "%"], []),
    ],
)
async def test_listusers_filters(database: URL, tmp_path: Path, options: list[str], expected: list[str]) -> None:
    await execute(database, USERS)
    code, output, errors = await invoked(tmp_path, "listusers", "--json", *options, database=database)
    assert [json.loads(line)["username"] for line in output.splitlines()] == expected
    assert (code, errors) == (0, "" if expected else "No user is listed.\n")


async def test_listusers_as_json_has_all_fields(database: URL, tmp_path: Path) -> None:
    await execute(database, USERS)
    _, output, _ = await invoked(tmp_path, "listusers", "--json", "--role", "admin", database=database)
    user: dict[str, Any] = json.loads(output)
    assert user == {
        "email": "B@example.org",
        "username": "bee",
        "role": "admin",
        "is_active": True,
        "email_verified": True,
        "has_second_factor": True,
        "created_at": "2026-01-02T03:04:05Z",
        "last_seen_at": "2026-02-03T10:20:00Z",
    }


MANY = 30_000


async def test_listusers_reads_many_users_in_pieces(database: URL, tmp_path: Path) -> None:
    await execute(
        database,
        "INSERT INTO users (id, email, username, password_hash) "
        f"SELECT gen_random_uuid(), n || '@example.org', 'u' || n, '-' FROM generate_series(1, {MANY}) n",
    )

    def work() -> None:
        reading, writing = os.pipe()
        with (
            kitsu(tmp_path, "listusers", "--json", database=database, stdout=writing) as process,
            os.fdopen(reading) as output,
        ):
            os.close(writing)
            output.readline()  # the first pieces are printed, and the process waits for its reader
            before = psutil.Process(process.pid).memory_info().rss
            number = 1 + sum(1 for _ in range(MANY - 2) if output.readline())
            after = psutil.Process(process.pid).memory_info().rss
            assert number + len(output.readlines()) == MANY
            assert process.ends() == 0
        assert after - before < 4 << 20, (before, after)

    await asyncio.to_thread(work)


async def test_listusers_ends_quietly_when_its_reader_ends(database: URL, tmp_path: Path) -> None:
    await execute(
        database,
        "INSERT INTO users (id, email, username, password_hash) "
        f"SELECT gen_random_uuid(), n || '@example.org', 'u' || n, '-' FROM generate_series(1, {MANY}) n",
    )

    def work() -> None:
        reading, writing = os.pipe()
        with kitsu(tmp_path, "listusers", database=database, stdout=writing) as process:
            os.close(writing)
            os.read(reading, 100)
            os.close(reading)
            assert process.ends() == 1
            assert process.errors == ""

    await asyncio.to_thread(work)
