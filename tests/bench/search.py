"""`make bench-search`: how often a search finds what is meant, and how long it takes; writes RESULTS-SEARCH.md.

The queries are split: one half is for tuning the ranking, the other half is reported. `--tune` prints the first half,
with the queries whose title is not first, and writes nothing.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.embedded import shared_server
from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.statements import StatementRunner, compiled_statement
from kitsu.domain.catalogue.anime import AnimeQuery, AnimeReader
from kitsu.domain.catalogue.importing import import_catalogue
from kitsu.domain.catalogue.search import SearchReader, listing_of
from kitsu.domain.pagination import PageRequest
from tests.bench.dataset import dsn
from tests.bench.search_queries import Query, fold, make_queries
from tests.bench.servers import ROOT

CATALOGUE = ROOT.parent / "shared" / "data" / "catalogue.jsonl"
RESULTS = Path(__file__).with_name("RESULTS-SEARCH.md")
LARGER = 20
ROUNDS = 3
Search = Callable[[str], Awaitable[list[str]]]
"""Returns the titles of the first twenty anime."""
Found = dict[str, list[tuple[int, float]]]
"""The rank of the wanted title, 0 if it is missing, and the milliseconds, of each query by class."""
ILIKE = "SELECT title FROM anime WHERE title ILIKE '%' || $1 || '%' ORDER BY title LIMIT 20"
SIMILARITY = "SELECT title FROM anime WHERE title % $1 ORDER BY similarity(title, $1) DESC LIMIT 20"
LIMITS = ("200 equal letters", "a" * 200), ("198 blanks between letters", f"a{' ' * 198}b"), ("60 words", "a b c " * 20)
PLANNED = ("on", "one p", "full metal alchemist", "titan attack", "fulmetal alchmist", "xyzzyplugh qwfp")
TABLES = ("anime", "anime_titles", "title_words")
SEQUENTIAL = {f"Seq Scan of {name}" for name in TABLES}
NO_FILTERS = dict.fromkeys(("type", "status", "year", "season", "genres"))


def show(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201 - the figures


def read_titles() -> list[tuple[str, list[str]]]:
    """Return the main title and the synonyms of each anime in the file."""
    _, *lines = CATALOGUE.read_text("utf-8").splitlines()
    return [(entry["title"], entry["synonyms"]) for entry in map(json.loads, lines)]


async def create(server: URL, name: str, template: str = "kitsu") -> URL:
    """Create a database, in place of one with the same name."""
    connection = await asyncpg.connect(dsn(server))
    await connection.execute(f"DROP DATABASE IF EXISTS {name}")
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    return server.set(database=name)


async def import_into(url: URL) -> None:
    """Import the catalogue into an empty database."""
    engine = create_engine(url)
    await migrations.migrate(engine)
    await import_catalogue(engine, CATALOGUE)
    await engine.dispose()


def derived_titles(titles: list[str]) -> list[str]:
    """Return nineteen titles for each: half the words are replaced by made ones of the same syllables."""
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


async def prepare(server: URL, titles: list[tuple[str, list[str]]]) -> tuple[URL, URL]:
    """Return the database of the catalogue, and one that is twenty times as large with titles derived from it."""
    small = await create(server, "search")
    await import_into(small)
    large = await create(server, "search_large", "search")
    rows = [(uuid4(), title, None) for title in derived_titles([title for title, _ in titles])]
    for url in (small, large):
        connection = await asyncpg.connect(dsn(url))
        if url is large:
            await connection.copy_records_to_table("anime", records=rows, columns=("id", "title", "score"))
        await connection.execute("CREATE INDEX ON anime USING gin (title gin_trgm_ops)")  # for what it is compared with
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
    return small, large


async def evaluate(search: Search, queries: Sequence[Query], *, verbose: bool = False) -> Found:
    """Search for each query once, after a few that fill caches."""
    for query in queries[:50]:
        await search(query.text)
    found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for query in queries:
        began = time.perf_counter()
        titles = await search(query.text)
        took = (time.perf_counter() - began) * 1000
        rank = titles.index(query.wanted) + 1 if query.wanted in titles else 0
        found[query.kind].append((rank, took))
        if verbose and rank != 1:
            show(f"{query.kind}: {query.text!r} means {query.wanted!r}, rank {rank}; {titles[:3]}")
    return found


def row(name: str, results: Sequence[tuple[int, float]]) -> str:
    """Return the figures of a class as the row of a table."""
    ranks, count = [rank for rank, _ in results], len(results)
    times = sorted(took for _, took in results)
    shares = f"{sum(rank == 1 for rank in ranks) / count:.1%} | {sum(0 < rank <= 5 for rank in ranks) / count:.1%}"
    mean = sum(1 / rank for rank in ranks if rank) / count
    return f"| {name} | {count} | {shares} | {mean:.3f} | {times[count // 2]:.1f} | {times[count * 99 // 100]:.1f} |"


def table(found: Found) -> list[str]:
    """Return the figures of all classes, and of all queries together."""
    every = [result for results in found.values() for result in results]
    head = ["| class | queries | hit@1 | hit@5 | MRR | p50 ms | p99 ms |", "| --- " * 7 + "|"]
    return [*head, *(row(name, results) for name, results in found.items()), row("**all**", every)]


def search_by(connection: asyncpg.Connection, statement: str) -> Search:
    async def search(text: str) -> list[str]:
        return [found[0] for found in await connection.fetch(statement, text)]

    return search


def search_of(runner: StatementRunner) -> Search:
    reader = SearchReader(runner, AnimeReader(runner))

    async def search(text: str) -> list[str]:
        return [anime.title for anime in (await reader.page(text, AnimeQuery(page=PageRequest()))).items]

    return search


async def time_limits(search: Search) -> list[str]:
    """Return a table of the longest times of texts that a person does not type."""
    rows = ["| text | ms |", "| --- | --- |"]
    for name, text in LIMITS:
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await search(text)
            times.append((time.perf_counter() - began) * 1000)
        rows.append(f"| {name} | {max(times):.1f} |")
    return rows


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the scans of tables and indexes that a plan did."""
    name = plan.get("Index Name", plan.get("Relation Name"))
    if name and plan["Actual Loops"]:
        yield f"{plan['Node Type']} of {name}"
    for part in plan.get("Plans", ()):
        yield from scans(part)


