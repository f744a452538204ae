"""How long a refused login takes says nothing: of no account, of how its password is stored, of its being active.

`make test-slow` runs it. The bound is a ratio within one run: medians of interleaved pairs.
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

PAIRS = 100


@pytest.mark.usefixtures("real_passwords")
async def test_every_refusal_takes_the_same_time(database: URL) -> None:
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
        names = ("nobody", "new", "old", "inactive")
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(PAIRS):
            for name in names:
                times[name].append(await _refused(client, f"{name}@example.org"))
    medians = {name: median(taken) for name, taken in times.items()}
    for name in names:
        assert abs(medians[name] / medians["nobody"] - 1) <= 0.1, medians


async def _refused(client: httpx.AsyncClient, email: str) -> float:
    started = perf_counter()
    answer = await client.post("/auth/login", json={"email": email, "password": "a wrong password"})
    taken = perf_counter() - started
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    return taken
