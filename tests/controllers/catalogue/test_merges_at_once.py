"""Merges while viewers and other editors write, and undos after further merges."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.controllers.catalogue.test_merges import keep, kept, merge, new_anime, pair
from tests.databases import connect
from tests.factories import Backend, Viewer


@pytest.fixture
async def editor(backend: Backend) -> Viewer:
    return await backend.viewer("editor")


@asynccontextmanager
async def transaction_of(backend: Backend) -> AsyncIterator[asyncpg.Connection]:
    """Open a transaction beside the application. It is committed at the end."""
    connection = await connect(backend.url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


async def waiting(backend: Backend, count: int) -> None:
    """Wait until so many statements of the application wait for a lock."""
    locked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while await backend.rows.fetchval(locked) < count:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)


async def merge_ids(editor: Viewer) -> dict[str, str]:
    return {each["from_id"]: each["id"] for each in await editor.read("/merges") if each["undone_at"] is None}


async def undo(editor: Viewer, merge_id: str, status: int = 200) -> Any:
    return await editor.write("POST", f"/merges/{merge_id}/undo", status=status)


async def test_chain_of_undos_restores_what_viewers_had(backend: Backend, editor: Viewer) -> None:
    first, second = await pair(editor)
    third = (await new_anime(editor, "Third", "anisearch"))["id"]
    one, two, all_three = [await backend.viewer() for _ in range(3)]
    await keep(one, first, 7, "watching", "Good")
    await keep(two, first, 9, "dropped", "Second")
    await keep(two, second, 3, "on_hold", "First")
    for episode, anime_id in enumerate((first, second, third), 2):
        await keep(all_three, anime_id, episode, "watching", str(episode))
    viewers = (one, two, all_three)

    async def state() -> list[Any]:
        return [{name: sorted(rows) for name, rows in (await kept(viewer)).items()} for viewer in viewers]

    states = [await state()]
    for old, into in ((first, second), (second, third)):
        await merge(editor, old, into)
        states.append(await state())
    ids = await merge_ids(editor)
    await undo(editor, ids[second])
    assert await state() == states[1]
    await undo(editor, ids[first])
    assert await state() == states[0]


async def test_undo_after_the_undo_of_another_merge_restores_viewers(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    other = (await new_anime(editor, "Other", "anisearch"))["id"]
    viewer = await backend.viewer()
    for episode, anime_id in enumerate((old, into, other), 2):
        await keep(viewer, anime_id, episode, "watching", str(episode))
    before = {name: sorted(rows) for name, rows in (await kept(viewer)).items()}
    await merge(editor, old, into)
    await merge(editor, other, into)
    ids = await merge_ids(editor)
    await undo(editor, ids[other])
    await undo(editor, ids[old])
    assert {name: sorted(rows) for name, rows in (await kept(viewer)).items()} == before


async def test_row_that_a_viewer_adds_during_a_merge_is_kept(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    viewer = await backend.viewer()
    await keep(viewer, old, 3, "watching", "Old")
    async with transaction_of(backend) as other:
        for table, columns, values in (
            ("watch_progress", "episode, position_seconds", "10, 5"),
            ("library_entries", "status, notes", "'completed', 'New'"),
        ):
            await other.execute(
                f"INSERT INTO {table} (id, user_id, anime_id, {columns})"
                f" VALUES (gen_random_uuid(), $1, $2::text::uuid, {values})",
                *(viewer.id, into),
            )
        merging = asyncio.create_task(merge(editor, old, into))
        await waiting(backend, 1)
    await merging
    after = await kept(viewer)
    assert after["progress"] == [(into, 10)]
    assert after["library"] == [(into, "completed", "New\n\nOld")]


async def test_undo_during_a_further_merge_is_no_deadlock(backend: Backend, editor: Viewer) -> None:
    first, second = await pair(editor)
    third = (await new_anime(editor, "Third", "anisearch"))["id"]
    await merge(editor, first, second)
    merge_id = (await merge_ids(editor))[first]
    async with transaction_of(backend) as other:
        await other.execute("SELECT FROM anime WHERE id = $1::text::uuid FOR UPDATE", third)
        merging = asyncio.create_task(editor.request("POST", f"/anime/{second}/merge", json={"into": third}))
        await waiting(backend, 1)
        undoing = asyncio.create_task(editor.request("POST", f"/merges/{merge_id}/undo"))
        await waiting(backend, 2)
    assert [(await each).status_code for each in (merging, undoing)] == [200, 409]
    assert (await editor.read(f"/anime/{first}"))["id"] == third
