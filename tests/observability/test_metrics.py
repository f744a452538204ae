"""`/metrics` of one worker: names, labels and values."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

from kitsu import __version__
from kitsu.domain.outcomes import Outcomes
from kitsu.observability.metrics import METHODS
from kitsu.observability.metrics_folder import VARIABLE, metrics_folder
from tests.cli.invoke import invoked
from tests.conftest import client_of, execute
from tests.domain.catalogue.test_import import entry, write
from tests.web.middleware.test_response_cache import ANIME, ROWS, is_cached, until_async

UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
CREDENTIALS = {"email": "kaguya@example.org", "password": "a long enough password"}
ANILIST = b'{"lists": []}'

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Sample, float]:
    """Parse the samples of an exposition: name and labels to value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    """Return the value of a sample, or None."""
    return samples(text).get((name, frozenset(labels.items())))


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application with metrics, on a database with one anime."""
    await execute(database, *ROWS)
    async with client_of(database, metrics_enabled=True, rate_limit_login=(3, 900), login_refusal_ms=0) as client:
        yield client


async def scrape(client: httpx.AsyncClient) -> str:
    """Return the text of `/metrics`."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    return response.text


async def test_metrics_without_setting_are_404(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/metrics")
    assert (response.status_code, response.json()) == (404, (await reader.get("/nope")).json())


async def test_metrics_are_text_that_is_not_cached(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert value(response.text, "kitsu_build_info", version=__version__) == 1
    assert all(family.documentation for family in text_string_to_metric_families(response.text))
    assert "/metrics" not in (await client.get("/openapi.json")).json()["paths"]


async def test_requests_are_counted_by_method_route_and_status(client: httpx.AsyncClient) -> None:
    for path in ("/anime", "/anime?limit=0", f"/anime/{ANIME}", f"/anime/{UNKNOWN_ID}", f"/anime/{ANIME}/"):
        await client.get(path)
    text = await scrape(client)

    def requests(route: str, status: str) -> float | None:
        return value(text, "kitsu_http_requests_total", method="GET", route=route, status=status)

    assert (requests("/anime", "200"), requests("/anime", "422")) == (1, 1)
    assert (requests("/anime/{anime_id}", "200"), requests("/anime/{anime_id}", "404")) == (2, 1)
    labels = {"method": "GET", "route": "/anime/{anime_id}"}
    assert value(text, "kitsu_http_request_duration_seconds_count", **labels) == 3
    assert value(text, "kitsu_http_request_duration_seconds_bucket", **labels, le="+Inf") == 3
    assert 0 < (value(text, "kitsu_http_request_duration_seconds_sum", **labels) or 0) < 60


async def test_unknown_paths_and_methods_add_no_labels(client: httpx.AsyncClient) -> None:
    await client.get("/nope")
    await client.request("KITSU", "/nope")
    before = set(samples(await scrape(client)))
    await asyncio.sleep(0)
    before |= set(samples(await scrape(client)))
    for number in range(50):
        await client.get(f"/nope/{number}")
        await client.get(f"/{number}?{number}={number}")
        await client.request(f"KITSU{number}", "/nope")
    text = await scrape(client)
    assert set(samples(text)) == before
    unknown = {"route": "unknown", "status": "404"}
    assert value(text, "kitsu_http_requests_total", method="GET", **unknown) == 101
    assert value(text, "kitsu_http_requests_total", method="other", **unknown) == 51
    methods = {dict(labels).get("method") for _, labels in samples(text)} - {None}
    assert methods <= {*METHODS, "other"}


async def test_logins_are_counted_by_outcome(client: httpx.AsyncClient) -> None:
    outcomes = ("success", "second_factor", "wrong", "limited", "busy")

    async def logins() -> list[float | None]:
        text = await scrape(client)
        return [value(text, "kitsu_logins_total", outcome=outcome) for outcome in outcomes]

    assert await logins() == [0, 0, 0, 0, 0]
    await client.post("/auth/register", json=CREDENTIALS)
    await client.post("/auth/login", json=CREDENTIALS)
    for _ in range(5):
        await client.post("/auth/login", json=CREDENTIALS | {"password": "a wrong password"})
    await client.post("/auth/login", json={"email": "x"})
    assert await logins() == [1, 0, 3, 2, 0]


@pytest.mark.usefixtures("real_passwords")  # slow enough to fill the queue
async def test_logins_beyond_full_password_queue_are_counted_as_busy(database: URL) -> None:
    async with client_of(database, metrics_enabled=True, password_queue=1, login_refusal_ms=0) as client:
        bodies = [{"email": f"{number}@example.org", "password": "a password"} for number in range(20)]
        responses = await asyncio.gather(*(client.post("/auth/login", json=body) for body in bodies))
        busy = sum(response.status_code == 503 for response in responses)
        text = await scrape(client)
        assert value(text, "kitsu_logins_total", outcome="busy") == busy > 0
        assert value(text, "kitsu_logins_total", outcome="wrong") == 20 - busy
        assert value(text, "kitsu_password_queue_length") == 0


async def test_list_imports_are_counted_by_outcome(client: httpx.AsyncClient) -> None:
    tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    for body, query in ((ANILIST, ""), (ANILIST, "?dry_run=true"), (b"no list", ""), (b"[", "")):
        await client.post(f"/library/import{query}", content=body, headers=bearer)
    text = await scrape(client)
    assert value(text, "kitsu_imports_total", kind="library", outcome="done") == 1
    assert value(text, "kitsu_imports_total", kind="library", outcome="refused") == 2


async def test_cached_responses_are_counted_and_change_has_timestamp(database: URL) -> None:
    await execute(database, *ROWS)
    async with client_of(database, metrics_enabled=True, catalogue_memory_mb=1) as client:
        await until_async(lambda: is_cached(client, "/anime"))
        before = await scrape(client)
        assert (value(before, "kitsu_response_cache_bytes") or 0) > 0
        assert value(before, "kitsu_catalogue_last_change_timestamp_seconds") == 0
        for _ in range(3):
            await client.get(f"/anime/{ANIME}")
        after = await scrape(client)
        for result, difference in (("hit", 2), ("miss", 1)):
            counts = [
                value(text, "kitsu_response_cache_requests_total", result=result) or 0 for text in (before, after)
            ]
            assert counts[1] - counts[0] == difference
        now = time.time()
        await execute(database, "UPDATE anime SET title = 'Another'")

        async def is_change_counted() -> bool:
            changed = value(await scrape(client), "kitsu_catalogue_last_change_timestamp_seconds") or 0
            return abs(changed - now) < 60

        await until_async(is_change_counted)


async def test_successful_commands_have_timestamps(database: URL, tmp_path: Path, client: httpx.AsyncClient) -> None:
    name = "kitsu_command_last_success_timestamp_seconds"
    commands = ("backup", "purge", "import-catalogue")
    assert {value(await scrape(client), name, command=command) for command in commands} == {0}
    assert (await invoked(tmp_path, "purge", database=database))[0] == 0
    catalogue = write(tmp_path, entry())
    assert (await invoked(tmp_path, "import-catalogue", "--dry-run", str(catalogue), database=database))[0] == 0
    async with client_of(database, metrics_enabled=True) as another:

        async def has_purge_timestamp() -> bool:
            return abs((value(await scrape(another), name, command="purge") or 0) - time.time()) < 60

        await until_async(has_purge_timestamp)
        assert value(await scrape(another), name, command="import-catalogue") == 0
    assert (await invoked(tmp_path, "import-catalogue", str(catalogue), database=database))[0] == 0
    async with client_of(database, metrics_enabled=True) as another:

        async def has_import_timestamp() -> bool:
            return (value(await scrape(another), name, command="import-catalogue") or 0) > 0

        await until_async(has_import_timestamp)


async def test_connections_are_reported_by_pool_and_state(client: httpx.AsyncClient) -> None:
    await asyncio.gather(*(client.get(f"/anime?limit={number}") for number in range(1, 20)))
    text = await scrape(client)
    for pool, limit in (("statements", 3), ("transactions", 10)):
        assert value(text, "kitsu_db_connections", pool=pool, state="in_use") == 0
        assert value(text, "kitsu_db_connections_max", pool=pool) == limit
    assert value(text, "kitsu_db_connections", pool="transactions", state="idle") == 0
    assert 1 <= (value(text, "kitsu_db_connections", pool="statements", state="idle") or 0) <= 3


async def test_metrics_respond_without_database() -> None:
    unreachable = URL.create("postgresql+asyncpg", username="kitsu", host="127.0.0.1", port=1, database="kitsu")
    async with client_of(unreachable, metrics_enabled=True) as client:
        assert (await client.get("/health")).status_code == 503
        text = await scrape(client)
        assert value(text, "kitsu_http_requests_total", method="GET", route="/health", status="503") == 1


def test_metrics_folder_is_removed_with_those_of_killed_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "")
    abandoned, foreign = tmp_path / "kitsu-metrics-abandoned", tmp_path / "kitsu-metrics-foreign"
    for folder in (abandoned, foreign):
        folder.mkdir()
    (abandoned / "in-use").touch()
    with metrics_folder():
        first = Path(os.environ[VARIABLE])
        with metrics_folder():
            # The folder of a running service is kept.
            assert {first, Path(os.environ[VARIABLE]), foreign} == set(tmp_path.iterdir())
    assert set(tmp_path.iterdir()) == {foreign}


def test_metrics_folder_on_full_disk_is_refused(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(OSError, match="No space left"), metrics_folder():
        pass
    assert list(small_disk.iterdir()) == []


def test_only_declared_outcomes_are_counted() -> None:
    outcomes = Outcomes("good", bad=ValueError)
    for error in (None, ValueError, KeyError, UnicodeError):
        try:
            with outcomes.counted():
                if error is not None:
                    raise error
        except (ValueError, KeyError):
            pass
    assert outcomes.counts == {"good": 1, "bad": 2}
