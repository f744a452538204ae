"""`make bench-long`: the times with 10,000 and 1,000,000 anime, and the memory over a million requests."""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.bench import dataset
from tests.bench.servers import CONNECTIONS, ROOT, kitsu, largest_memory, run_load
from tests.bench.workloads import Request, prepare_workloads

RESULTS = Path(__file__).with_name("RESULTS-LONG.md")
SMALL, LARGE = 10_000, 1_000_000
"""Anime of the two catalogues."""
ROUNDS = 3
REQUESTS = 1_000_000
STEPS = 10


def sizes(small: URL, large: URL) -> list[str]:
    """Return a table of the medians with both catalogues, measured alternately without cached responses."""
    medians: dict[str, dict[URL, list[float]]] = {}
    for _ in range(ROUNDS):
        for url in (small, large):
            workloads = asyncio.run(prepare_workloads(url))
            with kitsu(url, 1, CATALOGUE_MEMORY_MB="0") as (server, port):
                for name in ("list", "detail"):
                    run_load(server, port, workloads[name].requests, 1)
                    figures = run_load(server, port, workloads[name].requests)
                    medians.setdefault(name, {}).setdefault(url, []).append(figures.p50_ms)
    lines = [f"| workload | p50 ms at {SMALL:,} | p50 ms at {LARGE:,} | ratio |", "| --- | --- | --- | --- |"]
    for name, values in medians.items():
        at_small, at_large = sorted(values[small])[ROUNDS // 2], sorted(values[large])[ROUNDS // 2]
        lines.append(f"| {name} | {at_small:.2f} | {at_large:.2f} | {at_large / at_small:.2f} |")
    return lines


def million(url: URL) -> list[str]:
    """Return a table of a worker's memory after each tenth of a million mixed requests."""
    workloads = asyncio.run(prepare_workloads(url))
    kinds = [workload.requests for workload in workloads.values() if workload.name != "post favorite"]
    mixed: list[Request] = [
        each for group in zip(*(islice(cycle(kind), 5000) for kind in kinds), strict=True) for each in group
    ]
    lines = ["| requests | MB | failed |", "| --- | --- | --- |"]
    with kitsu(url, 1) as (server, port):
        lines.append(f"| 0 | {largest_memory(server):.0f} | |")
        sent, step = 0.0, 0
        while sent < REQUESTS:
            figures = run_load(server, port, mixed, 10)
            sent += figures.per_second * 10
            if sent >= REQUESTS * (step + 1) / STEPS:
                step = int(sent * STEPS / REQUESTS)
                lines.append(f"| {sent:,.0f} | {figures.memory_mb:.0f} | {figures.failed} |")
                print(lines[-1], flush=True)  # noqa: T201 - the figures
    asyncio.run(dataset.reset_viewers(url))
    return lines


def main() -> None:
    """Measure, and write RESULTS-LONG.md."""
    with shared_server(ROOT / ".local" / "bench-postgres") as server:
        small, large = (asyncio.run(dataset.prepare_database(server, anime)) for anime in (SMALL, LARGE))
        by_size = sizes(small, large)
        print("\n".join(by_size), flush=True)  # noqa: T201 - the figures
        over_time = million(small)
    text = f"""# Long benchmark of {datetime.now(UTC):%Y-%m-%d}

Python {sys.version.split()[0]}, one worker, wrk with {CONNECTIONS} connections. The times
are the medians of {ROUNDS} rounds without cached responses, with catalogues of two sizes.

"""
    more = "\n\nResident memory of the worker during mixed requests of all workloads except `post favorite`.\n\n"
    RESULTS.write_text(text + "\n".join(by_size) + more + "\n".join(over_time) + "\n")


if __name__ == "__main__":
    main()
