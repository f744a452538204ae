"""The log lines of requests: they are written every 20 ms, and when the service stops."""

import asyncio
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.observability.logs import FLUSH_SECONDS, RequestLine, RequestLines
from tests.cli.process import kitsu

REQUESTS = 50


@pytest.fixture
def lines() -> RequestLines:
    return RequestLines()


def line(number: int) -> RequestLine:
    return RequestLine(request_id=str(number), ip=None, method="GET", route="/anime", status=200, ms=0.1)


def ids(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(each)["request_id"] for each in capsys.readouterr().out.splitlines()]


async def test_running_writer_writes_lines_together(lines: RequestLines, capsys: pytest.CaptureFixture[str]) -> None:
    await lines.start()
    for _ in range(2):
        for number in range(3):
            lines.write(line(number))
        assert ids(capsys) == []
        await asyncio.sleep(FLUSH_SECONDS * 2)
        assert ids(capsys) == ["0", "1", "2"]
    await lines.stop()


async def test_stopped_writer_writes_pending_lines_and_further_lines_at_once(
    lines: RequestLines, capsys: pytest.CaptureFixture[str]
) -> None:
    await lines.start()
    lines.write(line(1))
    await lines.stop()
    assert ids(capsys) == ["1"]
    lines.write(line(2))
    assert ids(capsys) == ["2"]
    await asyncio.sleep(FLUSH_SECONDS * 2)
    assert ids(capsys) == []


async def test_disabled_writer_writes_nothing(lines: RequestLines, capsys: pytest.CaptureFixture[str]) -> None:
    lines.is_enabled = False
    lines.write(line(1))
    await lines.stop()
    assert ids(capsys) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopped_service_has_written_all_lines(catalogue: URL, tmp_path: Path, number: signal.Signals) -> None:
    with kitsu(tmp_path, "serve", database=catalogue, WORKERS="2") as service:
        service.serves()
        with ThreadPoolExecutor(4) as pool:
            assert {response.status_code for response in pool.map(service.get, ["/anime?limit=1"] * REQUESTS)} == {200}
        assert service.ended_by(number) == 0
        found = [json.loads(each) for each in service.output.splitlines() if each.startswith("{")]
        finished = [each for each in found if each["event"] == "request finished" and each["route"] == "/anime"]
        assert len({each["request_id"] for each in finished}) == len(finished) == REQUESTS
