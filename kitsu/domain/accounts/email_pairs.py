"""Accounts of a database from before Kitsu whose e-mails differ only in case: Kitsu allows one of each.

Plain SQL instead of models: it runs on the older schema, which can't be migrated before.
"""

from itertools import groupby, product
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_PAIRS = text("""
SELECT lower(u.email) AS address, u.id, u.email,
       (SELECT count(*) FROM favorites f WHERE f.user_id = u.id) AS favorites,
       (SELECT count(*) FROM watch_progress w WHERE w.user_id = u.id) AS progress,
       (SELECT max(last_watched_at) FROM watch_progress w WHERE w.user_id = u.id) AS last_watched_at
FROM users u
WHERE lower(u.email) IN (SELECT lower(email) FROM users GROUP BY lower(email) HAVING count(*) > 1)
ORDER BY address, u.email = ANY(:keep) DESC, u.is_active DESC, last_watched_at DESC NULLS LAST, u.created_at DESC, u.id
""")
_MERGE = (
    # Of two rows of an anime the one that was watched last is kept.
    text("""
    DELETE FROM watch_progress w USING watch_progress other
    WHERE w.user_id = :kept AND other.user_id = :merged AND w.anime_id = other.anime_id
      AND coalesce(other.last_watched_at, '-infinity') > coalesce(w.last_watched_at, '-infinity')
    """),
    text("""
    UPDATE watch_progress SET user_id = :kept WHERE user_id = :merged
      AND anime_id NOT IN (SELECT anime_id FROM watch_progress WHERE user_id = :kept)
    """),
    text("""
    UPDATE favorites SET user_id = :kept WHERE user_id = :merged
      AND anime_id NOT IN (SELECT anime_id FROM favorites WHERE user_id = :kept)
    """),
    text("DELETE FROM users WHERE id = :merged"),
)


async def settle(engine: AsyncEngine, keep: frozenset[str], *, dry_run: bool) -> list[list[Any]]:
    """Merge the accounts of each pair into one; with `dry_run` only report them.

    The account in `keep` is kept, else the active one that watched last. It gets favourites and progress of the others,
    which are deleted. Returns the rows of _PAIRS for each pair, the account to keep first. Raises ValueError for an
    e-mail in `keep` that is in no pair.
    """
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))
        rows = (await connection.execute(_PAIRS, {"keep": list(keep)})).all()
        if unknown := keep - {row.email for row in rows}:
            raise ValueError(f"No account of a pair has the e-mail {', '.join(sorted(unknown))}.")
        pairs = [list(pair) for _, pair in groupby(rows, key=lambda row: row.address)]
        for kept, *others in () if dry_run else pairs:
            for other, statement in product(others, _MERGE):
                await connection.execute(statement, {"kept": kept.id, "merged": other.id})
    return pairs
