"""Snapshots of several workers in one process: a lock belongs to an open file, not to a process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kitsu.observability.snapshots import FOLDER, Snapshot, Snapshots


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Snapshots]]:
    """Start workers that end with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Snapshots()))


def snapshot(value: float) -> Snapshot:
    return {"requests": {("GET", "/anime"): value, (): 0.5}}


def test_worker_reads_snapshots_of_others_with_their_state(folder: Path, start: Callable[[], Snapshots]) -> None:
    first, second, third = start(), start(), start()
    first.write(snapshot(1))
    third.write(snapshot(3))
    third.close()
    # Twice: to look whether a worker is alive must not make it look dead, or alive.
    for _ in range(2):
        assert sorted(second.read_others(), key=str) == [(snapshot(1), True), (snapshot(3), False)]
    assert sorted(first.read_others(), key=str) == [(snapshot(3), False), ({}, True)]


def test_new_worker_takes_slot_and_snapshot_of_ended_one(folder: Path, start: Callable[[], Snapshots]) -> None:
    living = start()
    for number in range(20):
        worker = start()
        assert worker.previous() == (snapshot(number) if number else {})
        worker.write(snapshot(number + 1))
        worker.close()
    assert {path.name for path in folder.iterdir()} == {"0.lock", "1.lock", "1.snapshot"}
    assert list(living.read_others()) == [(snapshot(20), False)]


def test_unchanged_snapshot_is_not_written_again(folder: Path, start: Callable[[], Snapshots]) -> None:
    worker = start()
    worker.write(snapshot(1))
    (folder / "0.snapshot").unlink()
    worker.write(snapshot(1))
    assert not (folder / "0.snapshot").exists()


def test_failed_write_keeps_the_last_snapshot(folder: Path, start: Callable[[], Snapshots]) -> None:
    worker, other = start(), start()
    worker.write(snapshot(1))
    (folder / "0.draft").mkdir()
    with pytest.raises(IsADirectoryError):
        worker.write(snapshot(2))
    assert list(other.read_others()) == [(snapshot(1), True)]


@pytest.mark.parametrize("value", [None, ""])
def test_without_folder_the_error_names_kitsu_serve(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    if value is not None:
        monkeypatch.setenv(FOLDER, value)
    with pytest.raises(ValueError, match="kitsu serve"):
        Snapshots()
