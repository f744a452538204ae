"""Web workers that can't run: the service ends with the reason."""

import os
import re
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.cli.process import ROOT, kitsu

BROKEN = os.pathsep.join([str(Path(__file__).parent / "broken"), str(ROOT)])


def test_memory_limit_below_a_worker_at_rest_is_refused(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue, WORKERS="2", WORKER_MEMORY_MB="100") as running:
        assert running.ends() == 1
        refusal = next(line for line in running.errors.splitlines() if line.startswith("Error: "))
    found = re.match(r"Error: WORKER_MEMORY_MB is 100, but a worker takes (\d+) MB at rest.* Set it to (\d+)", refusal)
    assert found
    at_rest, least = map(int, found.groups())
    assert 100 < at_rest < least


@pytest.mark.parametrize(
    "seconds", ["0", pytest.param("6", marks=pytest.mark.slow, id="longer than Granian counts together")]
)
def test_worker_that_fails_at_each_start_ends_the_service(tmp_path: Path, catalogue: URL, seconds: str) -> None:
    with kitsu(
        tmp_path, "serve", database=catalogue, WORKERS="1", PYTHONPATH=BROKEN, BROKEN_AFTER_SECONDS=seconds
    ) as running:
        assert running.process.wait(30) == 1
        assert not running.left()
        assert "Error: Worker 1 ended 2 times before it served, with code 1; the reason is above." in running.errors
        assert "kitsu.app" in running.errors
