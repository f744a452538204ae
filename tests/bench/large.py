"""`make bench-large`: 20 million rows of progress and 50 million plays, as plain tables and as hash partitions by user.

Both live in one database, and take turns under the names of the service's tables.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.embedded import shared_server
from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.statements import StatementRunner
from kitsu.domain.pagination import PageRequest
from kitsu.domain.viewer.limits import ViewerLimits
from kitsu.domain.viewer.plays import PlayReader
from kitsu.domain.viewer.watch_progress import NewProgress, WatchProgressReader, WatchProgressRecorder
from tests.bench.dataset import CATALOGUE, USERS
from tests.bench.servers import ROOT
from tests.databases import connect, engine_of, execute

RESULTS = Path(__file__).with_name("RESULTS-LARGE.md")
DATABASE = "bench_large"
ANIME, VIEWERS = 11_000, 200_000
PER_USER = {"watch_progress": 100, "plays": 250}
PARTITIONS = 32
ROUNDS = 3
CLIENTS, SECONDS = 4, 10

NUMBERS = """
    CREATE TABLE bench_users AS SELECT row_number() OVER () AS n, id FROM users;
    CREATE TABLE bench_anime AS SELECT row_number() OVER () - 1 AS n, id FROM anime;
"""
# One row of each user after the other, so that the rows of a user lie far apart, as they do in a service.
ROWS = {
    "watch_progress": """
        INSERT INTO watch_progress (id, user_id, anime_id, episode, position_seconds, last_watched_at, updated_at)
        SELECT uuidv7(), u.id, a.id, 1 + ($1 + u.n) % 11, 700, t, t
        FROM bench_users u JOIN bench_anime a ON a.n = (u.n * 7919 + $1 * 613) % {anime},
             LATERAL (SELECT now() - make_interval(days => 300 - $1::int, secs => u.n)) AS times (t)
    """,
    "plays": """
        INSERT INTO plays (id, user_id, anime_id, episode, watched_at)
        SELECT uuidv7(), u.id, a.id, 1 + $1 % 12, now() - make_interval(days => 300 - $1::int, secs => u.n)
        FROM bench_users u JOIN bench_anime a ON a.n = (u.n * 7919 + ($1 / 12) * 613) % {anime}
    """,
}
CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'f') ORDER BY contype = 'f'
"""
INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1
    AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass)
"""
SIZE = """
    SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class
    WHERE oid = $1::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass)
