"""The time of a refused login, which must not reveal the state of the account.

The test compares medians of interleaved requests within one run.
"""

from hashlib import sha256
from statistics import median
from time import perf_counter

import httpx
import pytest
from passlib.hash import bcrypt
from sqlalchemy.engine import URL

from tests.conftest import client_of, execute

pytestmark = pytest.mark.slow

ROUNDS = 100


@pytest.mark.usefixtures("real_passwords")
async def test_refused_login_takes_the_same_time_for_every_account(database: URL) -> None:
    old = bcrypt.using(rounds=12).hash(sha256(b"an old password").hexdigest())
    async with client_of(database, rate_limit_enabled=False) as client:
        for name in ("new", "inactive"):
            await client.post("/auth/register", json={"email": f"{name}@example.org", "password": "a new password"})
        await execute(
            database,
            "INSERT INTO users (id, email, username, password_hash) "
            f"VALUES (gen_random_uuid(), 'old@example.org', 'old', '{old}')",
            "UPDATE users SET is_active = false WHERE email = 'inactive@example.org'",
        )
        names = ("unknown", "new", "old", "inactive")
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name in names:
                times[name].append(await _refused_login(client, f"{name}@example.org"))
    medians = {name: median(values) for name, values in times.items()}
    for name in names:
        assert abs(medians[name] / medians["unknown"] - 1) <= 0.1, medians


async def _refused_login(client: httpx.AsyncClient, email: str) -> float:
    """Log in with a wrong password, and return the seconds."""
    began = perf_counter()
    response = await client.post("/auth/login", json={"email": email, "password": "a wrong password"})
    seconds = perf_counter() - began
    assert response.status_code == httpx.codes.UNAUTHORIZED
    return seconds
