"""Databases, and servers that the tests of a folder stop and kill."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.domain.catalogue.importing import load_sample
from tests.cli.process import server_folder
from tests.cluster.nodes import Node, primary_and_standbys
from tests.databases import copy_of, engine_of, execute


@pytest.fixture
async def stocked(server: URL, catalogue_template: URL) -> AsyncIterator[URL]:
    """Create a database with the sample catalogue."""
    async with copy_of(catalogue_template, server) as url:
        yield url


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """Start a primary and a standby, with the sample catalogue."""

    async def load(url: URL) -> None:
        await execute(url, "CREATE DATABASE kitsu")
        async with engine_of(url.set(database="kitsu")) as engine:
            await migrations.migrate(engine)
            await load_sample(engine)

    with server_folder() as folder, primary_and_standbys(folder, "b") as (primary, standby):
        asyncio.run(load(primary.url))
        yield primary, standby
