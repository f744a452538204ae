"""The catalogue is read at a replica, unless that is late or lost."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.process import Process, free_port, kitsu, until
from tests.cluster.nodes import Node
from tests.databases import column, execute

pytestmark = pytest.mark.cluster

CHANGES = 30
USED, LEFT_OUT = '"event":"replica is used"', '"event":"replica is left out"'


@contextmanager
def service(folder: Path, nodes: tuple[Node, Node], **settings: Any) -> Iterator[Process]:
    """Run the service with two workers that read the standby."""
    primary, replica = (each.url.set(database="kitsu").render_as_string(hide_password=False) for each in nodes)
    variables: dict[str, Any] = {"DATABASE_URL": primary, "DATABASE_REPLICA_URLS": replica, "WORKERS": "2"}
    with kitsu(folder, "serve", **variables, **settings) as process:
        process.serves()
        process.until(lambda: process.output.count(USED) == 2, "both workers use the replica")
        yield process
        assert '"status":500' not in process.output
        assert '"status":503' not in process.output


def test_catalogue_is_read_at_the_replica(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    reads = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kitsu' AND query LIKE '%FROM anime%'"
    with service(tmp_path, nodes, CATALOGUE_MEMORY_MB="0") as process:
        for path in ("/anime?limit=1", "/search/anime?q=anime", "/genres") * 5:
            assert process.get(path).status_code == 200
        readers = [asyncio.run(column(each.url, reads))[0] for each in nodes]
        assert readers[0] == 0
        assert readers[1] > 0


def test_address_that_is_no_replica_is_reported(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    primary, replica = (each.url.set(database="kitsu").render_as_string(hide_password=False) for each in nodes)
    lost = f"postgresql://postgres@127.0.0.1:{free_port()}/kitsu"
    settings: dict[str, Any] = {"DATABASE_URL": primary, "DATABASE_REPLICA_URLS": f"{replica},{primary},{lost}"}
    with kitsu(tmp_path, "check", "--tag", "database", **settings) as process:
        assert process.ends() == 1
        assert process.output.count("kitsu.E115") == 2
        assert "Number 2 of DATABASE_REPLICA_URLS is no replica." in process.output
        assert "Number 3 of DATABASE_REPLICA_URLS does not work. PostgreSQL at 127.0.0.1" in process.output


def test_changes_are_seen_at_once(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    url = nodes[0].url.set(database="kitsu")
    with service(tmp_path, nodes) as process:
        anime = process.get("/anime?limit=1").json()[0]["id"]
        for number in range(CHANGES):
            asyncio.run(execute(url, f"UPDATE anime SET year = {1950 + number} WHERE id = '{anime}'"))
            time.sleep(0.1)
            # A new connection each: both workers get some. A response that is cached now stays so.
            years = {process.get(f"/anime/{anime}").json()["year"] for _ in range(6)}
            assert years == {1950 + number}


def test_replica_is_used_during_a_burst_of_changes(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    """It is 300 ms behind, which is less than the second that it may be."""
    delay = ("ALTER SYSTEM SET recovery_min_apply_delay = '300ms'", "SELECT pg_reload_conf()")
    asyncio.run(execute(nodes[1].url, *delay))
    change = "UPDATE anime SET year = 1950 + (random() * 50)::int WHERE id = (SELECT id FROM anime LIMIT 1)"
    with service(tmp_path, nodes) as process:
        asyncio.run(execute(nodes[0].url.set(database="kitsu"), *[change] * 1000))
        time.sleep(1)
        assert LEFT_OUT not in process.output


def test_late_replica_is_left_out(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    primary, replica = nodes
    with service(tmp_path, nodes, CATALOGUE_MEMORY_MB="0") as process:
        anime = process.get("/anime?limit=1").json()[0]["id"]
        asyncio.run(execute(replica.url, "SELECT pg_wal_replay_pause()"))
        url = primary.url.set(database="kitsu")
        asyncio.run(execute(url, f"UPDATE anime SET year = 1950 WHERE id = '{anime}'"))
        # For a second without the news of a change it may be read: here the workers listen.
        time.sleep(0.1)
        assert {process.get(f"/anime/{anime}").json()["year"] for _ in range(10)} == {1950}
        process.until(lambda: process.output.count(LEFT_OUT) == 2, "both workers leave it out")
        asyncio.run(execute(replica.url, "SELECT pg_wal_replay_resume()"))
        process.until(lambda: process.output.count(USED) == 4, "both workers use it again")


@pytest.mark.parametrize("end", [Node.kill, Node.suspend])
def test_lost_replica_is_left_out(nodes: tuple[Node, Node], tmp_path: Path, end: Any) -> None:
    with service(tmp_path, nodes, CATALOGUE_MEMORY_MB="0") as process:
        paths = [f"/anime/{each['id']}" for each in process.get("/anime?limit=10").json()]
        end(nodes[1])
        began = time.monotonic()
        while time.monotonic() - began < 3:
            assert {process.get(path).status_code for path in paths} == {200}
        until(lambda: process.output.count(LEFT_OUT) == 2, "both workers leave it out", 2)
