"""Three instances behind Caddy or nginx, which are restarted, killed and upgraded one after the other."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.cli.next_version import REVISION, next_version
from tests.cli.process import kitsu
from tests.cluster.instances import CLIENTS, INSTANCES, Instances, Load, behind
from tests.databases import column

pytestmark = pytest.mark.cluster

PROXIES = ["caddy", "nginx"]
EXPAND = [
    "ALTER TABLE collections ADD mood text NOT NULL DEFAULT 'none'",
    "ALTER TABLE library_entries ADD mood text",
    "CREATE TABLE moods (name text PRIMARY KEY)",
]
CONTRACT = ["DROP TABLE moods", "ALTER TABLE library_entries DROP mood", "ALTER TABLE collections DROP mood"]
MOMENT_SECONDS = 1.5


@contextmanager
def site(proxy: str, folder: Path, database: URL) -> Iterator[tuple[Instances, Load]]:
    """Run three instances behind a proxy under load."""
    with (
        Instances(folder, database) as instances,
        behind(proxy, folder, instances.addresses) as front,
        Load(front) as load,
    ):
        yield instances, load
    # What was acknowledged is stored, and no request was sent to a second instance after the first one accepted it.
    stored = asyncio.run(column(database, "SELECT name FROM collections"))
    assert set(load.acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    print(f"\n{proxy}: {load}")  # noqa: T201 - for docs/scaling.md


@pytest.mark.parametrize("proxy", PROXIES)
def test_no_request_fails_while_instances_restart(proxy: str, stocked: URL, tmp_path: Path) -> None:
    with site(proxy, tmp_path, stocked) as (instances, load):
        for number in range(INSTANCES):
            instances.restart(number)
    assert load.failures == []


# With nginx, those that the instance was working on. Debian's Caddy also loses requests with a body that it sends there
# until the next health check; each client has one at a time.
@pytest.mark.parametrize(("proxy", "most"), [("caddy", 2 * CLIENTS), ("nginx", CLIENTS)])
def test_killed_instance_loses_only_requests_of_its_last_moment(
    proxy: str, most: int, stocked: URL, tmp_path: Path
) -> None:
    killed_at = []
    with site(proxy, tmp_path, stocked) as (instances, load):
        for number in range(INSTANCES):
            killed_at.append(time.monotonic())
            instances.kill(number)
            time.sleep(2)
            instances.start(number)
    lost = [[each for each in load.failures if 0 <= each.at - at < MOMENT_SECONDS] for at in killed_at]
    assert sum(map(len, lost)) == len(load.failures)
    assert max(map(len, lost)) <= most
    # A proxy sends a GET to another instance.
    assert {failure.method for failure in load.failures} <= {"PUT", "POST"}


@pytest.mark.parametrize("proxy", PROXIES)
def test_no_request_fails_at_an_upgrade_with_a_migration(proxy: str, stocked: URL, tmp_path: Path) -> None:
    newer = next_version(tmp_path, EXPAND, CONTRACT)
    with site(proxy, tmp_path, stocked) as (instances, load):
        with kitsu(tmp_path, "migrate", "--rolling", database=stocked, **newer) as migration:
            assert migration.ends(60) == 0, migration.errors
        assert all(instances.is_ready(number) for number in range(INSTANCES))
        # One of the old version is also started, as after a crash.
        instances.restart(0)
        for number in range(INSTANCES):
            instances.restart(number, **newer)
        # The old version again: the schema stays.
        instances.restart(0)
    assert load.failures == []
    assert asyncio.run(column(stocked, "SELECT version_num FROM alembic_version")) == [REVISION]
