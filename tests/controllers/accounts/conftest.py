"""The mails of the tests of accounts."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.settings.mail import MailURL
from tests.jobs.working import working
from tests.links import Mails


@pytest.fixture
async def mails(database: URL, rows: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Mails]:
    """Run a worker that writes mails to a folder."""
    async with working(database, mail_url=MailURL("file", folder=tmp_path)):
        yield Mails(tmp_path, rows)