"""


async def build(connection: Any) -> dict[str, dict[str, Any]]:
    """Fill the plain tables and copy them into the partitioned ones; return the sizes in bytes of both."""
    await connection.execute(CATALOGUE.format(first=1, last=ANIME))
    await connection.execute(USERS, VIEWERS)
    await connection.execute(NUMBERS)
    await connection.execute("SET maintenance_work_mem = '1GB'; SET synchronous_commit = off")
    sizes: dict[str, dict[str, Any]] = {"plain": {}, "partitioned": {}}
    for table, count in PER_USER.items():
        constraints, indexes = await connection.fetch(CONSTRAINTS, table), await connection.fetch(INDEXES, table)
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        for name, _ in reversed(constraints):
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for number in range(count):
            await connection.execute(ROWS[table].format(anime=ANIME), number)
        note(f"{table}: {count * VIEWERS:,} rows")
        await add_keys(connection, table, constraints, indexes)
        sizes["plain"][table] = await connection.fetchval(SIZE, table)
        await connection.execute(f"ALTER TABLE {table} RENAME TO {table}_plain")
        await rename_indexes(connection, f"{table}_plain", "plain")
        await connection.execute(
            f"CREATE TABLE {table} (LIKE {table}_plain INCLUDING DEFAULTS) PARTITION BY HASH (user_id)"
        )
        for part in range(PARTITIONS):
            await connection.execute(
                f"CREATE TABLE {table}_{part} PARTITION OF {table} "
                f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part})"
            )
        await connection.execute(f"INSERT INTO {table} SELECT * FROM {table}_plain")
        await add_keys(connection, table, constraints, indexes)
        sizes["partitioned"][table] = await connection.fetchval(SIZE, table)
        await connection.execute(f"ALTER TABLE {table} RENAME TO {table}_partitioned")
        note(f"{table}: {sizes['plain'][table]:,.0f} and {sizes['partitioned'][table]:,.0f} bytes")
    await connection.execute("VACUUM ANALYZE")
    return sizes


async def add_keys(connection: Any, table: str, constraints: Any, indexes: Any) -> None:
    """Add the constraints and indexes of a table after its rows: that is faster."""
    for name, text in constraints:
        await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}")
    for _, text in indexes:
        await connection.execute(text)


async def rename_indexes(connection: Any, table: str, suffix: str) -> None:
    """Give the indexes of a table other names, so that another table can have theirs."""
    for (name,) in await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename = $1", table):
        await connection.execute(f"ALTER INDEX {name} RENAME TO {name}_{suffix}")


async def use(connection: Any, kind: str, other: str) -> None:
    """Give the tables of a kind the names that the service uses."""
    for table in PER_USER:
        if await connection.fetchval("SELECT to_regclass($1)", table) is not None:
            await connection.execute(f"ALTER TABLE {table} RENAME TO {table}_{other}")
        await connection.execute(f"ALTER TABLE {table}_{kind} RENAME TO {table}")


async def measure(url: URL, users: list[UUID], anime: list[UUID]) -> dict[str, list[float]]:
    """Return the response times in seconds of each statement, sent by CLIENTS one after the other."""
    timeouts = Timeouts(statement=30)
    runner = StatementRunner(url, size=CLIENTS, recycle=-1, timeouts=timeouts)
    engine = create_engine(url, timeouts=timeouts)
    reader, plays = WatchProgressReader(runner), PlayReader(runner)
    recorder = WatchProgressRecorder(runner, engine, ViewerLimits(collections=1, collection_anime=1, plays=1_000_000))
    chance = random.Random(1)  # noqa: S311 - a fixed seed

    def report(percent: float) -> Callable[[], Awaitable[object]]:
        def send() -> Awaitable[object]:
            new = NewProgress(chance.choice(anime), chance.randrange(1, 13), 700, percent)
            return recorder.record(chance.choice(users), new, None)

        return send

    kinds: dict[str, Callable[[], Awaitable[object]]] = {
        "continue": lambda: reader.to_continue(chance.choice(users), PageRequest()),
        "plays, newest first": lambda: plays.page(chance.choice(users), PageRequest()),
        "report a position": report(40),
        "finish an episode": report(100),
    }
    times: dict[str, list[float]] = {}
    for name, send in kinds.items():
        await run(send, 1)
        times[name] = await run(send, SECONDS)
    runner.close()
    await engine.dispose()
    return times


async def run(send: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    """Send from CLIENTS for some seconds, and return the response times."""
    times: list[float] = []
    ends_at = time.perf_counter() + seconds

    async def client() -> None:
        while (began := time.perf_counter()) < ends_at:
            await send()
            times.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


async def figures(server: URL) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, list[float]]]]:
    """Return the sizes, and the response times of all rounds by kind of table and statement."""
    await execute(server, f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE}")
    url = server.set(database=DATABASE)
    async with engine_of(url) as engine:
        await migrations.migrate(engine)
    connection: Any = await connect(url)
    try:
        sizes = await build(connection)
        users = [row[0] for row in await connection.fetch("SELECT id FROM users")]
        anime = [row[0] for row in await connection.fetch("SELECT id FROM anime")]
        times: dict[str, dict[str, list[float]]] = {"plain": {}, "partitioned": {}}
        for _ in range(ROUNDS):
            for kind, other in (("plain", "partitioned"), ("partitioned", "plain")):
                await use(connection, kind, other)
                for name, values in (await measure(url, users, anime)).items():
                    times[kind].setdefault(name, []).extend(values)
                note(f"{kind} measured")
    finally:
        await connection.close()
        await execute(server, f"DROP DATABASE {DATABASE}")
    return sizes, times


def note(text: str) -> None:
    """Print what was done."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)  # noqa: T201 - the benchmark takes half an hour


def main() -> None:
    """Measure, and write RESULTS-LARGE.md."""
    with shared_server(ROOT / ".local" / "bench-postgres") as server:
        sizes, times = asyncio.run(figures(server))
    lines = [
        f"# Large tables, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Python {sys.version.split()[0]}, the embedded PostgreSQL, {VIEWERS:,} users, {ANIME:,} anime.",
        f"{CLIENTS} clients send the service's statements, {ROUNDS} times {SECONDS} s to each kind of table, in turns.",
        "",
        f"| table | rows | plain GB | {PARTITIONS} partitions GB |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{table}` | {count * VIEWERS:,} | {sizes['plain'][table] / 1e9:.1f} | "
            f"{sizes['partitioned'][table] / 1e9:.1f} |"
            for table, count in PER_USER.items()
        ),
        "",
        "| statement | plain/s | partitions/s | p50 ms plain | p50 ms partitions | p99 ms plain | p99 ms partitions |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, plain in times["plain"].items():
        both = [sorted(plain), sorted(times["partitioned"][name])]
        rates = [f"{len(each) / ROUNDS / SECONDS:,.0f}" for each in both]
        middle, late = ([f"{each[len(each) * p // 100] * 1000:.2f}" for each in both] for p in (50, 99))
        lines.append(f"| {name} | {' | '.join([*rates, *middle, *late])} |")
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
