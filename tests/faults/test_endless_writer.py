"""One user who writes without end: each kind of row stops at its limit, with a clear error."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.accounts import PASSWORD, bearer, register
from tests.faults.conftest import Postgres, report, service

pytestmark = pytest.mark.faults

WRITES = 2000
AT_ONCE = 16
LIMITS = {"MAX_COLLECTIONS": 300, "MAX_COLLECTION_ANIME": 300, "MAX_PLAYS": 300, "MAX_SESSIONS": 20}
KEYS = 300
EMAIL = "endless@example.org"
ROWS = {
    "collections": "SELECT count(*) FROM collections",
    "anime of collections": "SELECT count(*) FROM collection_items",
    "plays": "SELECT count(*) FROM plays",
    "stored responses": "SELECT count(*) FROM idempotency_keys",
    "sessions": "SELECT count(*) FROM auth_sessions WHERE revoke_reason IS NULL",
    "ended sessions": "SELECT count(*) FROM auth_sessions WHERE revoke_reason IS NOT NULL",
}


async def test_rows_of_one_user_stop_at_their_limits(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    settings = {name: str(limit) for name, limit in LIMITS.items()}
    rates = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_IDEMPOTENCY": f"{KEYS}/86400"}
    rates |= {f"RATE_LIMIT_{name}": "1000000/900" for name in ("LOGIN", "LOGIN_ADDRESS", "REGISTER", "SESSION")}
    with service(tmp_path, postgres.url, **settings, **rates) as running:
        base = f"http://{running.address}"
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False, limits=limits) as client:
            headers = bearer(await register(client, EMAIL))
            collection = (await client.post("/collections", json={"name": "c"}, headers=headers)).json()["id"]

            async def write_all(kind: str) -> Counter[int]:
                statuses: Counter[int] = Counter()

                async def write(numbers: range) -> None:
                    for number in numbers:
                        method, path, more = request_of(kind, anime[number], collection)
                        key = {"Idempotency-Key": str(uuid4())} if kind == "key" else {}
                        response = await client.request(method, path, headers=headers | key, **more)
                        statuses[response.status_code] += 1
                        if response.status_code not in {200, 201, 204}:
                            assert response.json()["code"] in {"CONFLICT_ERROR", "RATE_LIMITED"}
                            assert response.json()["message"]

                step = AT_ONCE
                await asyncio.gather(*(write(range(start, WRITES, step)) for start in range(step)))
                return statuses

            found = {kind: await write_all(kind) for kind in ("collection", "item", "play", "key")}
            found["login"] = await logins(client)
    stored = {name: (await postgres.fetch(query))[0] for name, query in ROWS.items()}
    report(f"{WRITES} writes of each kind by one user: {found}; rows: {stored}")
    assert all(set(statuses) - {200, 201, 204} for kind, statuses in found.items() if kind != "login")
    assert stored["collections"] <= LIMITS["MAX_COLLECTIONS"]
    assert stored["anime of collections"] <= LIMITS["MAX_COLLECTION_ANIME"]
    assert stored["plays"] <= LIMITS["MAX_PLAYS"]
    assert stored["stored responses"] <= KEYS
    assert stored["sessions"] <= LIMITS["MAX_SESSIONS"]
    assert stored["ended sessions"] <= LIMITS["MAX_SESSIONS"]


def request_of(kind: str, anime_id: str, collection: str) -> tuple[str, str, dict[str, Any]]:
    """Return the method, the path and the arguments of a write."""
    finished = {"anime_id": anime_id, "episode": 1, "position_seconds": 99, "progress_percent": 99}
    match kind:
        case "collection":
            return "POST", "/collections", {"json": {"name": "c", "description": "d" * 2000}}
        case "item":
            return "PUT", f"/collections/{collection}/anime/{anime_id}", {}
        case "play":
            return "POST", "/watch/progress", {"json": finished}
    return "POST", "/watch/progress", {"json": finished | {"progress_percent": 1}}


async def logins(client: httpx.AsyncClient) -> Counter[int]:
    """Log in again and again."""
    statuses: Counter[int] = Counter()

    async def log_in() -> None:
        for _ in range(10):
            response = await client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD})
            statuses[response.status_code] += 1

    await asyncio.gather(*(log_in() for _ in range(8)))
    return statuses
