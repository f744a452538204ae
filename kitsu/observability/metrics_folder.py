"""The folder of prometheus_client's multiprocess files, for the process that starts the workers.

prometheus_client reads the environment variable when it is imported, so nothing here imports it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "kitsu-metrics-"
MIN_FREE_BYTES = 4 << 20
"""Room that the files of a few workers take. The library maps them: a full disk later ends a worker with SIGBUS."""


@contextmanager
def metrics_folder() -> Iterator[None]:
    """Create a folder, name it in the environment, and remove it at the end. Raises OSError, also on a full disk."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/in-use"):
        # A killed service could not remove its folder.
        with suppress(OSError), _locked(lock):
            shutil.rmtree(lock.parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        (lock := Path(folder) / "in-use").touch()
        with _locked(lock) as file:
            file.write(bytes(MIN_FREE_BYTES))
            file.flush()
            file.truncate(0)
            os.environ[VARIABLE] = folder
            yield


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold a lock on a file. Raises BlockingIOError when another process holds it."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
