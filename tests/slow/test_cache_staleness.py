"""Two workers answer from memory while somebody edits through psql's door: no answer is stale for longer than 100 ms.

The figures are printed; `make test-slow` runs it.
"""

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import kitsu
from tests.conftest import connect, execute

pytestmark = pytest.mark.slow

ANIME = "10000000-0000-4000-8000-000000000001"
EDITS = 200
STALE_SECONDS = 0.1
"""What the product promises, measured by the clock of one machine."""


async def test_no_answer_is_stale(database: URL, tmp_path: Path) -> None:
    await execute(database, f"INSERT INTO anime (id, title) VALUES ('{ANIME}', '0')")
    committed = [0.0]
    stale: list[float] = []
    answers = 0
    with kitsu(tmp_path, "serve", database=database, WORKERS="2", LOG_LEVEL="warning") as server:
        await asyncio.to_thread(server.serves)

        async def read() -> None:
            nonlocal answers
            async with httpx.AsyncClient(base_url=f"http://{server.address}", trust_env=False) as client:
                while len(committed) <= EDITS:
                    asked = time.monotonic()
                    shown = int((await client.get(f"/anime/{ANIME}")).json()["title"])
                    answers += 1
                    # The first edit that the answer did not know, if it was committed before the question.
                    if shown + 1 < len(committed) and committed[shown + 1] < asked:
                        stale.append(asked - committed[shown + 1])

        readers = [asyncio.create_task(read()) for _ in range(8)]
        connection = await connect(database)
        for number in range(1, EDITS + 1):
            await connection.execute(f"UPDATE anime SET title = '{number}' WHERE id = '{ANIME}'")
            committed.append(time.monotonic())
            await asyncio.sleep(0.02)
        await connection.close()
        await asyncio.gather(*readers)
    print(f"{answers} answers over {EDITS} edits, {len(stale)} late, by {max(stale, default=0) * 1000:.1f} ms at most")  # noqa: T201 - the figures
    assert answers > EDITS
    assert not [late for late in stale if late > STALE_SECONDS]
