"""Applies what a file says of the identity of anime: merges, splits and ids that moved. The rest is for the editors."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from kitsu.domain.catalogue import merging
from kitsu.domain.catalogue.importing.matching import Difference, Entry, Known, Link, fold, match

CONTESTED = "its sources belong to other entries too"


class Identities(msgspec.Struct):
    """How many anime and ids changed."""

    anime_merged: int = 0
    anime_split: int = 0
    ids_moved: int = 0
    reviews: int = 0
    """Differences that an editor has to decide."""
    contested: list[int] = []
    """Numbers of the entries whose sources all belong to other entries too."""


async def identify(connection: asyncpg.Connection, sql: Mapping[str, str]) -> Identities:
    """Find the anime of each staged entry, and merge anime. The ids of the other differences are staged."""
    result = Identities(contested=[number for (number,) in await connection.fetch(sql["ungroup"])])
    await connection.execute(sql["link"])
    links = [
        Link(root, anime_id, *map(frozenset, sets)) for root, anime_id, *sets in await connection.fetch(sql["match"])
    ]
    entries = await connection.fetch(sql["entries"], list({link.number for link in links}))
    known = await connection.fetch(sql["known"], list({link.anime_id for link in links}))
    matches = match(
        [Entry(number, msgspec.json.decode(fields)) for number, fields in entries],
        [
            Known(row["id"], frozenset(map(fold, filter(None, row["titles"]))), row["type"], row["year"],
                  frozenset(row["ids"]), await connection.fetchval(sql["viewers"], row["id"]))
            for row in known
        ],
        links,
    )  # fmt: skip
    await connection.executemany(
        "UPDATE import_entries SET target = $2 WHERE root = $1", list(matches.assigned.items())
    )
    decided = dict(await connection.fetch(sql["decided"], [each.key for each in matches.differences]))
    # An entry without an anime of its own is a new one if it has ids of its own.
    lost = {link.number for link in links} - matches.assigned.keys() - {each.number for each in matches.differences}
    await connection.execute("UPDATE import_entries SET root = 0 WHERE root = ANY ($1)", list(lost))
    result.contested = sorted({*result.contested, *lost})
    undecided: list[Difference] = []
    for each in matches.differences:
        state = decided.get(each.key)
        # An open split stays open: the values of the first entry made the anime look like it.
        if each.reason or state == "kept" or (state == "open" and each.kind == "split"):
            if each.kind == "split":  # the entry is no new anime until an editor says so
                await connection.execute("UPDATE import_entries SET root = 0 WHERE root = $1", each.number)
            if state != "kept":
                undecided.append(each)
        else:
            await _apply(connection, each, result)
    for each in undecided:
        review = (each.kind, each.key, each.from_id, each.into_id, sorted(each.ids), each.reason, each.number)
        await connection.execute(sql["review"], uuid7(), *review)
    await connection.execute(sql["close_reviews"], [each.key for each in undecided])
    result.reviews = len(undecided)
    return result


async def _apply(connection: asyncpg.Connection, each: Difference, result: Identities) -> None:
    if each.kind == "merge" and each.into_id is not None:
        await merge_imported(connection, each.from_id, each.into_id, None)
        result.anime_merged += 1
        return
    moves = [(*external_id.split(":", 1), each.number) for external_id in sorted(each.ids)]
    await connection.copy_records_to_table("import_moves", records=moves)
    if each.kind == "split":
        result.anime_split += 1
    else:
        result.ids_moved += len(moves)


async def merge_imported(
    connection: asyncpg.Connection, from_id: UUID, into_id: UUID, user_id: UUID | None
) -> merging.MergeReport:
    """Merge an anime as the file says."""
    titles = await merging.lock_pair(connection, from_id, into_id)
    report: merging.MergeReport
    _, report = await merging.merge(connection, from_id, into_id, (titles[0] or "", titles[1] or ""), "import", user_id)
    return report
