"""A cluster of Patroni whose primary is killed under load."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests.cli.process import kitsu, server_folder, until
from tests.cluster.patroni import ETCD, PATRONI, PatroniNode, is_complete, patroni_cluster, url_of
from tests.cluster.writers import Writer, registered
from tests.databases import column, execute

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(ETCD is None, reason="etcd is not installed (Debian: etcd-server)"),
    pytest.mark.skipif(not PATRONI.exists(), reason="Patroni is not installed: make .local/patroni"),
]

WRITERS = 4


@pytest.fixture
def nodes() -> Iterator[list[PatroniNode]]:
    """Start a cluster, and yield its nodes, the primary first."""
    with server_folder() as folder, patroni_cluster(folder) as nodes:
        yield sorted(nodes, key=lambda node: node.role() != "primary")


@pytest.mark.parametrize(
    ("end", "seconds"),
    # Without its Patroni a node is replaced when its lease of 20 s has ended.
    [(PatroniNode.kill_postgres, 15), (PatroniNode.kill, 40)],
)
async def test_killed_primary_is_replaced(nodes: list[PatroniNode], tmp_path: Path, end: Any, seconds: float) -> None:
    primary, standby = nodes
    server = URL.create("postgresql+asyncpg", "postgres", host="127.0.0.1", port=primary.port, database="postgres")
    await execute(server, "CREATE DATABASE kitsu")
    settings: dict[str, Any] = {"DATABASE_URL": url_of(nodes, "kitsu"), "RATE_LIMIT_ENABLED": "false", "WORKERS": "2"}
    with kitsu(tmp_path, "migrate", **settings) as command:
        assert await asyncio.to_thread(command.ends) == 0, command.errors
    with kitsu(tmp_path, "serve", **settings) as process:
        await asyncio.to_thread(process.serves)
        writers = [Writer(process.address, registered(process.address, number)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        await asyncio.sleep(2)
        end(primary)
        ended = time.monotonic()

        def is_written() -> bool:
            return all(writer.acknowledged[-1][0] > ended + 0.5 for writer in writers)

        await asyncio.to_thread(until, is_written, "all writers write again", seconds)
        print(f"{end.__name__}: writes again after {time.monotonic() - ended:.1f} s")  # noqa: T201
        await asyncio.sleep(1)
        for writer in writers:
            writer.is_stopped = True
            writer.join()
        assert {status for writer in writers for status in writer.statuses} <= {201, 503}
        assert '"status":500' not in process.output
    stored = {
        str(each)
        for each in await column(server.set(port=standby.port, database="kitsu"), "SELECT id FROM collections")
    }
    assert {name for writer in writers for _, name in writer.acknowledged} <= stored
    if end is PatroniNode.kill:
        primary.start()
    await asyncio.to_thread(until, lambda: is_complete(nodes), "the killed one is a standby", 60)
