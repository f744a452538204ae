"""How anime are merged: the statements of merging.sql, on a connection of asyncpg, in a transaction of the caller."""

from functools import partial
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.statements import read_statements
from kitsu.domain.fields import described

UNDO_DAYS = 30
STATEMENT_SECONDS = 30
"""An anime with 20,000 viewers takes 3 seconds, more than a request's statements may take together."""

_SQL = read_statements(__package__, "merging.sql")
_ALLOW_TIME = f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"
_LISTS = ("favorites", "watch_progress", "library_entries", "collection_items")
_COLUMNS = ", ".join(column.name for column in models.Anime.metadata.tables["anime"].columns if not column.computed)
_RESTORE_ANIME = f"""
    INSERT INTO anime ({_COLUMNS}) SELECT {_COLUMNS} FROM jsonb_populate_record(NULL::anime, (
        SELECT old_row || jsonb_build_object('updated_at', now())
        FROM merged_rows WHERE merge_id = $1 AND kind = 'anime'
    ))
"""  # noqa: S608 - the names of the model's columns


class Moved(msgspec.Struct):
    """The rows of a list that a merge moved."""

    moved: Annotated[int, described("Rows that the viewer had only of the merged anime.", 12)] = 0
    combined: Annotated[int, described("Rows that the viewer had of both anime.", 3)] = 0


class MergeReport(msgspec.Struct):
    """What a merge moved, or would move."""

    releases: Annotated[int, described("Releases.", 1)] = 0
    external_ids: Annotated[int, described("External ids.", 2)] = 0
    titles: Annotated[list[str], described("Titles that became synonyms.", ["DN"])] = []
    favorites: Moved = msgspec.field(default_factory=Moved)
    watch_progress: Moved = msgspec.field(default_factory=Moved)
    library_entries: Moved = msgspec.field(default_factory=Moved)
    collection_items: Moved = msgspec.field(default_factory=Moved)


async def lock_pair(connection: asyncpg.Connection, old: UUID, into: UUID) -> list[str | None]:
    """Lock two anime, in one order for all. Return their titles, None for one that does not exist."""
    titles = {}
    for each in sorted((old, into)):
        # Viewers may refer to them meanwhile: they may hold a row of theirs that the merge locks next.
        titles[each] = await connection.fetchval("SELECT title FROM anime WHERE id = $1 FOR NO KEY UPDATE", each)
    return [titles[old], titles[into]]


async def merge(
    connection: asyncpg.Connection, old: UUID, into: UUID, titles: tuple[str, str], source: str, user_id: UUID | None
) -> tuple[UUID, MergeReport]:
    """Merge an anime into another one; both are locked. Return the merge's id and what was moved."""
    merge_id = uuid7()
    await connection.execute(_ALLOW_TIME)
    await connection.execute(
        "INSERT INTO anime_merges (id, user_id, source, from_id, from_title, into_id, into_title, current_id, moved,"
        " report) VALUES ($1, $2, $3, $4, $5, $6, $7, $6, '{}', '{}')",
        *(merge_id, user_id, source, old, titles[0], into, titles[1]),
    )
    run = partial(connection.fetchrow, timeout=STATEMENT_SECONDS)
    await run(_SQL["lock"], old, into)
    await run(_SQL["lock_library"], old, into)
    await run(_SQL["lock_collections"], old)
    await run("SELECT FROM anime WHERE id = $1 FOR UPDATE", old)  # from now on no viewer can refer to it
    report = MergeReport()
    for name in _LISTS:
        setattr(report, name, Moved(**await run(_SQL[name], old, into, merge_id)))
    await connection.execute(_SQL["plays"], old, into, merge_id, timeout=STATEMENT_SECONDS)
    moved: dict[str, list[str]] = dict(await run(_SQL["anime"], old, into, merge_id))
    report.releases, report.external_ids = len(moved["releases"]), len(moved["external_ids"])
    report.titles = moved["titles"]
    await run("DELETE FROM anime WHERE id = $1", old)
    await connection.execute(_SQL["become"], old, into)
    await connection.execute(
        "UPDATE anime_merges SET moved = $2, report = $3 WHERE id = $1",
        *(merge_id, msgspec.json.encode(moved).decode(), msgspec.json.encode(report).decode()),
    )
    return merge_id, report


async def undo(connection: asyncpg.Connection, merge_id: UUID, old: UUID, into: UUID) -> None:
    """Undo a merge. The anime that the other one became is locked."""
    await connection.execute(_ALLOW_TIME)
    await connection.execute(_RESTORE_ANIME, merge_id)
    run = partial(connection.execute, timeout=STATEMENT_SECONDS)
    for name in ("restore_catalogue", "keep_unchanged", "restore_plays", "restore_collection_items"):
        await run(_SQL[name], old, into, merge_id)
    # The planner's statistics may not know the viewers that a merge gave an anime: a nested loop would take minutes.
    await run("SET LOCAL enable_nestloop = off")
    for name in ("restore_favorites", "restore_watch_progress", "restore_library_entries"):
        await run(_SQL[name], old, into, merge_id)
    await run(_SQL["forget"], old, merge_id)
    await run("DELETE FROM merged_rows WHERE merge_id = $1", merge_id)
