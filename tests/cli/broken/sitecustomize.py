"""Breaks web workers: their application can't be imported.

Python imports this module where its folder is in PYTHONPATH.
"""

import os
import sys
import time


def _break() -> None:
    sys.modules["kitsu.app"] = None  # type: ignore[assignment] # an import of it fails
    time.sleep(float(os.environ.get("BROKEN_AFTER_SECONDS", "0")))


os.register_at_fork(after_in_child=_break)
