"""The stall guard, which ends a process whose event loop is blocked."""

import json
import os
import subprocess
import sys
import threading

import pytest

from kitsu.observability.stall import StallGuard
from tests.conftest import ROOT

BLOCKED = """
import asyncio, time
from kitsu.observability.logs import configure_logs
from kitsu.observability.stall import StallGuard

async def block():
    await StallGuard(1).start()
    await asyncio.sleep(1.5)
    print("blocking", flush=True)
    time.sleep(30)

configure_logs("info")
asyncio.run(block())
"""


def guards() -> list[threading.Thread]:
    """Return the running guards' threads."""
    return [thread for thread in threading.enumerate() if thread.name == "stall-guard"]


def test_blocked_event_loop_ends_process_with_stacks() -> None:
    command = [sys.executable, "-c", BLOCKED]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, timeout=20)
    assert done.returncode == os.EX_SOFTWARE
    first, event = done.stdout.decode().splitlines()
    assert first == "blocking"
    assert "in block" in "\n".join(json.loads(event)["stacks"])
    assert not done.stderr


async def test_stopped_guard_leaves_no_thread() -> None:
    for _ in range(2):
        guard = StallGuard(20)
        await guard.start()
        assert len(guards()) == 1
        await guard.stop()
        assert not guards()


@pytest.mark.parametrize("seconds", [0, 20])
async def test_stop_without_running_guard_does_nothing(seconds: int) -> None:
    guard = StallGuard(seconds)
    if not seconds:
        await guard.start()
    assert not guards()
    await guard.stop()
