"""The catalogue is read at a replica, unless that is late or lost."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.process import Process, free_port, kitsu, until
from tests.cluster.nodes import Node
from tests.cluster.writers import registered
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


def delay_replay(replica: Node, milliseconds: int) -> None:
    """Let a replica replay each commit so long after the primary."""
    delay = (f"ALTER SYSTEM SET recovery_min_apply_delay = {milliseconds}", "SELECT pg_reload_conf()")
    asyncio.run(execute(replica.url, *delay))


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
    delay_replay(nodes[1], 300)
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


class Viewer:
    """A client that sends the position of its last write, on a new connection for each request: both workers get some.

    With `positions=False` it knows nothing of positions.
    """

    def __init__(self, process: Process, token: str, *, positions: bool = True) -> None:
        self._url = f"http://{process.address}"
        self._headers = {"Authorization": token}
        if positions:
            self._headers["X-Position"] = "0"

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, and keep the position of its response."""
        response = httpx.request(method, self._url + path, headers=self._headers, trust_env=False, **options)
        response.raise_for_status()
        if "X-Position" in response.headers:
            self._headers["X-Position"] = response.headers["X-Position"]
        return response


OWN_LISTS = ("/favorites", "/watch/progress", "/watch/continue", "/collections", "/library")
NEW_ROWS = (
    "INSERT INTO favorites (id, user_id, anime_id) SELECT gen_random_uuid(), id, {anime} FROM users",
    "INSERT INTO watch_progress (id, user_id, anime_id, episode) SELECT gen_random_uuid(), id, {anime}, 1 FROM users",
    "INSERT INTO collections (id, user_id, name) SELECT gen_random_uuid(), id, 'new' FROM users",
    """
    INSERT INTO library_entries (id, user_id, anime_id, status)
    SELECT gen_random_uuid(), id, {anime}, 'watching' FROM users
    """,
)


def test_own_lists_are_read_at_the_replica(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    """For less than a second it lacks rows that the client did not write."""
    with service(tmp_path, nodes) as process:
        token = registered(process.address, 1)
        viewer, other = Viewer(process, token), Viewer(process, token, positions=False)
        time.sleep(1)
        asyncio.run(execute(nodes[1].url, "SELECT pg_wal_replay_pause()"))
        rows = (each.format(anime="(SELECT id FROM anime LIMIT 1)") for each in NEW_ROWS)
        asyncio.run(execute(nodes[0].url.set(database="kitsu"), *rows))
        lengths = {path: len(viewer.send("GET", path).json()) for path in OWN_LISTS}
        numbers = viewer.send("GET", "/users/me/statistics").json()
        assert {path: len(other.send("GET", path).json()) for path in OWN_LISTS} == dict.fromkeys(OWN_LISTS, 1)
        assert other.send("GET", "/users/me/statistics").json() != numbers
        assert lengths == dict.fromkeys(OWN_LISTS, 0)


@pytest.mark.parametrize("delay_ms", [0, 300])
def test_own_writes_are_seen_at_once(nodes: tuple[Node, Node], tmp_path: Path, delay_ms: int) -> None:
    delay_replay(nodes[1], delay_ms)
    with service(tmp_path, nodes) as process:
        viewer = Viewer(process, registered(process.address, 1))
        anime = process.get("/anime?limit=1").json()[0]["id"]
        for second in range(CHANGES):
            progress = {"anime_id": anime, "episode": 1, "position_seconds": second}
            viewer.send("POST", "/watch/progress", json=progress)
            name = viewer.send("POST", "/collections", json={"name": f"List {second}"}).json()["name"]
            assert {viewer.send("GET", "/watch/progress").json()[0]["position_seconds"] for _ in range(4)} == {second}
            assert viewer.send("GET", "/collections?limit=1").json()[0]["name"] == name
            time.sleep(0.05 * (second % 10))  # sometimes a replica has it


def test_changes_since_a_time_miss_nothing_on_a_late_replica(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    delay_replay(nodes[1], 500)
    with service(tmp_path, nodes) as process:
        token = registered(process.address, 1)
        writer, reader = Viewer(process, token), Viewer(process, token)
        since = "2020-01-01T00:00:00Z"
        found: set[str] = set()
        written = set()
        for number in range(10):
            written.add(writer.send("POST", "/collections", json={"name": f"List {number}"}).json()["id"])
            response = reader.send("GET", "/collections", params={"updated_since": since})
            since = response.headers["X-Updated-Until"]
            found |= {each["id"] for each in response.json()}
            time.sleep(0.1)
        assert found == written


def test_wrong_position_is_refused(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    with service(tmp_path, nodes) as process:
        token = registered(process.address, 1)
        for value in ("", "0/16B3748", "-1", "9" * 19, "1" * 30):
            headers = {"Authorization": token, "X-Position": value}
            response = httpx.get(f"http://{process.address}/favorites", headers=headers, trust_env=False)
            assert response.status_code == 422, value
            assert [each["field"] for each in response.json()["details"]] == ["X-Position"]
