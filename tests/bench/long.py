"""`make bench-long`: what a hundred times as many anime cost, and whether memory grows over a million requests."""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.bench import dataset
from tests.bench.servers import CONNECTIONS, ROOT, kitsu, loaded, memory_of
from tests.bench.workloads import Request, works

RESULTS = Path(__file__).with_name("RESULTS-LONG.md")
SMALL_BODY_BYTES, LARGE = 10_000, 1_000_000
ROUNDS = 3
REQUESTS = 1_000_000
STEPS = 10


def sizes(small: URL, large: URL) -> list[str]:
    """The median of each work at both sizes, measured in turn; none from memory."""
    found: dict[str, dict[URL, list[float]]] = {}
    for _ in range(ROUNDS):
        for url in (small, large):
            todo = asyncio.run(works(url))
            with kitsu(url, 1, CATALOGUE_MEMORY_MB="0") as (server, port):
                for name in ("list", "detail"):
                    loaded(server, port, todo[name].requests, 1)
                    figures = loaded(server, port, todo[name].requests)
                    found.setdefault(name, {}).setdefault(url, []).append(figures.p50_ms)
    lines = [f"| work | p50 ms at {SMALL_BODY_BYTES:,} | p50 ms at {LARGE:,} | ratio |", "| --- | --- | --- | --- |"]
    for name, of in found.items():
        at_small, at_large = sorted(of[small])[ROUNDS // 2], sorted(of[large])[ROUNDS // 2]
        lines.append(f"| {name} | {at_small:.2f} | {at_large:.2f} | {at_large / at_small:.2f} |")
    return lines


def million(url: URL) -> list[str]:
    """The memory of a worker after each tenth of a million requests of all kinds."""
    todo = asyncio.run(works(url))
    kinds = [work.requests for work in todo.values() if work.name != "post favorite"]
    mixed: list[Request] = [
        each for group in zip(*(islice(cycle(kind), 5000) for kind in kinds), strict=True) for each in group
    ]
    lines = ["| requests | MB | refused |", "| --- | --- | --- |"]
    with kitsu(url, 1) as (server, port):
        lines.append(f"| 0 | {memory_of(server):.0f} | |")
        done, step = 0.0, 0
        while done < REQUESTS:
            figures = loaded(server, port, mixed, 10)
            done += figures.per_second * 10
            if done >= REQUESTS * (step + 1) / STEPS:
                step = int(done * STEPS / REQUESTS)
                lines.append(f"| {done:,.0f} | {figures.memory_mb:.0f} | {figures.bad} |")
                print(lines[-1], flush=True)  # noqa: T201 - what it is for
    asyncio.run(dataset.as_built(url))
    return lines


def main() -> None:
    """Run it all."""
    with shared_server(ROOT / ".local" / "bench-postgres") as server:
        small, large = (asyncio.run(dataset.prepared(server, anime)) for anime in (SMALL_BODY_BYTES, LARGE))
        by_size = sizes(small, large)
        print("\n".join(by_size), flush=True)  # noqa: T201 - what it is for
        over_time = million(small)
    text = f"""# Long benchmark of {datetime.now(UTC):%Y-%m-%d}

Python {sys.version.split()[0]}, one worker, wrk with {CONNECTIONS} connections. The size of the catalogue: not from
memory, the median of {ROUNDS} rounds.

"""
    more = (
        "\n\nAll kinds of requests in turn, but for favourites that would run out; resident memory of the worker.\n\n"
    )
    RESULTS.write_text(text + "\n".join(by_size) + more + "\n".join(over_time) + "\n")


if __name__ == "__main__":
    main()
