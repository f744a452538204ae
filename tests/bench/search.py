"""`make bench-search`: how often a search finds what is meant, and how long it takes; writes RESULTS-SEARCH.md.

The queries are split: one half is for tuning the ranking, the other half is reported. `--tune` prints the first half,
with the queries whose title is not first.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.embedded import shared_server
from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import AnimeQuery
from kitsu.domain.catalogue.importing import import_catalogue
from kitsu.domain.catalogue.search import SearchReader
from kitsu.domain.pagination import PageRequest
from tests.bench.dataset import dsn
from tests.bench.search_queries import Query, fold, make_queries
from tests.bench.servers import ROOT

CATALOGUE = ROOT.parent / "shared" / "data" / "catalogue.jsonl"
RESULTS = Path(__file__).with_name("RESULTS-SEARCH.md")
LARGER = 20
Search = Callable[[str], Awaitable[list[str]]]
"""Returns the titles of the first twenty anime."""
ILIKE = "SELECT title FROM anime WHERE title ILIKE '%' || $1 || '%' ORDER BY title LIMIT 20"
SIMILARITY = "SELECT title FROM anime WHERE title % $1 ORDER BY similarity(title, $1) DESC LIMIT 20"


def read_titles() -> list[tuple[str, list[str]]]:
    """Return the main title and the synonyms of each anime in the file."""
    _, *lines = CATALOGUE.read_text("utf-8").splitlines()
    return [(entry["title"], entry["synonyms"]) for entry in map(json.loads, lines)]


async def prepare(server: URL, titles: list[tuple[str, list[str]]]) -> tuple[URL, URL]:
    """Return the database of the catalogue, and one that is twenty times as large with titles derived from it."""
    small, large = server.set(database="search"), server.set(database="search_large")
    connection = await asyncpg.connect(dsn(server))
    for url in (small, large):
        await connection.execute(f"DROP DATABASE IF EXISTS {url.database}")
    await connection.execute(f"CREATE DATABASE {small.database} TEMPLATE kitsu")
    engine = create_engine(small)
    await migrations.migrate(engine)
    await import_catalogue(engine, CATALOGUE)
    await engine.dispose()
    await connection.execute(f"CREATE DATABASE {large.database} TEMPLATE {small.database}")
    await connection.close()
    rows = [(uuid4(), title, None) for title in derived_titles([title for title, _ in titles])]
    for url in (small, large):
        connection = await asyncpg.connect(dsn(url))
        if url is large:
            await connection.copy_records_to_table("anime", records=rows, columns=("id", "title", "score"))
        await connection.execute("CREATE INDEX ON anime USING gin (title gin_trgm_ops)")  # for what it is compared with
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
    return small, large


def derived_titles(titles: list[str]) -> list[str]:
    """Return nineteen titles for each: some words are replaced by made ones of the same syllables."""
    chosen = random.Random(20)  # noqa: S311 - the same titles each time
    syllables = sorted({word[at : at + 2] for title in titles for word in fold(title).split() for at in (0, 2)})
    derived = []
    for title in titles:
        for _ in range(LARGER - 1):
            words = title.split()
            for at in chosen.sample(range(len(words)), max(1, len(words) // 2)):
                words[at] = "".join(chosen.choices(syllables, k=max(2, len(words[at]) // 2))).capitalize()
            derived.append(" ".join(words)[:255])
    return derived


async def evaluate(
    search: Search, queries: list[Query], *, verbose: bool = False
) -> dict[str, list[tuple[int, float]]]:
    """Return the rank of the wanted title, 0 if it is missing, and the milliseconds, of each query by class."""
    for query in queries[:50]:
        await search(query.text)  # plans, caches
    found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for query in queries:
        began = time.perf_counter()
        titles = await search(query.text)
        took = (time.perf_counter() - began) * 1000
        rank = titles.index(query.wanted) + 1 if query.wanted in titles else 0
        found[query.kind].append((rank, took))
        if verbose and rank != 1:
            print(f"{query.kind}: {query.text!r} means {query.wanted!r}, rank {rank}; {titles[:3]}")  # noqa: T201
    return found


def table(found: dict[str, list[tuple[int, float]]]) -> list[str]:
    """Return the rows of a table."""
    rows = ["| class | queries | hit@1 | hit@5 | MRR | p50 ms | p99 ms |", "| --- " * 7 + "|"]
    every = [result for results in found.values() for result in results]
    for name, results in [*found.items(), ("**all**", every)]:
        ranks, count = [rank for rank, _ in results], len(results)
        times = sorted(took for _, took in results)
        shares = f"{sum(r == 1 for r in ranks) / count:.1%} | {sum(0 < r <= 5 for r in ranks) / count:.1%}"
        mean = sum(1 / rank for rank in ranks if rank) / count
        rows.append(
            f"| {name} | {count} | {shares} | {mean:.3f} | {times[count // 2]:.1f} | {times[count * 99 // 100]:.1f} |"
        )
    return rows


def by_statement(connection: asyncpg.Connection, statement: str) -> Search:
    async def search(text: str) -> list[str]:
        return [row[0] for row in await connection.fetch(statement, text)]

    return search


async def main(server: URL, *, tune: bool) -> None:
    """Build the databases, search, and write the results."""
    titles = read_titles()
    queries = make_queries(titles)
    half = queries[::2] if tune else queries[1::2]
    small, large = await prepare(server, titles)
    parts = []
    for url, name in ((small, f"{len(titles):,} anime"), (large, f"{len(titles) * LARGER:,} anime")):
        runner = StatementRunner(url, size=1, recycle=-1, timeouts=Timeouts())
        reader = SearchReader(runner)

        async def search(text: str, reader: SearchReader = reader) -> list[str]:
            return [anime.title for anime in (await reader.page(text, AnimeQuery(page=PageRequest()))).items]

        connection = await asyncpg.connect(dsn(url))
        searches: dict[str, Search] = {"Kitsu": search}
        if url is small and not tune:
            searches |= {"`ILIKE` by title": by_statement(connection, ILIKE)}
            searches |= {"`similarity()`": by_statement(connection, SIMILARITY)}
        for who, how in searches.items():
            rows = table(await evaluate(how, half, verbose=tune))
            print(f"{who}, {name}", *rows, sep="\n", flush=True)  # noqa: T201
            parts.append(f"## {who}, {name}\n\n" + "\n".join(rows))
        await connection.close()
        runner.close()
    if not tune:
        intro = (
            f"# Search benchmark of {datetime.now(UTC):%Y-%m-%d}\n\n"
            f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {sys.version.split()[0]}; one "
            f"client. The reported half of {len(queries)} queries: the other half was for tuning.\n\n"
        )
        RESULTS.write_text(intro + "\n\n".join(parts) + "\n", "utf-8")


if __name__ == "__main__":
    if not CATALOGUE.exists():
        sys.exit(f"The benchmark needs {CATALOGUE}.")
    with shared_server(ROOT / ".local" / "bench-postgres") as server:
        asyncio.run(main(server, tune="--tune" in sys.argv))
