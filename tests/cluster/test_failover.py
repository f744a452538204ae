"""Two servers of one cluster: the second one takes over."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests.cli.process import kitsu, until
from tests.cluster.nodes import Node
from tests.cluster.writers import Writer, registered
from tests.databases import column, execute

pytestmark = pytest.mark.cluster

WRITERS = 4


def address_of(*urls: URL) -> str:
    """Return an address with several hosts."""
    hosts = ",".join(f"127.0.0.1:{url.port}" for url in urls)
    return f"postgresql://postgres@{hosts}/kitsu?target_session_attrs=read-write"


async def kill(primary: Node) -> None:
    """Kill the primary."""
    primary.kill()


async def refuse_writes(primary: Node) -> None:
    """Let the primary refuse writes, as one that has become a standby."""
    await execute(primary.url, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")


@pytest.mark.parametrize("end", [kill, refuse_writes])
async def test_promoted_standby_takes_over(
    nodes: tuple[Node, Node], tmp_path: Path, end: Callable[[Node], Awaitable[None]]
) -> None:
    primary, standby = nodes
    await execute(primary.url, "ALTER SYSTEM SET synchronous_standby_names = 'b'", "SELECT pg_reload_conf()")
    settings: dict[str, Any] = {
        "DATABASE_URL": address_of(primary.url, standby.url),
        "RATE_LIMIT_ENABLED": "false",
        "WORKERS": "2",
    }
    with kitsu(tmp_path, "serve", **settings) as process:
        await asyncio.to_thread(process.serves)
        anime = process.get("/anime?limit=1").json()[0]["id"]
        await asyncio.sleep(1)  # until both workers listen
        for _ in range(20):  # on new connections: each worker caches it
            process.get(f"/anime/{anime}")
        writers = [Writer(process.address, registered(process.address, number)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        await asyncio.sleep(2)
        await end(primary)
        ended = time.monotonic()
        reads = [process.get(f"/anime/{anime}").status_code for _ in range(10)]
        await execute(standby.url, "SELECT pg_promote()")

        def is_written() -> bool:
            return all(each.acknowledged[-1][0] > ended for each in writers)

        await asyncio.to_thread(until, is_written, "all writers write again", 15)
        await asyncio.sleep(1)
        for writer in writers:
            writer.is_stopped = True
            writer.join()
        assert reads == [200] * 10
        assert {status for each in writers for status in each.statuses} <= {201, 503}
        stored = {str(each) for each in await column(standby.url.set(database="kitsu"), "SELECT id FROM collections")}
        assert {name for each in writers for _, name in each.acknowledged} <= stored
        assert '"status":500' not in process.output


def test_host_that_never_answers_delays_no_start(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = URL.create("postgresql+asyncpg", host="127.0.0.1", port=silent.getsockname()[1])
        settings: dict[str, Any] = {
            "DATABASE_URL": address_of(url, nodes[1].url, nodes[0].url),
            "RATE_LIMIT_ENABLED": "false",
        }
        with kitsu(tmp_path, "serve", **settings) as process:
            process.serves()
            for number in range(5):
                registered(process.address, number)
            assert '"status":503' not in process.output
