"""Revisions 0031 to 0034, which put the user into each key of the tables of viewers."""

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from tests.databases import connect, engine_of
from tests.factories import add, insert, insert_user

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
UNFILLED = """
    SELECT user_id FROM collection_items WHERE user_id IS NULL
    UNION ALL SELECT user_id FROM refresh_tokens WHERE user_id IS NULL
"""
NEW_INDEXES = "SELECT oid::int FROM pg_class WHERE relkind = 'i' AND relname ~ '^key_'"
KEYS = "SELECT indexrelid::int FROM pg_index WHERE indisprimary"


async def migrate(url: URL, revision: str = "head") -> None:
    async with engine_of(url) as engine:
        await migrations.migrate(engine, revision)


async def store_as_before(rows: asyncpg.Connection, parents: dict[UUID, UUID], anime_id: str, number: int) -> None:
    """Store an item of each collection and a token of each session, as versions that know no user of them do."""
    for parent_id in parents:
        await insert(
            rows, "collection_items", {"collection_id": parent_id, "anime_id": UUID(anime_id), "position": number}
        )
        await rows.execute(
            "INSERT INTO refresh_tokens (session_id, generation, token_hash, expires_at) VALUES ($1, $2, $3, now())",
            *(parent_id, number, f"{parent_id} {number}"),
        )


@pytest.mark.parametrize("in_steps", [False, True], ids=["at-once", "in-the-steps-of-the-changelog"])
async def test_items_of_collections_and_refresh_tokens_get_their_user(database: URL, in_steps: bool) -> None:
    await migrate(database, "0030")
    one, two = await add(database, "anime", {"title": "One"}, {"title": "Two"})
    rows = await connect(database)
    # The session and the collection of a user have the same id.
    parents = {uuid4(): await insert_user(rows) for _ in range(2)}
    for parent_id, user_id in parents.items():
        row = {"id": parent_id, "user_id": user_id}
        await insert(rows, "collections", {**row, "name": "Mine"})
        await insert(rows, "auth_sessions", {**row, "expires_at": datetime.now(UTC)})
    await store_as_before(rows, parents, one, 1)
    if in_steps:
        await migrate(database, "0031")
        await store_as_before(rows, parents, two, 2)
        fill, indexes, *_ = re.findall(r"```sql\n(.*?)```", CHANGELOG.read_text(), re.DOTALL)
        block, vacuum = fill.split("$$;")
        await rows.execute(f"{block}$$")
        await rows.execute(vacuum)
        assert await rows.fetch(UNFILLED) == []
        for statement in indexes.split(";")[:-1]:
            await rows.execute(statement)
        built = await rows.fetch(NEW_INDEXES)
    await migrate(database)
    if in_steps:
        assert {*built} <= {*await rows.fetch(KEYS)}, "the migration built an index again"
    for table, parent in (("collection_items", "collection_id"), ("refresh_tokens", "session_id")):
        assert {tuple(row) for row in await rows.fetch(f"SELECT {parent}, user_id FROM {table}")} == {*parents.items()}
    await rows.close()