async def explain(url: URL, queries: Sequence[Query]) -> list[str]:
    """Return the scans of some queries, and the number of sequential scans of all."""
    sql, names, constants = compiled_statement(listing_of(None).first)
    connection = await asyncpg.connect(dsn(url))
    await connection.execute("LOAD 'auto_explain'")
    options = ("log_min_duration = 0", "log_nested_statements = on", "log_analyze = on", "log_format = json")
    for option in options:
        await connection.execute(f"SET auto_explain.{option}")
    await connection.execute("SET client_min_messages = log")
    plans: list[str] = []
    connection.add_log_listener(lambda _, message: plans.append(message.message))

    async def scans_of(text: str) -> list[str]:
        values = {**constants, **NO_FILTERS, "q": text, "limit": 21, "offset": 0}
        plans.clear()
        await connection.fetch(sql, *(values[name] for name in names))
        done = (json.loads(plan.partition("plan:\n")[2])["Plan"] for plan in plans if "plan:\n" in plan)
        return list(dict.fromkeys(scan for plan in done for scan in scans(plan)))

    rows = ["| q | scans |", "| --- | --- |"]
    rows += [f"| {text} | {', '.join(await scans_of(text))} |" for text in PLANNED]
    longer = [query.text for query in queries if len(query.text) > 2]
    sequential = [scan for text in longer for scan in await scans_of(text) if scan in SEQUENTIAL]
    await connection.close()
    counted = f"Sequential scans of {', '.join(TABLES)} in {len(longer)} queries of three or more characters"
    return [*rows, "", f"{counted}: {len(sequential)}."]


async def main(server: URL, *, tune: bool) -> None:
    """Build the databases, search, and write the results."""
    titles = read_titles()
    queries = make_queries(titles)
    half = queries[::2] if tune else queries[1::2]
    parts: list[tuple[str, list[str]]] = []

    def report(title: str, lines: list[str]) -> None:
        show(title, *lines)
        parts.append((title, lines))

    small, large = await prepare(server, titles)
    for url, size in ((small, f"{len(titles):,} anime"), (large, f"{len(titles) * LARGER:,} anime")):
        runner = StatementRunner(url, size=1, recycle=-1, timeouts=Timeouts())
        report(f"Kitsu, {size}", table(await evaluate(search_of(runner), half, verbose=tune)))
        if not tune:
            report(f"Texts of unusual length, {size}", await time_limits(search_of(runner)))
            report(f"Scans, {size}", await explain(url, half))
        runner.close()
    if tune:
        return
    connection = await asyncpg.connect(dsn(small))
    for name, statement in (("`ILIKE` by title", ILIKE), ("`similarity()`", SIMILARITY)):
        report(f"{name}, {len(titles):,} anime", table(await evaluate(search_by(connection, statement), half)))
    version = connection.get_server_version()
    await connection.close()
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {sys.version.split()[0]}"
    intro = f"""# Search benchmark of {datetime.now(UTC):%Y-%m-%d}

{machine}, PostgreSQL {version.major}.{version.minor}; one client. Times are of one search each, without HTTP.
The figures are those of half the {len(queries)} queries; the other half was for tuning the ranking. The larger
catalogue has nineteen further titles for each title, in which half the words are replaced by made ones.
"""
    RESULTS.write_text(
        intro + "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in parts), "utf-8"
    )


if __name__ == "__main__":
    if not CATALOGUE.exists():
        sys.exit(f"The benchmark needs {CATALOGUE}.")
    with shared_server(ROOT / ".local" / "bench-postgres") as server:
        asyncio.run(main(server, tune="--tune" in sys.argv))
