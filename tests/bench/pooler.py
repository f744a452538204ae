"""`make bench-pooler`: the workloads behind PgBouncer in transaction mode, as ratios to a direct connection."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.bench import dataset
from tests.bench.servers import CONNECTIONS, ROOT, SECONDS, Figures, kitsu, run_load
from tests.bench.workloads import Workload, prepare_workloads
from tests.cli.process import server_folder
from tests.pooler import pgbouncer

RESULTS = Path(__file__).with_name("RESULTS-POOLER.md")
ANIME = 20_000
ROUNDS = 3
WORKERS = 2


def measure(url: URL, workloads: dict[str, Workload], **settings: str) -> dict[str, Figures]:
    """Measure all workloads without cached responses."""
    with kitsu(url, WORKERS, CATALOGUE_MEMORY_MB="0", **settings) as (server, port):
        figures = {}
        for workload in workloads.values():
            if workload.name != "post favorite":  # a second one is a conflict
                run_load(server, port, workload.requests, 1)
            figures[workload.name] = run_load(server, port, workload.requests)
            if figures[workload.name].failed:
                raise RuntimeError(f"{figures[workload.name].failed} requests failed: {workload.name}")
    return figures


def main() -> None:
    """Measure both alternately, and write the medians to RESULTS-POOLER.md."""
    rounds: list[tuple[dict[str, Figures], dict[str, Figures]]] = []
    with (
        shared_server(ROOT / ".local" / "bench-postgres") as server,
        server_folder() as folder,
        pgbouncer(server, folder, default_pool_size="20") as pooler,
    ):
        url = asyncio.run(dataset.prepare_database(server, ANIME))
        workloads = asyncio.run(prepare_workloads(url))
        behind = {"DB_POOLER": "transaction", "DATABASE_DIRECT_URL": url.render_as_string(hide_password=False)}
        for _ in range(ROUNDS):
            direct = measure(url, workloads)
            asyncio.run(dataset.reset_viewers(url))
            rounds.append((direct, measure(pooler.set(database=url.database), workloads, **behind)))
            asyncio.run(dataset.reset_viewers(url))
    lines = ["| workload | direct/s | PgBouncer/s | ratio | p99 ms direct | p99 ms PgBouncer |", "| --- " * 6 + "|"]
    for name in workloads:
        median = [
            sorted((each[side][name] for each in rounds), key=lambda figures: figures.per_second)[ROUNDS // 2]
            for side in (0, 1)
        ]
        speed = f"{median[0].per_second:,.0f} | {median[1].per_second:,.0f}"
        ratio = median[1].per_second / median[0].per_second
        lines.append(f"| {name} | {speed} | {ratio:.2f} | {median[0].p99_ms:.1f} | {median[1].p99_ms:.1f} |")
    text = f"""# Benchmark behind PgBouncer of {datetime.now(UTC):%Y-%m-%d}

{os.cpu_count()} cores, Python {sys.version.split()[0]}; {ANIME:,} anime, {WORKERS} workers, wrk with {CONNECTIONS}
connections for {SECONDS} s, PgBouncer with 20 connections in transaction mode, all on one machine; the median of
{ROUNDS} rounds. Compare the ratios: the other figures depend on the machine.

"""
    RESULTS.write_text(text + "\n".join(lines) + "\n")
    print("\n".join(lines))  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
