"""The memory and time that reading a list takes, for bombs too: a few KB that unpack to much."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT
from tests.domain.viewer.test_list_files import XML, archive, zipped

# Each file is read in a process of its own, to measure its memory: a copy of one that has imported the modules.
MEASURE = """
import os, resource, sys, time
from pathlib import Path
from kitsu.domain.viewer.list_import.entries import ListFileError
from kitsu.domain.viewer.list_import.files import read_list

def measure(path):
    data = Path(path).read_bytes()
    unit = 1 if sys.platform == "darwin" else 1024
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        print(len(read_list(data)), end=" ")
    except ListFileError as error:
        print(type(error).__name__, end=" ")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(time.process_time() - start, peak * unit, flush=True)

for path in sys.argv[1:]:
    if not os.fork():
        measure(path)
        os._exit(0)
    assert os.wait()[1] == 0, path
"""


class Measured(NamedTuple):
    """What reading a file returned, the seconds of CPU, and the bytes by which the process grew."""

    outcome: str
    seconds: float
    peak: float


def measured(folder: Path, files: dict[str, bytes]) -> dict[str, Measured]:
    """Read each file in a process of its own."""
    paths = [folder / f"file {number}" for number in range(len(files))]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    results = [line.split() for line in done.stdout.splitlines()]
    return {
        name: Measured(outcome, float(seconds), float(peak))
        for name, (outcome, seconds, peak) in zip(files, results, strict=True)
    }


def packed(start: bytes, times: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    megabyte = start * (1_000_000 // len(start))
    return b"".join(
        [packer.compress(b"<myanimelist>"), *(packer.compress(megabyte) for _ in range(times)), packer.flush()]
    )


# To much text, depth, elements, ampersands or one endless tag. Compressing them takes seconds, so not at the import.
BOMBS: dict[str, tuple[Callable[[], bytes], float]] = {
    "a gigabyte": (lambda: packed(b"\0", 1000), 100e6),
    "depth": (lambda: packed(b"<a>", 33), 150e6),
    "rows": (lambda: packed(b"<anime/>", 33), 150e6),
    "ampersands": (lambda: packed(b"&", 33), 150e6),
    "one tag": (lambda: zipped(b"<myanimelist><a " + b"x" * 33_000_000, 1), 150e6),
    "deep JSON": (lambda: zipped(b'{"lists":' + b"[" * 33_000_000, 1), 150e6),
    "commas": (lambda: zipped(b"a" + b"," * 33_000_000, 1), 150e6),
    "zip": (lambda: archive(a=b"<" * 40_000_000), 150e6),
}


def test_decompression_bombs_are_rejected_within_limits(tmp_path: Path) -> None:
    results = measured(tmp_path, {name: build() for name, (build, _) in BOMBS.items()})
    for name, (outcome, seconds, peak) in results.items():
        assert outcome == "ListTooLarge", name
        assert seconds < 1, name
        assert peak < BOMBS[name][1], name


ROW = XML[XML.index(b"<anime>") : XML.index(b"</myanimelist>")].replace(b"B", b"A title of an anime " * 10)
ENTRY = {"status": "COMPLETED", "score": 8.5, "notes": "so " * 50, "media": {"id": 1, "title": {"english": "A" * 200}}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xml", "json"])
def test_20_000_rows_take_less_than_100_mb(tmp_path: Path, name: str) -> None:
    entries = [{**ENTRY, "mediaId": number, "media": {"id": number}} for number in range(1, 20_001)]
    files = {
        "xml": b"<myanimelist>" + ROW * 20_000 + b"</myanimelist>",
        "json": json.dumps({"data": {"MediaListCollection": {"lists": [{"entries": entries}]}}}).encode(),
    }
    result = measured(tmp_path, {name: files[name]})[name]
    assert result.outcome == "20000"
    assert result.peak < 100e6
