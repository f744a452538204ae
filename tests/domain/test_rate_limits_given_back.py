"""A request that fails for a reason that is not the client's takes its hits of the rate limits back."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.db.statements import StatementRunner
from kitsu.domain import rate_limits
from kitsu.domain.accounts.passwords import PasswordHasher
from kitsu.errors import ServiceUnavailable
from tests.accounts import PASSWORD
from tests.application import client_of
from tests.databases import column


async def unavailable(*_: object) -> str:
    """Raise what a full queue of passwords raises."""
    raise ServiceUnavailable


async def test_unavailable_registration_gives_its_try_back(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the database is away for a while after it."""
    monkeypatch.setattr(rate_limits, "GIVE_BACK_SECONDS", 0.05)
    failures = iter([ConnectionRefusedError] * 3)
    real = StatementRunner.write

    async def write(runner: StatementRunner, statement: Any, parameters: Any) -> Any:
        if "numbers" in parameters and (error := next(failures, None)):
            raise error
        return await real(runner, statement, parameters)

    monkeypatch.setattr(StatementRunner, "write", write)
    async with client_of(database, rate_limit_register=(5, 3600)) as client:

        async def add(*names: str) -> list[int]:
            bodies = [{"email": f"{name}@example.org", "password": PASSWORD} for name in names]
            return [(await client.post("/auth/register", json=body)).status_code for body in bodies]

        assert await add("a", "b") == [201, 201]
        with monkeypatch.context() as patch:
            patch.setattr(PasswordHasher, "hash", unavailable)
            assert await add("c", "d", "e") == [503, 503, 503]
        async with asyncio.timeout(10):
            while await column(database, "SELECT hits FROM rate_limits") != [2]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert next(failures, None) is None
        assert await add("c", "d", "e", "f") == [201, 201, 201, 429]
