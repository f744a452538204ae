"""Fixtures for the lists of a viewer: a crowded database to read, and one to change."""

from collections.abc import AsyncIterator
from random import Random

import pytest
from sqlalchemy.engine import URL

from tests.controllers.viewer.crowd import Crowd, add_one_of_all, crowd_of
from tests.factories import backend_of


@pytest.fixture(scope="module")
async def crowd(server: URL, template: URL) -> AsyncIterator[Crowd]:
    """About forty rows in each table, for tests that only read."""
    async with backend_of(server, template) as backend:
        crowd = await crowd_of(backend)
        chosen = Random(4)  # noqa: S311 - the same rows each time
        for _ in range(40):
            await add_one_of_all(crowd, chosen)
        yield crowd


@pytest.fixture(scope="module")
async def busy(server: URL, template: URL) -> AsyncIterator[Crowd]:
    """A database for tests that write: each reads only its own rows."""
    async with backend_of(server, template) as backend:
        yield await crowd_of(backend)
