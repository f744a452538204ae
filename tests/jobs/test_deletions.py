"""Deletion of accounts that their owners deactivated: by the purge and a job, in small steps, also after a kill."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.accounts.deletion import BATCH, DeleteAccount
from kitsu.domain.jobs import enqueue
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations.purge import purge
from kitsu.errors import NotFound
from tests.cli.process import kitsu
from tests.databases import column, connect, engine_of, execute
from tests.factories import SignedIn, insert, insert_one_of_each, sign_in, viewer_rows
from tests.jobs.working import finished, until, working

MANY = 10 * BATCH + 1
DUE = "UPDATE users SET deletion_at = now() - interval '1 second' WHERE id = $1"
JOBS = "SELECT entrypoint FROM pgqueuer ORDER BY 1"


@pytest.fixture
def media(tmp_path: Path) -> str:
    (tmp_path / "media" / "avatars").mkdir(parents=True)
    return f"file://{tmp_path}/media"


async def leaver(rows: asyncpg.Connection, role: str = "user") -> SignedIn:
    """Insert a user with rows of each kind, whose account is to be deleted."""
    user = await sign_in(rows, role)
    anime_id = await insert(rows, "anime", {"title": "Anime"})
    release_id = await insert(rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"})
    episode_id = await insert(rows, "episodes", {"release_id": UUID(release_id), "number": 1})
    await insert_one_of_each(rows, user.user_id, anime_id, episode_id)
    await rows.execute(
        "INSERT INTO plays (id, user_id, anime_id, episode, watched_at) SELECT gen_random_uuid(), $1, $2, 1, now() "
        f"FROM generate_series(1, {MANY})",
        *(user.user_id, UUID(anime_id)),
    )
    await rows.execute(DUE, user.user_id)
    return user


async def run_purge(database: URL, media: str) -> None:
    async with engine_of(database) as engine:
        await purge(engine, OrphanFiles(engine, MediaStore(media, None)))


async def put(database: URL, user_id: UUID) -> None:
    async with engine_of(database) as engine, AsyncSession(engine) as session:
        await enqueue(session, DeleteAccount(user_id))
        await session.commit()


async def mails(database: URL) -> list[tuple[Any, ...]]:
    """Return template and recipient of the mails that wait."""
    query = """
        SELECT row(mail ->> 'template', mail ->> 'to')
        FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS mail FROM pgqueuer WHERE entrypoint = 'send-mail') mails
        ORDER BY 1
    """
    return await column(database, query)


async def test_purge_and_worker_delete_account_with_rows_and_file(
    database: URL, rows: asyncpg.Connection, media: str
) -> None:
    user, other = await leaver(rows), await sign_in(rows)
    store = MediaStore(media, None)
    await store.put("avatars/0123.webp", b"picture", "image/webp")
    await rows.execute("UPDATE users SET avatar = 'uploads/avatars/0123.webp' WHERE id = $1", user.user_id)
    await run_purge(database, media)
    await run_purge(database, media)
    assert await column(database, JOBS) == ["delete-account"]
    async with working(database, media_url=media):
        await finished(database)
    assert await column(database, "SELECT id FROM users") == [other.user_id]
    assert await viewer_rows(rows, user.user_id) == []
    assert await column(database, "SELECT count(*) FROM plays") == [0]
    assert await column(database, "SELECT user_id FROM auth_sessions") == [other.user_id]
    with pytest.raises(NotFound):
        await store.get("avatars/0123.webp")
    assert await column(database, JOBS) == []


async def test_rows_of_editor_stay_without_author(database: URL, rows: asyncpg.Connection, media: str) -> None:
    user = await leaver(rows, "editor")
    await rows.execute(
        "INSERT INTO admin_actions (user_id, action, subject, details) "
        f"SELECT $1, 'user changed', 'x', '{{}}' FROM generate_series(1, {BATCH + 1})",
        user.user_id,
    )
    await put(database, user.user_id)
    async with working(database, media_url=media):
        await finished(database)
    assert await column(database, "SELECT count(*) FROM users") == [0]
    assert await column(database, "SELECT count(*) FROM admin_actions WHERE user_id IS NULL") == [BATCH + 1]


async def test_account_that_came_back_is_not_deleted(database: URL, rows: asyncpg.Connection, media: str) -> None:
    user = await leaver(rows)
    await run_purge(database, media)
    await rows.execute("UPDATE users SET deletion_at = NULL")
    async with working(database, media_url=media):
        await finished(database)
    assert await column(database, "SELECT id FROM users") == [user.user_id]
    assert await column(database, "SELECT count(*) FROM plays") == [MANY]


async def test_last_administrator_is_never_deleted(database: URL, rows: asyncpg.Connection, media: str) -> None:
    user = await leaver(rows, "admin")
    await put(database, user.user_id)
    async with working(database, media_url=media):
        await finished(database)
        assert await column(database, "SELECT count(*) FROM plays") == [MANY]
        other = await sign_in(rows, "admin")
        await put(database, user.user_id)
        await finished(database)
    assert await column(database, "SELECT id FROM users") == [other.user_id]


async def test_owner_is_reminded_once_three_days_before(database: URL, rows: asyncpg.Connection, media: str) -> None:
    for days in (2, 4):
        user = await sign_in(rows)
        await rows.execute(f"UPDATE users SET deletion_at = now() + interval '{days} days' WHERE id = $1", user.user_id)
    await run_purge(database, media)
    await run_purge(database, media)
    assert [template for template, _ in await mails(database)] == ["account-deletion-soon"]
    await execute(database, "UPDATE users SET deletion_at = deletion_at - interval '2 days'")
    await run_purge(database, media)
    sent = await mails(database)
    assert len(sent) == 2
    assert ("account-deletion-soon", f"{user.user_id}@example.org") in sent
    async with working(database):
        await finished(database)
    assert await column(database, "SELECT id FROM users") == [user.user_id]


async def test_deletion_locks_few_rows_at_a_time(database: URL, rows: asyncpg.Connection, media: str) -> None:
    user = await leaver(rows)
    # The worker waits for this row.
    holder = await connect(database)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM plays ORDER BY id LIMIT 1 FOR UPDATE")
    await put(database, user.user_id)

    async def has_begun() -> bool:
        return await column(database, "SELECT id FROM auth_sessions") == []

    try:
        async with working(database, media_url=media):
            await until(has_begun)
            await rows.execute("UPDATE users SET username = 'unlocked' WHERE id = $1", user.user_id)
            await transaction.rollback()
            await finished(database)
    finally:
        await holder.close()
    assert await column(database, "SELECT count(*) FROM users") == [0]


@pytest.mark.slow
def test_deletion_of_killed_worker_is_continued_by_another(tmp_path: Path, database: URL, media: str) -> None:
    async def prepare() -> asyncpg.Connection:
        rows = await connect(database)
        user = await leaver(rows)
        await rows.close()
        await put(database, user.user_id)

    def plays() -> int:
        (number,) = asyncio.run(column(database, "SELECT count(*) FROM plays"))
        return int(number)

    asyncio.run(prepare())
    # Each statement waits, so that the worker is killed in the middle.
    asyncio.run(
        execute(
            database,
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END'",
            "CREATE TRIGGER wait AFTER DELETE ON plays FOR EACH STATEMENT EXECUTE FUNCTION wait()",
        )
    )
    with kitsu(tmp_path, "worker", database=database, MEDIA_URL=media) as killed:
        killed.until(lambda: plays() < MANY, "a part was deleted")
        os.kill(killed.pid, signal.SIGKILL)
        killed.process.wait(10)
    assert 0 < plays() < MANY
    with kitsu(tmp_path, "worker", database=database, MEDIA_URL=media) as other:
        other.until(lambda: not asyncio.run(column(database, "SELECT id FROM users")), "the account was deleted")
        other.prints("job finished")
    assert plays() == 0
