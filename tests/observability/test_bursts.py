"""Log events that come in bursts: one line at once, then the number of further ones each second."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from kitsu.observability import bursts
from kitsu.observability.bursts import BurstLog
from kitsu.observability.logs import of_request, with_request

EVENTS = 1000


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The log lines, with an interval of 0.1 s."""
    monkeypatch.setattr(bursts, "INTERVAL_SECONDS", 0.1)
    with capture_logs([with_request]) as lines:
        yield lines


async def test_burst_is_one_line_and_a_count(lines: list[Any]) -> None:
    log = BurstLog(structlog.get_logger())
    of_request.set({"request_id": "first"})
    for _ in range(EVENTS):
        log.warning("failed", cause="TimeoutError")
    log.warning("failed", cause="OSError")
    await asyncio.sleep(0.15)
    log.warning("failed", cause="TimeoutError")
    log.warning("failed", cause="OSError")
    await asyncio.sleep(0.25)
    failed = {"event": "failed", "log_level": "warning"}
    assert lines == [
        {**failed, "request_id": "first", "cause": "TimeoutError"},
        {**failed, "request_id": "first", "cause": "OSError"},
        {**failed, "cause": "TimeoutError", "count": EVENTS - 1},
        {**failed, "request_id": "first", "cause": "OSError"},
        {**failed, "cause": "TimeoutError", "count": 1},
    ]


def test_burst_of_an_ended_event_loop_hides_no_event(lines: list[Any]) -> None:
    log = BurstLog(structlog.get_logger())

    async def fail() -> None:
        log.warning("failed")

    async def fail_later() -> None:
        await asyncio.sleep(0.25)
        log.warning("failed")

    asyncio.run(fail())
    asyncio.run(fail_later())
    assert len(lines) == 2
