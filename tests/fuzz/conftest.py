"""A real service with two workers, whose database the tests of a module fill."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.engine import URL

from tests.cli.process import Process, kitsu
from tests.databases import copy_of


@pytest.fixture(scope="module")
async def database(server: URL, catalogue_template: URL) -> AsyncIterator[URL]:
    async with copy_of(catalogue_template, server) as url:
        yield url


@pytest.fixture(scope="module")
def site(database: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Start a service with two workers and without limits: a slow machine must not cause a 503."""
    folder = tmp_path_factory.mktemp("site")
    limits = {"RATE_LIMIT_ENABLED": "false", "LOGIN_REFUSAL_MS": "0", "WORKERS": "2", "WORKER_STALL_SECONDS": "0"}
    limits |= {f"DB_{name}_TIMEOUT_MS": "30000" for name in ("CONNECT", "POOL", "STATEMENT", "LOCK")}
    with kitsu(folder, "serve", database=database, stdout=None, **limits) as process:
        process.serves()
        yield process
