"""`kitsu createuser`, `createsuperuser` and `purge`, on a real database."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.operations.purge import BATCH
from tests.accounts import EMAIL
from tests.application import client_of
from tests.cli.invoke import invoked
from tests.cli.process import kitsu
from tests.cli.terminal import typed
from tests.databases import column, connect, execute
from tests.second_factors import Clock, protect

PASSWORD = "a long enough password"
BOSS = ("createsuperuser", "--email", "boss@example.org")


async def run(folder: Path, *arguments: str, database: URL | None, **settings: Any) -> tuple[int, str, str]:
    """Run a command as a process; return its exit code, stdout and stderr."""

    def work() -> tuple[int, str, str]:
        with kitsu(folder, *arguments, database=database, **settings) as process:
            code = process.ends(30)
            return code, process.output, process.errors

    return await asyncio.to_thread(work)


async def fetch(database: URL, query: str) -> list[tuple[Any, ...]]:
    connection = await connect(database)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


USERS = "SELECT email, role, is_active, password_hash FROM users ORDER BY email"


async def login(database: URL, email: str, password: str) -> int:
    async with client_of(database, login_refusal_ms=0) as client:
        return (await client.post("/auth/login", json={"email": email, "password": password})).status_code


async def test_createsuperuser_with_new_email_creates_administrator(database: URL, tmp_path: Path) -> None:
    arguments = ("createsuperuser", "--email", "Boss@Example.ORG", "--password", PASSWORD)
    code, output, errors = await run(tmp_path, *arguments, database=database)
    assert (code, output) == (0, "boss@example.org is an administrator now.\n"), errors
    ((email, role, active, password_hash),) = await fetch(database, USERS)
    assert (email, role, active) == ("boss@example.org", "admin", True)
    assert password_hash.startswith("$argon2id$")
    assert PASSWORD not in output + errors
    assert await login(database, "boss@example.org", PASSWORD) == 200


async def test_createsuperuser_with_existing_email_promotes_and_reactivates_user(database: URL, tmp_path: Path) -> None:
    async with client_of(database) as client:
        assert (
            await client.post("/auth/register", json={"email": "a@example.org", "password": PASSWORD})
        ).status_code == 201
    await execute(database, "UPDATE users SET is_active = false")
    ((*_, old_hash),) = await fetch(database, USERS)
    code, output, errors = await invoked(tmp_path, "createsuperuser", "--email", "A@example.org", database=database)
    assert code == 0, errors
    assert "was there already" in output
    assert await fetch(database, USERS) == [("a@example.org", "admin", True, old_hash)]
    arguments = ("createsuperuser", "--email", "a@example.org", "--password", "another long password")
    assert (await invoked(tmp_path, *arguments, database=database))[0] == 0
    assert await login(database, "a@example.org", PASSWORD) == 401
    assert await login(database, "a@example.org", "another long password") == 200


async def test_createuser_gives_role_and_refuses_to_demote_last_administrator(database: URL, tmp_path: Path) -> None:
    editor = ("createuser", "--email", "a@example.org", "--role", "editor")
    code, output, errors = await invoked(tmp_path, *editor, "--password", PASSWORD, database=database)
    assert (code, output) == (0, "a@example.org is an editor now.\n"), errors
    promoted = await invoked(tmp_path, "createuser", "--email", "a@example.org", "--role", "admin", database=database)
    assert promoted[0] == 0
    code, _, errors = await invoked(tmp_path, *editor, database=database)
    assert (code, errors) == (1, "Error: The last administrator can't be removed or demoted\n")
    for role in ([], ["--role", "owner"]):
        code, _, errors = await invoked(tmp_path, *editor[:3], *role, database=database)
        assert code == 2
        assert "--role" in errors
    assert [row[:2] for row in await fetch(database, USERS)] == [("a@example.org", "admin")]


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [
        ("no-address", PASSWORD, "email: "),
        ("", PASSWORD, "email: "),
        ("a@b@c", PASSWORD, "email: "),
        ("a@example.org", "1234567", "password: Must have at least 8 characters"),
        ("a@example.org", "x" * 1025, "password: Must have at most 1024 bytes"),
        ("a@example.org", "", "password: "),
    ],
)
async def test_createsuperuser_with_invalid_input_creates_nothing(
    database: URL, tmp_path: Path, email: str, password: str, complaint: str
) -> None:
    arguments = ("createsuperuser", "--email", email, "--password", password)
    code, output, errors = await invoked(tmp_path, *arguments, database=database)
    assert (code, output) == (1, "")
    assert errors.startswith(f"Error: {complaint}")
    assert await fetch(database, USERS) == []


async def test_createsuperuser_before_migration_is_refused(bare_database: URL, tmp_path: Path) -> None:
    arguments = ("createsuperuser", "--email", "a@example.org", "--password", PASSWORD)
    code, _, errors = await invoked(tmp_path, *arguments, database=bare_database)
    assert code == 1
    assert "run `kitsu migrate`" in errors


async def test_createsuperuser_without_password_prompts_for_it(database: URL, tmp_path: Path) -> None:
    answers = ("the first try", "another", PASSWORD, PASSWORD)
    code, output = await asyncio.to_thread(typed, tmp_path, database, BOSS, *answers)
    assert code == 0, output
    assert not any(answer in output for answer in answers)
    assert "boss@example.org is an administrator now." in output
    assert await login(database, "boss@example.org", PASSWORD) == 200


async def test_createsuperuser_with_short_typed_password_creates_nothing(database: URL, tmp_path: Path) -> None:
    code, output = await asyncio.to_thread(typed, tmp_path, database, BOSS, "short", "short")
    assert code == 1
    assert "Must have at least 8 characters" in output
    assert await fetch(database, USERS) == []


MANY = 2 * BATCH + 500
PURGED = f"""
INSERT INTO users (id, email, username, password_hash) VALUES (gen_random_uuid(), 'a@x.org', 'abc', 'x');
INSERT INTO auth_sessions (id, user_id, generation, expires_at, revoked_at, ip)
SELECT gen_random_uuid(), u.id, 1, now() + expires, now() + revoked, label
FROM users u, (VALUES
    ('living', interval '1 day', NULL, 1), ('expired', '-29 days', NULL, 1), ('revoked', '1 day', '-29 days', 1),
    ('long expired', '-31 days', NULL, {MANY}), ('long revoked', '1 day', interval '-31 days', {BATCH})
) AS kinds (label, expires, revoked, times), generate_series(1, times);
INSERT INTO refresh_tokens (session_id, generation, token_hash, expires_at)
SELECT id, 1, id::text, expires_at FROM auth_sessions;
INSERT INTO refresh_tokens (session_id, generation, token_hash, expires_at, used_at)
SELECT id, -n, 'spent' || n, now() - interval '1 hour', now() - interval '14 days'
FROM auth_sessions, generate_series(1, {MANY}) n WHERE ip = 'living';
INSERT INTO refresh_tokens (session_id, generation, token_hash, expires_at, used_at)
SELECT id, 0, 'young', now() + interval '1 hour', now() - interval '13 days' FROM auth_sessions WHERE ip = 'living';
INSERT INTO refresh_tokens (session_id, generation, token_hash, expires_at, used_at)
SELECT id, 0, 'spent', now() - interval '1 hour', now() - interval '14 days' FROM auth_sessions WHERE ip = 'revoked';
INSERT INTO rate_limits SELECT decode(lpad(to_hex(n), 8, '0'), 'hex'), 1, now() - interval '1 second'
FROM generate_series(1, {MANY}) n;
INSERT INTO rate_limits VALUES ('living', 1, now() + interval '1 hour');
INSERT INTO login_counters (key, ends_at) VALUES ('living', now() + interval '1 hour'), ('old', now());
INSERT INTO tombstones (id, user_id, kind, deleted_at)
SELECT gen_random_uuid(), id, 'favorites', now() - days * interval '1 day'
FROM users, (VALUES (29), (31)) AS ago (days);
INSERT INTO missed_searches SELECT current_date - days, 'text' FROM (VALUES (89), (91)) AS ago (days);
INSERT INTO anime_merges (id, merged_at, source, from_id, from_title, into_id, into_title, current_id, moved, report)
SELECT id, now() - days * interval '1 day', 'merge', id, 'A', id, 'B', id, '{{}}', '{{}}'
FROM (SELECT gen_random_uuid() AS id, days FROM (VALUES (29), (31)) AS ago (days)) merges;
INSERT INTO merged_rows (merge_id, kind, old_row) SELECT id, 'anime', '{{}}' FROM anime_merges;
INSERT INTO idempotency_keys (user_id, key, request, created_at)
SELECT id, hours::text::bytea, '', now() - hours * interval '1 hour' FROM users, (VALUES (23), (25)) AS ago (hours);
INSERT INTO import_runs (id, file_name, state, created_at) SELECT gen_random_uuid(), name, state, now() - age
FROM (VALUES ('old', 'checked', interval '8 days'), ('done', 'done', '8 days'), ('new', 'uploaded', '6 days'))
AS runs (name, state, age);
INSERT INTO import_chunks SELECT id, 0, 'x' FROM import_runs WHERE file_name <> 'done';
INSERT INTO library_imports (id, user_id, policy, dry_run, size, state, created_at, finished_at)
SELECT gen_random_uuid(), id, 'keep', false, days, 'done', now() - days * interval '1 day', now()
FROM users, (VALUES (29), (31)) AS ago (days);
INSERT INTO library_import_chunks SELECT id, 'rows', 0, '[]' FROM library_imports;
INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created)
SELECT n, 'queued', 'old', 0, now() - interval '31 days' FROM generate_series(1, {MANY}) n;
INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created)
VALUES (1, 'queued', 'new', 0, now() - interval '29 days');
INSERT INTO account_tokens (id, purpose, token_hash, expires_at)
SELECT gen_random_uuid(), 'invite', days, now() - days * interval '1 day' FROM (VALUES (29), (31)) AS ago (days);
INSERT INTO pgqueuer (entrypoint, priority, status, updated)
SELECT status || days, 0, status::pgqueuer_status, now() - days * interval '1 day'
FROM (VALUES ('failed', 31), ('failed', 29), ('queued', 31)) AS jobs (status, days);
INSERT INTO spent_challenges SELECT gen_random_uuid(), now() + minutes * interval '1 minute'
FROM (VALUES (-61), (-59)) AS later (minutes);
INSERT INTO users (id, email, username, password_hash)
SELECT gen_random_uuid(), name || '@y.org', name, 'none' FROM (VALUES ('old'), ('new'), ('confirmed')) AS names (name);
INSERT INTO totp_factors (user_id, secret, created_at, confirmed_at)
SELECT id, '', now() - CASE WHEN username = 'new' THEN interval '59 minutes' ELSE '61 minutes' END,
CASE WHEN username = 'confirmed' THEN now() END FROM users WHERE email LIKE '%@y.org';
"""


async def test_purge_deletes_old_rows_in_batches(database: URL, tmp_path: Path) -> None:
    await execute(database, PURGED)
    code, output, errors = await invoked(tmp_path, "purge", database=database)
    assert code == 0, errors
    assert output == (
        f"Removed {MANY + BATCH:,} sessions, {MANY:,} refresh tokens, 1 account tokens, 1 challenges, "
        "1 unconfirmed totp, 1 tombstones, 1 idempotency keys, 1 merged rows, "
        f"1 missed searches, {MANY:,} counters, 1 login counters, 0 sign in flows, "
        f"1 unfinished imports, 1 library imports, 1 failed jobs, {MANY:,} job log lines, 0 stray files.\n"
    )
    left = await fetch(database, "SELECT ip FROM auth_sessions ORDER BY ip")
    assert left == [("expired",), ("living",), ("revoked",)]
    tokens = "SELECT ip, t.generation FROM refresh_tokens t JOIN auth_sessions ON id = session_id ORDER BY 1, 2"
    # A revoked session keeps all, for the response "revoked".
    kept = [("expired", 1), ("living", 0), ("living", 1), ("revoked", 0), ("revoked", 1)]
    assert await fetch(database, tokens) == kept
    for table in ("rate_limits", "login_counters"):
        assert await fetch(database, f"SELECT key FROM {table}") == [(b"living",)]
    assert await fetch(database, "SELECT email FROM users") == [
        (f"{name}@{domain}.org",) for name, domain in (("a", "x"), ("old", "y"), ("new", "y"), ("confirmed", "y"))
    ]
    assert await fetch(database, "SELECT count(*) FROM spent_challenges") == [(1,)]
    factors = "SELECT username FROM totp_factors JOIN users ON id = user_id ORDER BY 1"
    assert await fetch(database, factors) == [("confirmed",), ("new",)]
    assert await fetch(database, "SELECT key FROM idempotency_keys") == [(b"23",)]
    assert await fetch(database, "SELECT count(*) FROM tombstones WHERE deleted_at > now() - interval '30 days'") == [
        (1,)
    ]
    assert await fetch(database, "SELECT file_name FROM import_runs ORDER BY 1") == [("done",), ("new",)]
    assert await fetch(database, "SELECT count(*) FROM import_chunks") == [(1,)]
    assert await fetch(database, "SELECT size FROM library_imports") == [(29,)]
    assert await fetch(database, "SELECT entrypoint FROM pgqueuer_log") == [("new",)]
    assert await fetch(database, "SELECT entrypoint FROM pgqueuer ORDER BY 1") == [("failed29",), ("queued31",)]
    assert (await invoked(tmp_path, "purge", database=database))[1] == (
        "Removed 0 sessions, 0 refresh tokens, 0 account tokens, 0 challenges, 0 unconfirmed totp, 0 tombstones, "
        "0 idempotency keys, 0 merged rows, 0 missed searches, 0 counters, 0 login counters, 0 sign in flows, "
        "0 unfinished imports, 0 library imports, 0 failed jobs, 0 job log lines, 0 stray files.\n"
    )


async def test_purge_before_migration_is_refused(bare_database: URL, tmp_path: Path) -> None:
    code, _, errors = await invoked(tmp_path, "purge", database=bare_database)
    assert code == 1
    assert "run `kitsu migrate`" in errors


async def test_reset_second_factor_lets_the_password_be_enough(
    database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(database) as client:
        await protect(client, Clock(monkeypatch))
    assert await login(database, EMAIL, PASSWORD) == 401
    mail = {"MAIL_URL": f"file://{tmp_path}"}
    code, output, errors = await invoked(tmp_path, "reset-second-factor", EMAIL, database=database, **mail)
    (payload,) = await column(
        database, "SELECT payload FROM pgqueuer WHERE entrypoint = 'send-mail' ORDER BY id DESC LIMIT 1"
    )
    notice = json.loads(payload)
    assert (notice["template"], notice["to"]) == ("notice-second-factor-changed", EMAIL)
    assert (code, "signs in with the password alone" in output) == (0, True), errors
    assert await login(database, EMAIL, PASSWORD) == 200
    assert await fetch(database, "SELECT action FROM admin_actions") == [("second factor reset",)]
    code, _, errors = await invoked(tmp_path, "reset-second-factor", "unknown@example.org", database=database)
    assert (code, errors) == (1, "Error: User not found\n")
