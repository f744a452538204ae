"""Two machines whose clocks differ, by libfaketime."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.accounts import bearer, register
from tests.cli.process import kitsu
from tests.faults.conftest import Postgres, report, service

pytestmark = pytest.mark.faults

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SECONDS = 30


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian: faketime)")
@pytest.mark.parametrize("seconds", [SECONDS, -SECONDS])
async def test_tokens_of_a_machine_with_another_clock_work(postgres: Postgres, tmp_path: Path, seconds: int) -> None:
    shifted: dict[str, Any] = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # The library breaks the waits of a thread of Granian, which logs a traceback.
    shifted |= {"RATE_LIMIT_ENABLED": "false"}
    wrong_service = kitsu(tmp_path, "serve", database=postgres.url, **shifted)
    with service(tmp_path, postgres.url) as right, wrong_service as wrong:
        wrong.serves()
        statuses = []
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            for number, (here, there) in enumerate(((right, wrong), (wrong, right))):
                client.base_url = httpx.URL(f"http://{here.address}")
                headers = bearer(await register(client, f"clock{number}{seconds}@example.org"))
                own = [await client.get(f"http://{each.address}/users/me", headers=headers) for each in (here, there)]
                statuses += [response.status_code for response in own]
            ready = (await client.get(f"http://{wrong.address}/health/ready")).json()
    report(f"clock {seconds:+d} s: responses {statuses}; readiness {ready}")
    assert statuses == [200] * 4
    assert abs(ready["clock_difference_seconds"] - seconds) < 2
