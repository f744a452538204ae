"""Snapshots of metrics: each worker writes its own to a file of a shared folder, and a scrape reads all of them."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

import msgspec

FOLDER = "KITSU_METRICS_FOLDER"
"""The environment variable that names the folder to the workers."""
PREFIX = "kitsu-metrics-"

Labels = tuple[str, ...]
"""Values of labels."""
Samples = dict[Labels, float]
Snapshot = dict[str, Samples]
"""Metric name to samples."""

_decoder = msgspec.msgpack.Decoder(Snapshot)


@contextmanager
def snapshot_folder() -> Iterator[None]:
    """Create a folder, name it in the environment, and remove it at the end. Raises OSError."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/in-use"):
        # A service that was killed could not remove its folder.
        with suppress(OSError), _locked(lock, "r+b", fcntl.LOCK_EX):
            shutil.rmtree(lock.parent)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        _locked(Path(folder) / "in-use", "wb", fcntl.LOCK_EX),
    ):
        os.environ[FOLDER] = folder
        yield


class Snapshots:
    """The snapshots of all workers. Each worker owns a numbered slot until its process ends.

    A new worker takes the first free slot with the snapshot in it, so that there are never more files than there were
    workers at the same time.
    """

    def __init__(self) -> None:
        """Take a slot. Raises ValueError outside of `snapshot_folder`, and OSError."""
        if not os.environ.get(FOLDER):
            raise ValueError(f"METRICS_ENABLED needs {FOLDER}, which `kitsu serve` sets")
        self._folder = Path(os.environ[FOLDER])
        self._slot, self._lock = _take_slot(self._folder)
        self._written = b""

    def previous(self) -> Snapshot:
        """Return what the slot's last owner has written."""
        return _read(self._path(self._slot))

    def write(self, snapshot: Snapshot) -> None:
        """Replace the worker's snapshot, whole or not at all. Raises OSError."""
        data = msgspec.msgpack.encode(snapshot)
        if data != self._written:
            draft = self._folder / f"{self._slot}.draft"
            draft.write_bytes(data)
            draft.replace(self._path(self._slot))
            self._written = data

    def read_others(self) -> Iterator[tuple[Snapshot, bool]]:
        """Yield the snapshot of each other worker that there is or was, and whether the worker is alive."""
        for lock in self._folder.glob("*.lock"):
            slot = int(lock.stem)
            if slot != self._slot:
                yield _read(self._path(slot)), _is_locked(lock)

    def close(self) -> None:
        """Free the slot. The snapshot stays for the next owner."""
        self._lock.close()

    def _path(self, slot: int) -> Path:
        return self._folder / f"{slot}.snapshot"


def _read(path: Path) -> Snapshot:
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return {}


def _take_slot(folder: Path) -> tuple[int, IO[bytes]]:
    """Return the first free slot and its lock, which the kernel releases when the process ends."""
    for slot in count():
        file = (folder / f"{slot}.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return slot, file
    raise AssertionError


def _is_locked(path: Path) -> bool:
    try:
        # Shared: two scrapes at the same time must not take each other for the owner.
        with _locked(path, "rb", fcntl.LOCK_SH):
            return False
    except OSError:
        return True


@contextmanager
def _locked(path: Path, mode: str, operation: int) -> Iterator[None]:
    """Hold a lock on a file. Raises BlockingIOError when another process holds it."""
    with path.open(mode) as file:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
        yield
