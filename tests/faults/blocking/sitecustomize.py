"""Adds signals that block a worker's event loop. Python imports this module where its folder is in PYTHONPATH."""

import asyncio
import re
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


def spin_forever() -> NoReturn:
    """Block the event loop in Python code, which lets other threads run."""
    while True:
        pass


def backtrack_forever() -> None:
    """Block all threads: the regular expression engine holds the GIL."""
    re.match(r"(a+)+$", "a" * 40 + "b")


_BLOCKERS: dict[int, Callable[[], object]] = {signal.SIGUSR1: spin_forever, signal.SIGUSR2: backtrack_forever}


def _block(number: int, _: FrameType | None) -> None:
    asyncio.get_running_loop().call_soon_threadsafe(_BLOCKERS[number])


for _number in _BLOCKERS:
    signal.signal(_number, _block)
