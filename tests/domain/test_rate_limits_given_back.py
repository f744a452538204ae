"""A request that fails for a reason that is not the client's takes its hits of the rate limits back."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.db.statements import StatementRunner
from kitsu.domain import rate_limits
from kitsu.domain.accounts.passwords import PasswordHasher, Verdict
from kitsu.errors import ServiceUnavailable
from tests.accounts import login, register
from tests.application import client_of
from tests.databases import column


async def unavailable(*_: object) -> Verdict:
    """Raise what a full queue of passwords raises."""
    raise ServiceUnavailable


async def test_unavailable_login_gives_its_try_back(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the database is away for a while after it."""
    monkeypatch.setattr(rate_limits, "GIVE_BACK_SECONDS", 0.05)
    failures = iter([ConnectionRefusedError] * 3)
    real = StatementRunner.write

    async def write(runner: StatementRunner, statement: Any, parameters: Any) -> Any:
        if "keys" in parameters and (error := next(failures, None)):
            raise error
        return await real(runner, statement, parameters)

    monkeypatch.setattr(StatementRunner, "write", write)
    async with client_of(database, login_refusal_ms=0) as client:
        await register(client)

        async def guess(times: int) -> list[int]:
            return [(await login(client, password="a wrong password")).status_code for _ in range(times)]

        assert await guess(2) == [401, 401]
        with monkeypatch.context() as patch:
            patch.setattr(PasswordHasher, "check", unavailable)
            assert await guess(3) == [503, 503, 503]
        async with asyncio.timeout(10):
            # Of the registration, the address and the account.
            while sorted(await column(database, "SELECT hits FROM rate_limits")) != [1, 2, 2]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert next(failures, None) is None
        assert await guess(4) == [401, 401, 401, 429]
